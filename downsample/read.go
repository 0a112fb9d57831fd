// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Part is what one block has of a series, for one of its pieces or several.
type Part struct {
	Chunks     []chunks.Meta // Whole ones, in order. They may reach out of the pieces.
	Pieces     []Piece       // In order. Of the block, as Cover says; the index is not looked at.
	Resolution int64
	// Spread repeats what is said of a window every five minutes of it, for readers that look for a sample in the last five
	// minutes. Sums and counters are not spread.
	Spread bool
}

// NewSeries returns one series of parts, which each iterator asks for anew. Each time is answered for by one resolution. Chunks
// of raw parts must not overlap: whoever knows how copies are merged has merged them. Downsampled ones may; of two windows of
// the same time one is taken.
//
// Its iterators yield what reading asks for of downsampled chunks, and raw samples as they are. With ReadCounter the whole
// is one counter, see counterSource.
func NewSeries(lset labels.Labels, reading Reading, parts func() ([]Part, error)) storage.Series {
	return &storage.SeriesEntry{
		Lset: lset,
		SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			s, err := openParts(reading, parts)
			if err != nil {
				return failed{fmt.Errorf("series %s: %w", lset, err)}
			}
			return newIterator(s)
		},
	}
}

func openParts(reading Reading, parts func() ([]Part, error)) (source, error) {
	all, err := parts()
	if err != nil {
		return nil, err
	}
	items, err := itemsOf(all)
	switch {
	case err != nil:
		return nil, err
	case reading == ReadCounter:
		c, err := newCounterSource(items)
		if err != nil || !differ(items) {
			return c, err
		}
		return &dense{counterSource: c}, nil
	}
	return newMerged(items, reading)
}

// item is a chunk with the time for which it answers.
type item struct {
	mint, maxt int64
	first      int64          // The end of the chunk's first window.
	raw        chunkenc.Chunk // Nil of a downsampled one.
	parts      Parts
	resolution int64
	spread     bool
}

// itemsOf returns the items of all parts in the order of the times for which they answer.
func itemsOf(parts []Part) ([]item, error) {
	var items []item
	for _, p := range parts {
		for _, c := range p.Chunks {
			for _, piece := range p.Pieces {
				if c.MaxTime < piece.Mint || c.MinTime > piece.Maxt {
					continue
				}
				it := item{mint: max(piece.Mint, c.MinTime), maxt: min(piece.Maxt, c.MaxTime), first: c.MinTime, resolution: p.Resolution, spread: p.Spread}
				if c.Chunk.Encoding() != Encoding {
					it.raw = c.Chunk
				} else {
					// A chunk's time begins with its first window's end, a counter's first sample is in the window.
					it.mint = max(piece.Mint, windowEnd(c.MinTime, p.Resolution)-p.Resolution+1)
					parsed, err := NewChunk(c.Chunk.Bytes()).Parse()
					if err != nil {
						return nil, fmt.Errorf("chunk at %d: %w", c.MinTime, err)
					}
					it.parts = parsed
				}
				items = append(items, it)
			}
		}
	}
	slices.SortStableFunc(items, func(a, b item) int { return cmp.Or(cmp.Compare(a.mint, b.mint), cmp.Compare(a.first, b.first)) })
	return items, nil
}

// differ says whether the items are of several resolutions.
func differ(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool { return it.resolution != items[0].resolution })
}

// open returns the samples of an item, not clipped.
func (it *item) open(r Reading) (source, error) {
	if it.raw != nil {
		return &chunkSource{it: it.raw.Iterator(nil)}, nil
	}
	s, err := it.parts.open(r, it.resolution)
	if it.spread && (r == ReadAverage || r == ReadMin || r == ReadMax) {
		s = &spreadSource{source: s, resolution: it.resolution}
	}
	return s, err
}

// merged merges lanes of chunks, in each of which chunks do not overlap. Mostly there is one.
type merged struct {
	lanes   []*lane
	reading Reading
	failure error
}

// lane goes through chunks one after the other.
type lane struct {
	items  []item
	cur    source
	head   sample
	has    bool
	window int64 // The end of that of the head.
	span   int64
	ended  int64 // When the chunk before ended.
}

func newMerged(items []item, r Reading) (source, error) {
	m := &merged{reading: r}
next:
	for _, it := range items {
		for _, l := range m.lanes {
			if l.items[len(l.items)-1].maxt < it.first {
				l.items = append(l.items, it)
				continue next
			}
		}
		m.lanes = append(m.lanes, &lane{items: []item{it}, ended: math.MinInt64})
	}
	for _, l := range m.lanes {
		if err := l.advance(r, math.MinInt64); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// advance moves to the next sample of a window that ends after the given time.
func (l *lane) advance(r Reading, after int64) error {
	for {
		if l.cur == nil {
			if len(l.items) == 0 {
				l.has = false
				return nil
			}
			if err := l.begin(&l.items[0], r); err != nil {
				return err
			}
			l.items = l.items[1:]
		}
		s, ok := l.cur.next()
		if !ok {
			if err := l.cur.err(); err != nil {
				return err
			}
			l.cur = nil
			continue
		}
		if s.t > after {
			l.head, l.has, l.window = s, true, windowEnd(s.t, l.span)
			return nil
		}
	}
}

func (l *lane) begin(it *item, r Reading) error {
	s, err := it.open(r)
	if err != nil {
		return err
	}
	if s, ok := s.(*repeatSource); ok {
		s.ended = max(l.ended, it.mint-1)
	}
	l.cur, l.span, l.ended = &clip{s, it.mint, it.maxt}, it.resolution, it.maxt
	if it.raw != nil {
		l.span = 1
	}
	return nil
}

func (m *merged) next() (sample, bool) {
	var least *lane
	for _, l := range m.lanes {
		if l.has && (least == nil || l.head.t < least.head.t) {
			least = l
		}
	}
	if least == nil || m.failure != nil {
		return sample{}, false
	}
	s, window := least.head, least.window
	for _, l := range m.lanes {
		after := s.t
		if l != least {
			if !l.has || l.window > window {
				continue
			}
			after = window // The other lane has said what there was in it.
		}
		if m.failure = l.advance(m.reading, after); m.failure != nil {
			return sample{}, false
		}
	}
	return s, true
}

func (m *merged) err() error { return m.failure }
