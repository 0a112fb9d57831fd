// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var errFrame = errors.New("damaged frame")

// frameLeast is what the least frame has: a byte of length and the checksum. The length of the largest fits into as many.
const frameLeast = 1 + crc32.Size

// readFrames reads a stream of frames, each with series or the continuation of the one before. The chunks of the set are in the memory
// that they were read into, until the set is released.
func readFrames(body io.Reader, sorted bool) (*bufferedSet, error) {
	set := newBufferedSet(sorted)
	reader := &frameReader{in: body, memory: &set.memory}
	d := frameDecoder{set: set}
	for {
		frame, err := reader.next()
		if errors.Is(err, io.EOF) { // An end inside a frame is ErrUnexpectedEOF, or lacks the trailer.
			return set, nil
		}
		if err == nil {
			set.frames++
			err = d.decode(frame)
		}
		if err != nil {
			frames := set.frames
			_ = set.release() // Nothing fails.
			return nil, fmt.Errorf("read frame %d: %w", frames, err)
		}
	}
}

// frameReader reads frames whole. They stay where they were read to.
type frameReader struct {
	in     io.Reader
	memory *frameMemory
	rest   []byte // What was read and is not in a frame yet, and as its capacity where more goes.
	err    error  // What comes after it.
}

// next returns a message, io.EOF at the end of the stream.
func (r *frameReader) next() ([]byte, error) {
	if err := r.need(frameLeast); err != nil {
		return nil, err
	}
	size, head := binary.Uvarint(r.rest)
	if head <= 0 || size > frameBytesMax {
		return nil, fmt.Errorf("a frame exceeded the limit of %d bytes", frameBytesMax)
	}
	start := head + crc32.Size
	end := start + int(size) // #nosec G115 -- it is within the limit.
	if err := r.need(end); err != nil {
		return nil, err
	}
	sum, message := r.rest[head:start], r.rest[start:end:end]
	r.rest = r.rest[end:]
	if crc32.Checksum(message, castagnoli) != binary.BigEndian.Uint32(sum) {
		return nil, errors.New("corrupted frame: checksum mismatch")
	}
	return message, nil
}

// need reads until rest has n bytes.
func (r *frameReader) need(n int) error {
	for len(r.rest) < n {
		switch {
		case r.err == nil:
		case len(r.rest) == 0:
			return r.err
		case errors.Is(r.err, io.EOF):
			return io.ErrUnexpectedEOF
		default:
			return errors.Join(io.ErrUnexpectedEOF, r.err)
		}
		if cap(r.rest) < n {
			r.rest = append(r.memory.room(n), r.rest...)
		}
		var got int
		got, r.err = r.in.Read(r.rest[len(r.rest):cap(r.rest)])
		r.rest = r.rest[:len(r.rest)+got]
	}
	return nil
}
