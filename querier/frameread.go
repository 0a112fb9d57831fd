// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// metasPerArena is how many chunks are allocated at a time.
const metasPerArena = 1024

var errFrame = errors.New("damaged frame")

// readFrames reads a stream of frames, each with series or the continuation of the one before.
func readFrames(body io.Reader, sorted bool) (*bufferedSet, error) {
	reader := &frameReader{b: bufio.NewReaderSize(body, frameBytesWanted)}
	set := &bufferedSet{next: -1, sorted: sorted}
	d := frameDecoder{set: set, builder: labels.NewScratchBuilder(16)}
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
			return nil, fmt.Errorf("read frame %d: %w", set.frames, err)
		}
	}
}

// frameReader reads frames whole.
type frameReader struct {
	b   *bufio.Reader
	sum [crc32.Size]byte
}

// next returns a message in memory of its own, io.EOF at the end of the stream.
func (r *frameReader) next() ([]byte, error) {
	size, err := binary.ReadUvarint(r.b)
	switch {
	case err != nil:
		return nil, err
	case size > frameBytesMax:
		return nil, fmt.Errorf("a frame of %d bytes exceeded the limit of %d", size, frameBytesMax)
	}
	message := make([]byte, size)
	for _, part := range [][]byte{r.sum[:], message} {
		if _, err := io.ReadFull(r.b, part); err != nil {
			return nil, errors.Join(io.ErrUnexpectedEOF, withoutEOF(err))
		}
	}
	if crc32.Checksum(message, castagnoli) != binary.BigEndian.Uint32(r.sum[:]) {
		return nil, errors.New("corrupted frame: checksum mismatch")
	}
	return message, nil
}

// withoutEOF drops what would look like a regular end.
func withoutEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// frameDecoder adds the series of messages to a set. Chunks are not copied: they live as long as the message.
type frameDecoder struct {
	set     *bufferedSet
	builder labels.ScratchBuilder
	arena   []chunks.Meta // Free room behind its length.
}

func (d *frameDecoder) decode(message []byte) error {
	return fields(message, func(field int, _ uint64, data []byte) error {
		if field != fieldSeries {
			return nil
		}
		return d.series(data)
	})
}

func (d *frameDecoder) series(message []byte) error {
	d.builder.Reset()
	if cap(d.arena)-len(d.arena) == 0 {
		d.arena = make([]chunks.Meta, 0, metasPerArena)
	}
	found := d.arena[len(d.arena):]
	err := fields(message, func(field int, _ uint64, data []byte) error {
		switch field {
		case fieldLabels:
			return d.label(data)
		case fieldChunks:
			meta, err := decodeChunk(data)
			found = append(found, meta)
			return err
		}
		return nil
	})
	d.builder.Sort()
	lset := d.builder.Labels()
	if err != nil {
		return fmt.Errorf("series %s: %w", lset, err)
	}
	if len(d.arena)+len(found) <= cap(d.arena) { // Else they have moved to memory of their own.
		d.arena = d.arena[:len(d.arena)+len(found)]
	}
	return d.set.add(lset, found[:len(found):len(found)])
}

func (d *frameDecoder) label(message []byte) error {
	var name, value []byte
	err := fields(message, func(field int, _ uint64, data []byte) error {
		switch field {
		case fieldName:
			name = data
		case fieldValue:
			value = data
		}
		return nil
	})
	d.builder.Add(text(name), text(value))
	return err
}

// text is bytes as a string without a copy: nobody writes to a message.
func text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) // #nosec G103 -- for that reason.
}

// decodeChunk refuses what an iterator would read beyond: every encoding starts with a count of two bytes.
func decodeChunk(message []byte) (meta chunks.Meta, err error) {
	const headerBytes = 3 // Count of samples, and flags of a histogram or the first bits of a float.
	var encoding uint64
	var stream []byte
	err = fields(message, func(field int, n uint64, data []byte) error {
		switch field {
		case fieldMinTime:
			meta.MinTime = int64(n) // #nosec G115 -- that is how negative numbers are written.
		case fieldMaxTime:
			meta.MaxTime = int64(n) // #nosec G115 -- likewise.
		case fieldEncoding:
			encoding = n
		case fieldData:
			stream = data
		}
		return nil
	})
	switch {
	case err != nil:
		return meta, err
	case len(stream) < headerBytes:
		return meta, fmt.Errorf("chunk of %d bytes", len(stream))
	case encoding > 0xff:
		return meta, fmt.Errorf("chunk of encoding %d", encoding)
	}
	meta.Chunk, err = chunkenc.FromData(chunkenc.Encoding(encoding), stream)
	return meta, err
}

// fields calls f with each field of a message: with a number, or with bytes, which are a part of the message.
func fields(message []byte, f func(field int, n uint64, data []byte) error) error {
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		if size <= 0 {
			return errFrame
		}
		n, used := binary.Uvarint(message[size:])
		if used <= 0 {
			return errFrame
		}
		message = message[size+used:]
		var data []byte
		switch tag & 7 {
		case wireVarint:
		case wireBytes:
			if n > uint64(len(message)) {
				return errFrame
			}
			data, message = message[:n:n], message[n:]
		default: // The messages have no others.
			return errFrame
		}
		if err := f(int(tag>>3), n, data); err != nil { // #nosec G115 -- numbers of fields are small, and others unknown.
			return err
		}
	}
	return nil
}
