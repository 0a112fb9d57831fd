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
)

var errFrame = errors.New("damaged frame")

// readerBytes is what is read ahead of a frame: its head. The frame itself goes past it into memory of its own.
const readerBytes = 4 << 10

// readFrames reads a stream of frames, each with series or the continuation of the one before.
func readFrames(body io.Reader, sorted bool) (*bufferedSet, error) {
	reader := &frameReader{b: bufio.NewReaderSize(body, readerBytes)}
	set := &bufferedSet{next: -1, sorted: sorted, newest: minTime}
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
