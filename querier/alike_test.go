// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// TestAlike: copies are alike exactly if all have the same chunks in the same order, and these do not overlap.
func TestAlike(t *testing.T) {
	every := func(n int) func(int) bool { return func(i int) bool { return i%n == 0 } }
	samples := floats(0, 299_000, 1000, func(i int64) float64 { return float64(i * i) })
	whole := func() *bufferedSeries { return copyOf(t, samples, every(100)).(*bufferedSeries) }
	changed := func(change func(s *bufferedSeries)) storage.ChunkSeries {
		s := whole()
		change(s)
		return s
	}
	other := floats(0, 299_000, 1000, func(i int64) float64 { return float64(i*i) + 1 })
	for name, c := range map[string]struct {
		copies []storage.ChunkSeries
		want   bool
	}{
		"one":     {[]storage.ChunkSeries{whole()}, true},
		"three":   {[]storage.ChunkSeries{whole(), whole(), whole()}, true},
		"none":    {[]storage.ChunkSeries{&bufferedSeries{}, &bufferedSeries{}}, true},
		"empty":   {[]storage.ChunkSeries{whole(), &bufferedSeries{}}, false},
		"shorter": {[]storage.ChunkSeries{whole(), whole(), changed(func(s *bufferedSeries) { s.chunks = s.chunks[:2] })}, false},
		"as many in all": {[]storage.ChunkSeries{
			changed(func(s *bufferedSeries) { s.chunks = s.chunks[:2] }), whole(), changed(func(s *bufferedSeries) {
				s.chunks = append(s.chunks, chunks.Meta{Chunk: s.chunks[0].Chunk, MinTime: 1e6, MaxTime: 2e6})
			}),
		}, false},
		"other values":  {[]storage.ChunkSeries{whole(), copyOf(t, other, every(100))}, false},
		"other times":   {[]storage.ChunkSeries{whole(), changed(func(s *bufferedSeries) { s.chunks[1].MaxTime++ })}, false},
		"another order": {[]storage.ChunkSeries{whole(), changed(func(s *bufferedSeries) { slices.Reverse(s.chunks) })}, false},
		"overlap": {[]storage.ChunkSeries{
			changed(func(s *bufferedSeries) { s.chunks[0].MaxTime = s.chunks[1].MinTime }), changed(func(s *bufferedSeries) { s.chunks[0].MaxTime = s.chunks[1].MinTime }),
		}, false},
		"one overlaps": {[]storage.ChunkSeries{changed(func(s *bufferedSeries) { s.chunks = append(s.chunks, s.chunks[2]) })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var l layout
			require.NoError(t, l.read(c.copies, everything()))
			require.Equal(t, c.want, l.alike)
			if c.want {
				return
			}
			var all []held // All that is needed to lay them out.
			for owner, one := range c.copies {
				for _, m := range one.(*bufferedSeries).chunks {
					all = append(all, held{m, owner})
				}
			}
			require.Len(t, l.held, len(all))
			for i, h := range all {
				require.Equal(t, h.owner, l.held[i].owner)
				require.True(t, sameChunk(&h.meta, &l.held[i].meta))
			}
		})
	}
}

// TestAlikeIsTheSame: copies that are alike lie in time as they do when they are laid out one by one.
func TestAlikeIsTheSame(t *testing.T) {
	rnd := seeded(t)
	for name, samples := range map[string][]tsample{
		"floats":     floats(0, 599_000, 1000, func(i int64) float64 { return float64(i) }),
		"histograms": histograms(rnd, 600),
	} {
		t.Run(name, func(t *testing.T) {
			one := copyOf(t, samples, func(i int) bool { return i%120 == 0 })
			copies := []storage.ChunkSeries{one, one, one}
			var short, long layout
			require.NoError(t, short.build(copies, everything()))
			require.NoError(t, long.read(copies, everything()))
			require.True(t, long.alike)
			long.matched = 0
			long.differ(3)
			long.placeAll(3)
			require.Equal(t, long.pieces, short.pieces)
			require.Equal(t, long.stretches, short.stretches)
		})
	}
}

// TestLoneStretch: what is read without looking after it, by any mix of Next and Seek, is what the chunks have.
func TestLoneStretch(t *testing.T) {
	rnd := seeded(t)
	samples := floats(1000, 600_000, 1000, func(i int64) float64 { return float64(i) })
	one := copyOf(t, samples, func(i int) bool { return i%50 == 0 })
	// The second copy differs in one chunk, so that stretches of both kinds follow each other.
	odd := copyOf(t, samples, func(i int) bool { return i%50 == 0 && i != 300 })
	for round := range 200 {
		copies := [][]storage.ChunkSeries{{one, one}, {one, odd}}[round%2]
		s, _ := merged(copies, everything())
		it, at, trace := s.samples(nil), -1, ""
		for {
			var kind chunkenc.ValueType
			if n := rnd.IntN(120); rnd.IntN(4) > 0 {
				kind = it.Next()
				at++
				trace += " next"
			} else {
				to := int64(max(at, 0)+n-20) * 1000
				kind = it.Seek(to)
				at = max(at, 0, int(to+999)/1000-1)
				trace += fmt.Sprint(" seek ", to)
			}
			if at >= len(samples) {
				require.Equal(t, chunkenc.ValNone, kind, trace)
				require.Equal(t, chunkenc.ValNone, it.Next(), trace)
				break
			}
			require.Equal(t, chunkenc.ValFloat, kind, trace)
			gotT, v := it.At()
			require.Equal(t, samples[at].t, gotT, trace)
			require.Equal(t, samples[at].t, it.AtT(), trace)
			require.Equal(t, samples[at].f, v, trace)
		}
		require.NoError(t, it.Err())
	}
}
