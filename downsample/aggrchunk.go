// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Encoding is the number by which a block's chunk files tell downsampled chunks from others. Prometheus counts its
// encodings up from 1.
const Encoding = chunkenc.Encoding(0xff)

// Aggregate is one of the five series that a downsampled chunk has, by its place in it.
type Aggregate uint8

// What each sample of an aggregate says of its window.
const (
	Count   Aggregate = iota // How many samples it had.
	Sum                      // Their sum.
	Min                      // The least; histograms have none.
	Max                      // The largest; histograms have none.
	Counter                  // What a counter would show at its end that began with the chunk's first sample and never fell.

	aggregates = 5
)

// String returns the name by which errors call an aggregate.
func (a Aggregate) String() string {
	if a >= aggregates {
		return fmt.Sprintf("aggregate %d", uint8(a))
	}
	return [aggregates]string{"count", "sum", "min", "max", "counter"}[a]
}

var (
	// ErrDamaged says that bytes are not a downsampled chunk.
	ErrDamaged = errors.New("damaged downsampled chunk")
	// ErrAbsent says that a chunk is whole and lacks the aggregate that was asked for.
	ErrAbsent = errors.New("a downsampled chunk lacks an aggregate")

	errPlain    = errors.New("a downsampled chunk has aggregates in place of samples")
	errReadOnly = errors.New("a downsampled chunk cannot be appended to")
)

const (
	xorHeader       = 2 // The number of samples.
	histogramHeader = 3 // The same, and flags.
)

// Chunk is a downsampled chunk: up to five chunks of one encoding of Prometheus each, in one. As a chunkenc.Chunk it can be
// stored and moved. It has no samples of its own: its iterator fails, so that nobody takes it for an empty one.
type Chunk struct{ data []byte }

var _ chunkenc.Chunk = (*Chunk)(nil)

// NewChunk returns a chunk over bytes that it keeps and does not look at yet.
func NewChunk(data []byte) *Chunk { return &Chunk{data: data} }

// Parts are the aggregates of a chunk, over its bytes. One that is absent is nil.
type Parts [aggregates]chunkenc.Chunk

// Encode returns a chunk of its own bytes.
func (p *Parts) Encode() *Chunk {
	size := 0
	for _, c := range p {
		size += binary.MaxVarintLen32
		if c != nil {
			size += 1 + len(c.Bytes())
		}
	}
	data := make([]byte, 0, size)
	for _, c := range p {
		if c == nil {
			data = append(data, 0)
			continue
		}
		data = binary.AppendUvarint(data, uint64(len(c.Bytes()))) // Without the encoding.
		data = append(data, byte(c.Encoding()))
		data = append(data, c.Bytes()...)
	}
	return &Chunk{data: data}
}

// Parse finds the aggregates of a chunk. Errors are ErrDamaged and say what is wrong. That the samples of an aggregate can
// be decoded shows only when they are: a checksum guards them on disk.
func (c *Chunk) Parse() (Parts, error) {
	var parts Parts
	rest := c.data
	for a := Count; a < aggregates; a++ {
		size, n := binary.Uvarint(rest)
		if n <= 0 {
			return Parts{}, fmt.Errorf("%w: the length of %s is cut off or too large", ErrDamaged, a)
		}
		rest = rest[n:]
		if size == 0 {
			continue
		}
		if size >= uint64(len(rest)) { // One byte more for the encoding.
			return Parts{}, fmt.Errorf("%w: %s has %d bytes and %d are left", ErrDamaged, a, size, len(rest))
		}
		sub, err := newPart(a, chunkenc.Encoding(rest[0]), rest[1:1+size:1+size])
		if err != nil {
			return Parts{}, err
		}
		parts[a], rest = sub, rest[1+size:]
	}
	if len(rest) > 0 {
		return Parts{}, fmt.Errorf("%w: %d bytes behind the last aggregate", ErrDamaged, len(rest))
	}
	return parts, nil
}

func newPart(a Aggregate, e chunkenc.Encoding, data []byte) (chunkenc.Chunk, error) {
	header := xorHeader
	switch {
	case e == chunkenc.EncXOR:
	case (e == chunkenc.EncFloatHistogram || e == chunkenc.EncHistogram) && (a == Sum || a == Counter):
		header = histogramHeader
	default:
		return nil, fmt.Errorf("%w: %s has encoding %d", ErrDamaged, a, e)
	}
	if len(data) < header {
		return nil, fmt.Errorf("%w: %s has %d bytes, less than its header", ErrDamaged, a, len(data))
	}
	if header == histogramHeader {
		if err := checkLayout(data); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, a, err)
		}
	}
	sub, err := chunkenc.FromData(e, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, a, err)
	}
	return sub, nil
}

// isHistogram says whether the samples behind a chunk were histograms.
func (p *Parts) isHistogram() bool {
	c := p[Counter]
	return c != nil && c.Encoding() != chunkenc.EncXOR
}

// need returns an aggregate that must be there.
func (p *Parts) need(a Aggregate) (chunkenc.Chunk, error) {
	if p[a] == nil {
		return nil, fmt.Errorf("%w: %s", ErrAbsent, a)
	}
	return p[a], nil
}

// Bytes implements chunkenc.Chunk.
func (c *Chunk) Bytes() []byte { return c.data }

// Encoding implements chunkenc.Chunk.
func (*Chunk) Encoding() chunkenc.Encoding { return Encoding }

// NumSamples returns the number of windows, or 0 of a damaged chunk.
func (c *Chunk) NumSamples() int {
	parts, err := c.Parse()
	if err != nil || parts[Count] == nil {
		return 0
	}
	return parts[Count].NumSamples()
}

// Iterator returns one that fails.
func (*Chunk) Iterator(chunkenc.Iterator) chunkenc.Iterator { return failed{errPlain} }

// Appender fails.
func (*Chunk) Appender() (chunkenc.Appender, error) { return nil, errReadOnly }

// Compact does nothing.
func (*Chunk) Compact() {}

// Reset implements chunkenc.Chunk.
func (c *Chunk) Reset(data []byte) { c.data = data }

// pool is Prometheus' pool of chunks, with downsampled ones, which are too small to be kept for another use.
type pool struct{ chunkenc.Pool }

// NewPool returns what tsdb.OpenBlock needs to open a downsampled block. It is safe for concurrent use.
func NewPool() chunkenc.Pool { return pool{chunkenc.NewPool()} }

// Get implements chunkenc.Pool.
func (p pool) Get(e chunkenc.Encoding, data []byte) (chunkenc.Chunk, error) {
	if e == Encoding {
		return NewChunk(data), nil
	}
	return p.Pool.Get(e, data)
}

// Put implements chunkenc.Pool.
func (p pool) Put(c chunkenc.Chunk) error {
	if c.Encoding() == Encoding {
		return nil
	}
	return p.Pool.Put(c)
}
