// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// A streamed read is frames of Prometheus' remote read: the length of a message, its checksum, and the
// message, a prometheus.ChunkedReadResponse. They are written and read here, and not by Prometheus' own code, because series are
// many and chunks are small: it has a frame, a message and a dozen allocations for each series.

const (
	// frameBytesWanted is from how many bytes on a frame is sent: many series, and few enough bytes that sender and receiver work at
	// the same time.
	frameBytesWanted = 64 << 10
	// frameHead is room for the length and the checksum before a message.
	frameHead = binary.MaxVarintLen32 + crc32.Size

	wireVarint = 0
	wireBytes  = 2
)

// Fields of the messages: ChunkedReadResponse, ChunkedSeries, Label, Chunk.
const (
	fieldSeries = 1

	fieldLabels = 1
	fieldChunks = 2

	fieldName  = 1
	fieldValue = 2

	fieldMinTime  = 1
	fieldMaxTime  = 2
	fieldEncoding = 3
	fieldData     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frameWriter writes series as frames. It is used again and again.
type frameWriter struct {
	out    io.Writer
	frames int // Written.

	frame  []byte // The next frame, behind room for its head.
	series []byte // The message of a series.
	labels []byte // Its part of the labels.
}

func (f *frameWriter) reset(out io.Writer) {
	f.out, f.frames = out, 0
	f.frame = append(f.frame[:0], make([]byte, frameHead)...)
}

// writeAll writes a set to its end.
func (f *frameWriter) writeAll(set storage.ChunkSeriesSet) error {
	var it chunks.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		if err := f.write(s.Labels(), it); err != nil {
			return err
		}
	}
	if err := set.Err(); err != nil {
		return err
	}
	return f.flush()
}

// write adds one series, unless it has no chunks. One that is too long for a frame is continued in the next.
func (f *frameWriter) write(lset labels.Labels, it chunks.Iterator) error {
	f.labels = appendLabels(f.labels[:0], lset)
	f.series = append(f.series[:0], f.labels...)
	for it.Next() {
		if len(f.series) > frameBytes {
			if err := f.endSeries(); err != nil {
				return err
			}
			f.series = append(f.series[:0], f.labels...)
		}
		c := it.At()
		if c.Chunk == nil {
			return fmt.Errorf("chunk %d of series %s was not read", c.Ref, lset)
		}
		f.series = appendChunk(f.series, c)
	}
	if err := it.Err(); err != nil {
		return err
	}
	if len(f.series) == len(f.labels) {
		return nil
	}
	return f.endSeries()
}

// endSeries puts the series into the frame.
func (f *frameWriter) endSeries() error {
	f.frame = append(appendHead(f.frame, fieldSeries, len(f.series)), f.series...)
	if len(f.frame) < frameBytesWanted {
		return nil
	}
	return f.flush()
}

// flush sends the frame.
func (f *frameWriter) flush() error {
	message := f.frame[frameHead:]
	if len(message) == 0 {
		return nil
	}
	length := binary.AppendUvarint(nil, uint64(len(message)))
	start := frameHead - crc32.Size - len(length)
	copy(f.frame[start:], length)
	binary.BigEndian.PutUint32(f.frame[frameHead-crc32.Size:], crc32.Checksum(message, castagnoli))
	f.frames++
	_, err := f.out.Write(f.frame[start:])
	f.frame = f.frame[:frameHead]
	return err
}

func appendChunk(b []byte, c chunks.Meta) []byte {
	data := c.Chunk.Bytes()
	mint, maxt := uint64(c.MinTime), uint64(c.MaxTime) // #nosec G115 -- that is how negative numbers are written.
	n := 1 + sizeVarint(mint) + 1 + sizeVarint(maxt) + 2 + tagged(len(data))
	b = appendHead(b, fieldChunks, n)
	b = binary.AppendUvarint(append(b, fieldMinTime<<3|wireVarint), mint)
	b = binary.AppendUvarint(append(b, fieldMaxTime<<3|wireVarint), maxt)
	b = append(b, fieldEncoding<<3|wireVarint, byte(c.Chunk.Encoding()))
	return append(appendHead(b, fieldData, len(data)), data...)
}

// appendHead begins a field of n bytes.
func appendHead(b []byte, field byte, n int) []byte {
	return binary.AppendUvarint(append(b, field<<3|wireBytes), uint64(n)) // #nosec G115 -- lengths are not negative.
}

// tagged is the size of a field of n bytes.
func tagged(n int) int { return 1 + sizeVarint(uint64(n)) + n } // #nosec G115 -- lengths are not negative.

func sizeVarint(n uint64) int { return (bits.Len64(n|1) + 6) / 7 }
