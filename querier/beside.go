// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// besideSet is a member's series without the samples of times for which the bucket alone answers, in which one sample stands
// for many: beside them each of these would count once more. Mostly members have none.
type besideSet struct {
	storage.ChunkSeriesSet
	alone []span
}

// At implements storage.ChunkSeriesSet.
func (s besideSet) At() storage.ChunkSeries { return besideSeries{s.ChunkSeriesSet.At(), s.alone} }

type besideSeries struct {
	storage.ChunkSeries
	alone []span
}

// Iterator implements storage.ChunkSeries.
func (s besideSeries) Iterator(chunks.Iterator) chunks.Iterator {
	return &besideChunks{Iterator: s.ChunkSeries.Iterator(nil), lset: s.Labels(), alone: s.alone}
}

// besideChunks passes chunks on as they are, leaves them out, or cuts them.
type besideChunks struct {
	chunks.Iterator
	lset  labels.Labels
	alone []span
	cur   chunks.Meta
	cut   chunks.Iterator // What is left of a chunk.
	err   error
}

// Next implements chunks.Iterator.
func (b *besideChunks) Next() bool {
	for b.err == nil {
		if b.cut != nil {
			if b.cut.Next() {
				b.cur = b.cut.At()
				return true
			}
			b.err, b.cut = b.cut.Err(), nil
			continue
		}
		if !b.Iterator.Next() {
			return false
		}
		b.cur = b.Iterator.At()
		i := slices.IndexFunc(b.alone, func(s span) bool { return b.cur.MinTime <= s.maxt && s.mint <= b.cur.MaxTime })
		switch {
		case i < 0:
			return true
		case b.alone[i].mint <= b.cur.MinTime && b.cur.MaxTime <= b.alone[i].maxt:
			continue
		}
		c := b.cur.Chunk
		b.cut = storage.NewSeriesToChunkEncoder(&storage.SeriesEntry{
			Lset: b.lset,
			SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
				return &besideSamples{c.Iterator(nil), b.alone}
			},
		}).Iterator(nil)
	}
	return false
}

// At implements chunks.Iterator.
func (b *besideChunks) At() chunks.Meta { return b.cur }

// Err implements chunks.Iterator.
func (b *besideChunks) Err() error {
	if b.err != nil {
		return b.err
	}
	return b.Iterator.Err()
}

// besideSamples is what the encoder of chunks reads, which does not seek.
type besideSamples struct {
	chunkenc.Iterator
	alone []span
}

// Next implements chunkenc.Iterator.
func (b *besideSamples) Next() chunkenc.ValueType {
	for {
		vt := b.Iterator.Next()
		if vt == chunkenc.ValNone {
			return vt
		}
		t := b.AtT()
		if !slices.ContainsFunc(b.alone, func(s span) bool { return s.mint <= t && t <= s.maxt }) {
			return vt
		}
	}
}
