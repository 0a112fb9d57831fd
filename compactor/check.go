// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// reasonOutOfOrder is Thanos' reason for a block with a series whose chunks are not in order.
const reasonOutOfOrder = "block-index-out-of-order-chunk"

// brokenError says what is wrong with a block that was read from a sound copy of its files.
type brokenError struct {
	reason string
	err    error
}

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// census is what a block really holds.
type census struct {
	series, chunks, samples uint64
	mint, maxt              int64 // Of the samples, inclusive; mint > maxt when there are none.
}

// checkBlock reads the block in dir from its first series to its last: labels and chunks in order, and the checksums of
// index entries and chunks. With decode it reads the samples as well. An error that is a *brokenError is about the content
// of the block; any other one is about this machine.
func checkBlock(ctx context.Context, dir string, pool chunkenc.Pool, decode bool, logger *slog.Logger) (_ census, err error) {
	b, err := tsdb.OpenBlock(logger, dir, pool, nil)
	if err != nil {
		return census{}, &brokenError{bucket.ReasonBroken, err}
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	ir, err := b.Index()
	if err != nil {
		return census{}, err
	}
	defer func() { err = errors.Join(err, ir.Close()) }()
	cr, err := b.Chunks()
	if err != nil {
		return census{}, err
	}
	defer func() { err = errors.Join(err, cr.Close()) }()

	c := checker{index: ir, chunks: cr, decode: decode, census: census{mint: math.MaxInt64, maxt: math.MinInt64}}
	all := tsdb.AllSortedPostings(ctx, ir)
	for all.Next() {
		if err := ctx.Err(); err != nil {
			return census{}, err
		}
		if err := c.series(all); err != nil {
			return census{}, err
		}
	}
	if err := all.Err(); err != nil {
		return census{}, &brokenError{bucket.ReasonBroken, fmt.Errorf("postings: %w", err)}
	}
	return c.census, nil
}

// wrongCount says that a block does not hold what its meta.json says, or has samples outside of its time, which a merge
// leaves out.
func wrongCount(in input, c census) error {
	switch {
	case c.samples != in.meta.Stats.NumSamples:
		return &brokenError{bucket.ReasonBroken, fmt.Errorf("it has %d samples, and its meta.json says %d", c.samples, in.meta.Stats.NumSamples)}
	case c.samples > 0 && (c.mint < in.meta.MinTime || c.maxt >= in.meta.MaxTime):
		return &brokenError{bucket.ReasonBroken, fmt.Errorf("it has samples from %d to %d, outside of its time from %d to %d",
			c.mint, c.maxt, in.meta.MinTime, in.meta.MaxTime)}
	default:
		return nil
	}
}

// checker is the state of one reading of a block.
type checker struct {
	index  tsdb.IndexReader
	chunks tsdb.ChunkReader
	decode bool
	census census

	builder labels.ScratchBuilder
	metas   []chunks.Meta
	last    labels.Labels
	it      chunkenc.Iterator
}

func (c *checker) series(p index.Postings) error {
	broken := func(reason, format string, args ...any) error {
		return &brokenError{reason, fmt.Errorf(format, args...)}
	}
	if err := c.index.Series(p.At(), &c.builder, &c.metas); err != nil {
		return broken(bucket.ReasonBroken, "series %d: %w", p.At(), err)
	}
	lset := c.builder.Labels()
	if c.census.series > 0 && labels.Compare(c.last, lset) >= 0 {
		return broken(bucket.ReasonBroken, "series %s comes after %s", lset, c.last)
	}
	c.last = lset
	c.census.series++
	end := int64(math.MinInt64)
	for _, m := range c.metas {
		if m.MinTime > m.MaxTime || (m.MinTime <= end && end != math.MinInt64) {
			return broken(reasonOutOfOrder, "series %s: a chunk from %d to %d comes after one that ends at %d", lset, m.MinTime, m.MaxTime, end)
		}
		end = m.MaxTime
		chunk, iterable, err := c.chunks.ChunkOrIterable(m)
		if err != nil {
			return broken(bucket.ReasonBroken, "series %s: %w", lset, err)
		}
		if iterable != nil || chunk.NumSamples() == 0 {
			return broken(bucket.ReasonBroken, "series %s: the chunk from %d has no samples", lset, m.MinTime)
		}
		if c.decode && chunk.Encoding() != downsample.Encoding {
			if err := c.samples(m, chunk); err != nil {
				return broken(bucket.ReasonBroken, "series %s: the chunk from %d: %w", lset, m.MinTime, err)
			}
		}
		c.census.chunks++
		c.census.samples += uint64(chunk.NumSamples())
		c.census.mint = min(c.census.mint, m.MinTime)
		c.census.maxt = max(c.census.maxt, m.MaxTime)
	}
	return nil
}

// samples reads the samples of a chunk, which must be in order and within its time.
func (c *checker) samples(m chunks.Meta, chunk chunkenc.Chunk) error {
	c.it = chunk.Iterator(c.it)
	last := m.MinTime - 1
	for c.it.Next() != chunkenc.ValNone {
		t := c.it.AtT()
		if t <= last || t > m.MaxTime {
			return fmt.Errorf("a sample at %d is out of place", t)
		}
		last = t
	}
	return c.it.Err()
}
