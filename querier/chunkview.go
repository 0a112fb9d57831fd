// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// chunks returns the samples of the series as chunks that do not overlap. A chunk that is alone in its time
// and inside the trim is passed on as it is; the others are encoded again. It takes over the memory of an iterator that
// it returned before.
func (s *series) chunks(former chunks.Iterator) chunks.Iterator {
	it, ok := former.(*mergedChunks)
	if !ok {
		it = &mergedChunks{}
	}
	it.s, it.stretch, it.encoded, it.cur, it.err, it.merge.err = s, 0, nil, chunks.Meta{}, nil, nil
	it.merge.layout.stretches = it.merge.layout.stretches[:0]
	if len(s.copies) > 0 {
		it.err = it.merge.layout.build(s.copies, s.env.trim)
	}
	return it
}

// mergedChunks is the chunks.Iterator of a merged series.
type mergedChunks struct {
	s       *series
	merge   mergeIterator
	stretch int             // The next one.
	encoded chunks.Iterator // Of the current stretch, if it was encoded again.
	cur     chunks.Meta
	err     error
}

// Next implements chunks.Iterator.
func (c *mergedChunks) Next() bool {
	for c.err == nil {
		if c.encoded != nil {
			if c.encoded.Next() {
				c.cur = c.encoded.At()
				return true
			}
			c.err = c.encoded.Err()
			c.encoded = nil
			continue
		}
		if c.stretch >= len(c.merge.layout.stretches) {
			return false
		}
		i := c.stretch
		c.stretch++
		if c.passes(i) {
			c.cur = c.merge.layout.pieces[c.merge.layout.stretches[i].first].meta
			return true
		}
		c.encoded = c.encode(i)
	}
	return false
}

// passes tells whether stretch i is one chunk that can be returned unchanged: inside the trim and, for histograms, with
// the chunk before it that the counter-reset hint in its header is about.
func (c *mergedChunks) passes(i int) bool {
	l := &c.merge.layout
	s, trim := l.stretches[i], c.s.env.trim
	if !s.single() || s.mint < trim.mint || s.maxt > trim.maxt {
		return false
	}
	p := &l.pieces[s.first]
	if i == 0 || !isHistogram(p.meta.Chunk) {
		return true
	}
	for _, b := range p.before {
		if l.pieces[b].stretch == i-1 && l.stretches[i-1].single() {
			return true
		}
	}
	return false
}

// encode merges one stretch into new chunks.
func (c *mergedChunks) encode(i int) chunks.Iterator {
	return storage.NewSeriesToChunkEncoder(&storage.SeriesEntry{
		Lset: c.s.lset,
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			c.merge.reset(c.s.env, i, i+1)
			return &c.merge
		},
	}).Iterator(nil)
}

// At implements chunks.Iterator.
func (c *mergedChunks) At() chunks.Meta { return c.cur }

// Err implements chunks.Iterator.
func (c *mergedChunks) Err() error { return c.err }
