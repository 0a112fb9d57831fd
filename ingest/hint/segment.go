// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

const (
	segmentMagic   = "PSTKHINT"
	segmentVersion = 1
	headerBytes    = 16
	recordOverhead = 20

	// PayloadBytesMax bounds one hint. An internal write is bounded by the same
	// limit as a request that comes in, 32 MiB decoded; this leaves twice that.
	PayloadBytesMax = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn marks the end of a segment whose last record was not written whole,
// as a crash leaves it. Nobody was told that the record is kept.
var errTorn = errors.New("torn record at the end of the segment")

// corruptError is damage that no crash explains; what follows cannot be trusted.
type corruptError struct {
	offset int64
	what   string
}

func (e *corruptError) Error() string {
	return fmt.Sprintf("corrupt segment at byte %d: %s", e.offset, e.what)
}

// versionError is a good segment of another build. It is never set aside as damaged.
type versionError struct{ version uint16 }

func (e *versionError) Error() string {
	return fmt.Sprintf("version %d, this build reads %d: run the build that wrote it until its hints are replayed, or remove them", e.version, segmentVersion)
}

// segmentHeader is what each segment begins with.
func segmentHeader() []byte {
	h := make([]byte, headerBytes)
	copy(h, segmentMagic)
	binary.BigEndian.PutUint16(h[8:], segmentVersion)
	binary.BigEndian.PutUint32(h[12:], crc32.Checksum(h[:12], castagnoli))
	return h
}

// recordHeader is what stands before each payload.
func recordHeader(payload []byte, at time.Time) [recordOverhead]byte {
	var h [recordOverhead]byte
	binary.BigEndian.PutUint32(h[0:], uint32(len(payload)))
	binary.BigEndian.PutUint64(h[4:], uint64(at.UnixMilli()))
	binary.BigEndian.PutUint32(h[12:], crc32.Checksum(payload, castagnoli))
	// A sum of its own, so that a wrong length is not taken for a torn end.
	binary.BigEndian.PutUint32(h[16:], crc32.Checksum(h[:16], castagnoli))
	return h
}

// record is one hint. Its payload is good until the reader's next call.
type record struct {
	at      time.Time
	payload []byte
}

// segmentReader reads a segment of a known size from its beginning. It believes
// nothing of the file before it has checked it, and allocates no more than the
// file has. Not safe for concurrent use.
type segmentReader struct {
	src    io.ReaderAt
	size   int64
	offset int64 // Of the next record.

	buf  []byte
	head struct {
		length int
		at     time.Time
		sum    uint32
	}
}

// newSegmentReader checks the header. A file shorter than a header is torn.
func newSegmentReader(src io.ReaderAt, size int64) (*segmentReader, error) {
	if size < headerBytes {
		return nil, errTorn
	}
	var h [headerBytes]byte
	if err := readAt(src, h[:], 0); err != nil {
		return nil, fmt.Errorf("read segment header: %w", err)
	}
	if h == [headerBytes]byte{} {
		return nil, errTorn
	}
	if string(h[:8]) != segmentMagic || binary.BigEndian.Uint32(h[12:]) != crc32.Checksum(h[:12], castagnoli) {
		return nil, &corruptError{what: "not a hint segment"}
	}
	if v := binary.BigEndian.Uint16(h[8:]); v != segmentVersion {
		return nil, &versionError{version: v}
	}
	return &segmentReader{src: src, size: size, offset: headerBytes}, nil
}

// next returns the next record, or io.EOF, errTorn, a *corruptError or an error
// of the disk.
func (r *segmentReader) next() (record, error) {
	if err := r.readHead(); err != nil {
		return record{}, err
	}
	if cap(r.buf) < r.head.length {
		r.buf = make([]byte, r.head.length)
	}
	payload := r.buf[:r.head.length]
	if err := readAt(r.src, payload, r.offset+recordOverhead); err != nil {
		return record{}, fmt.Errorf("read hint: %w", err)
	}
	if crc32.Checksum(payload, castagnoli) != r.head.sum {
		return record{}, &corruptError{offset: r.offset, what: "wrong checksum of a payload"}
	}
	r.advance()
	return record{at: r.head.at, payload: payload}, nil
}

// skip is next without the payload, which it does not check.
func (r *segmentReader) skip() (at time.Time, err error) {
	if err := r.readHead(); err != nil {
		return time.Time{}, err
	}
	r.advance()
	return r.head.at, nil
}

func (r *segmentReader) advance() { r.offset += recordOverhead + int64(r.head.length) }

func (r *segmentReader) readHead() error {
	left := r.size - r.offset
	if left == 0 {
		return io.EOF
	}
	if left < recordOverhead {
		return errTorn
	}
	var h [recordOverhead]byte
	if err := readAt(r.src, h[:], r.offset); err != nil {
		return fmt.Errorf("read hint: %w", err)
	}
	if h == [recordOverhead]byte{} {
		return errTorn // After a power loss a file may end in zeros.
	}
	if binary.BigEndian.Uint32(h[16:]) != crc32.Checksum(h[:16], castagnoli) {
		return &corruptError{offset: r.offset, what: "wrong checksum of a record header"}
	}
	length := int64(binary.BigEndian.Uint32(h[0:]))
	if length == 0 || length > PayloadBytesMax {
		return &corruptError{offset: r.offset, what: fmt.Sprintf("impossible length %d", length)}
	}
	if length > left-recordOverhead {
		return errTorn
	}
	r.head.length = int(length)
	r.head.at = time.UnixMilli(int64(binary.BigEndian.Uint64(h[4:])))
	r.head.sum = binary.BigEndian.Uint32(h[12:])
	return nil
}

// readAt fills buf: the size said that the bytes are there.
func readAt(src io.ReaderAt, buf []byte, offset int64) error {
	n, err := src.ReadAt(buf, offset)
	if n == len(buf) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
