// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	// encAggregate is the encoding of a chunk of aggregates, which Thanos defined and TSDB does not know.
	encAggregate chunkenc.Encoding = 0xff
	// aggregates is how many chunks there are in one: count, sum, min, max and counter, each of which may be absent.
	aggregates = 5
	// aggregateCounter is the last of them. It begins with the first raw sample, which may be before the end of the first
	// window, where all others begin; and its last sample, the last raw value, has the time of the one before.
	aggregateCounter = 4
)

// SupportedEncoding says whether chunks of this encoding may be in a block of this resolution, in ms. Others are newer than
// what Thanos reads, or have start timestamps, which are not kept in blocks.
func SupportedEncoding(e chunkenc.Encoding, resolution int64) bool {
	if resolution > 0 {
		return e == encAggregate
	}
	return e == chunkenc.EncXOR || e == chunkenc.EncHistogram || e == chunkenc.EncFloatHistogram
}

func encodingName(e chunkenc.Encoding) string {
	switch {
	case e == encAggregate:
		return "aggregate"
	case chunkenc.IsValidEncoding(e):
		return e.String()
	default:
		return fmt.Sprintf("0x%02x", byte(e))
	}
}

// opaque is a chunk as it is in the file, of whatever encoding.
type opaque struct {
	chunkenc.Chunk

	encoding chunkenc.Encoding
	data     []byte
}

// opaquePool hands out chunks without looking at them, so that an unknown encoding is not taken for damage.
type opaquePool struct{ chunkenc.Pool }

func (opaquePool) Get(e chunkenc.Encoding, data []byte) (chunkenc.Chunk, error) {
	return opaque{encoding: e, data: data}, nil
}

func (*checker) pool() chunkenc.Pool { return opaquePool{} }

// chunkChecker keeps an iterator for the next chunk of its kind.
type chunkChecker struct{ it chunkenc.Iterator }

// content reads one chunk.
func (c *checker) content(lset labels.Labels, m chunks.Meta) {
	got, _, err := c.chunks.ChunkOrIterable(m)
	if err != nil {
		c.issues.add(ChunkUnreadable, "%s: the chunk from %d: %v", lset, m.MinTime, err)
		return
	}
	raw := got.(opaque)
	c.report.Encodings[encodingName(raw.encoding)]++
	if !SupportedEncoding(raw.encoding, c.opts.Resolution) {
		c.issues.add(ChunkEncoding, "%s: the chunk from %d has the encoding %s", lset, m.MinTime, encodingName(raw.encoding))
		return
	}
	var n int
	if raw.encoding == encAggregate {
		n, err = c.chunk.aggregate(raw.data, m, c.opts.Resolution)
	} else {
		n, err = c.chunk.plain(raw.encoding, raw.data, m)
	}
	c.report.Samples += uint64(n)
	if raw.encoding == chunkenc.EncHistogram || raw.encoding == chunkenc.EncFloatHistogram {
		c.report.HistogramSamples += uint64(n)
	}
	var order *orderError
	switch {
	case errors.As(err, &order):
		c.issues.add(SampleOrder, "%s: the chunk from %d: %v", lset, m.MinTime, err)
	case err != nil:
		c.issues.add(ChunkUnreadable, "%s: the chunk from %d: %v", lset, m.MinTime, err)
	}
}

// orderError says that a sample is not where it should be.
type orderError struct{ text string }

func (e *orderError) Error() string { return e.text }

// plain reads the samples of a chunk. They must begin and end where the index says.
func (c *chunkChecker) plain(e chunkenc.Encoding, data []byte, m chunks.Meta) (int, error) {
	first, last, n, err := c.samples(e, data, false)
	switch {
	case err != nil:
		return n, err
	case n == 0:
		return 0, errors.New("it has no samples")
	case first != m.MinTime || last != m.MaxTime:
		return n, &orderError{fmt.Sprintf("it goes from %d to %d, and the index says from %d to %d", first, last, m.MinTime, m.MaxTime)}
	}
	return n, nil
}

// samples reads a chunk of a known encoding. With repeats, the last sample may have the time of the one before.
func (c *chunkChecker) samples(e chunkenc.Encoding, data []byte, repeats bool) (first, last int64, n int, err error) {
	chunk, err := chunkenc.FromData(e, data)
	if err != nil {
		return 0, 0, 0, err
	}
	// Iterators read the number of samples without looking whether it is there.
	if len(data) < 2 {
		return 0, 0, 0, fmt.Errorf("it has %d bytes", len(data))
	}
	c.it = chunk.Iterator(c.it)
	for total := chunk.NumSamples(); c.it.Next() != chunkenc.ValNone; n++ {
		t := c.it.AtT()
		switch {
		case n == 0:
			first = t
		case t < last, t == last && (!repeats || n != total-1):
			return first, t, n, &orderError{fmt.Sprintf("a sample at %d comes after one at %d", t, last)}
		}
		last = t
	}
	return first, last, n, c.it.Err()
}

// aggregate reads a chunk of aggregates: five times the length of a chunk, its encoding and its content.
func (c *chunkChecker) aggregate(data []byte, m chunks.Meta, resolution int64) (int, error) {
	counted := 0
	for i := range aggregates {
		length, n := binary.Uvarint(data)
		if n <= 0 {
			return counted, fmt.Errorf("aggregate %d is cut off", i)
		}
		if data = data[n:]; length == 0 {
			continue
		}
		if length >= uint64(len(data)) { // The encoding is not counted.
			return counted, fmt.Errorf("aggregate %d has %d of %d bytes", i, len(data), length+1)
		}
		first, last, samples, err := c.samples(chunkenc.Encoding(data[0]), data[1:1+length], i == aggregateCounter)
		if err != nil {
			return counted, fmt.Errorf("aggregate %d: %w", i, err)
		}
		earliest := m.MinTime
		if i == aggregateCounter {
			earliest -= resolution
		}
		if samples > 0 && (first < earliest || last > m.MaxTime) {
			return counted, &orderError{fmt.Sprintf("aggregate %d goes from %d to %d, and the index says from %d to %d", i, first, last, m.MinTime, m.MaxTime)}
		}
		if i == 0 {
			counted = samples
		}
		data = data[1+length:]
	}
	return counted, nil
}
