// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"
)

var testSeries = labels.FromStrings("__name__", "m", "job", "a")

// copyOf encodes samples as a TSDB does: a chunk follows the one before it, so that the headers of histogram
// chunks tell of counter resets; cut decides before which samples a chunk ends.
func copyOf(t testing.TB, samples []tsample, cut func(i int) bool) storage.ChunkSeries {
	t.Helper()
	var (
		metas []chunks.Meta
		app   chunkenc.Appender
	)
	lastKind := chunkenc.ValNone
	for i, s := range samples {
		fresh := false
		if kind := kindOf(s); kind != lastKind || cut(i) {
			chunk, err := kind.NewChunk(false, false)
			require.NoError(t, err)
			if kind != lastKind {
				app = nil
			}
			metas, lastKind, fresh = append(metas, chunks.Meta{Chunk: chunk, MinTime: s.t, MaxTime: s.t}), kind, true
		}
		app, metas = appendSample(t, app, metas, s, fresh)
	}
	return &bufferedSeries{lset: testSeries, chunks: metas}
}

func appendSample(t testing.TB, prev chunkenc.Appender, metas []chunks.Meta, s tsample, fresh bool) (chunkenc.Appender, []chunks.Meta) {
	t.Helper()
	last := &metas[len(metas)-1]
	app := prev
	if fresh {
		var err error
		app, err = last.Chunk.Appender()
		require.NoError(t, err)
	}
	if s.h == nil && s.fh == nil {
		app.Append(0, s.t, s.f)
		last.MaxTime = s.t
		return app, metas
	}
	var (
		chunk   chunkenc.Chunk
		recoded bool
		err     error
	)
	if s.h != nil {
		chunk, recoded, app, err = app.AppendHistogram(prev, 0, s.t, s.h, false)
	} else {
		chunk, recoded, app, err = app.AppendFloatHistogram(prev, 0, s.t, s.fh, false)
	}
	require.NoError(t, err)
	switch {
	case chunk == nil:
	case recoded:
		last.Chunk = chunk
	default:
		metas = append(metas, chunks.Meta{Chunk: chunk, MinTime: s.t})
		last = &metas[len(metas)-1]
	}
	last.MaxTime = s.t
	return app, metas
}

func kindOf(s tsample) chunkenc.ValueType {
	switch {
	case s.h != nil:
		return chunkenc.ValHistogram
	case s.fh != nil:
		return chunkenc.ValFloatHistogram
	default:
		return chunkenc.ValFloat
	}
}

func merged(copies []storage.ChunkSeries, trim span) (*series, prometheus.Counter) {
	conflicts := prometheus.NewCounter(prometheus.CounterOpts{Name: "conflicts"})
	return &series{lset: testSeries, copies: copies, env: &mergeEnv{trim: trim, conflicts: conflicts}}, conflicts
}

func everything() span { return span{minTime, maxTime} }

// requireSame compares samples bit by bit, without the hints, which do not belong to the contents.
func requireSame(t testing.TB, want, got []tsample) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].t, got[i].t)
		require.Zero(t, compareSamples(want[i].content(), got[i].content()), "at %d: want %v, got %v", want[i].t, want[i], got[i])
	}
}

func (s tsample) String() string { return fmt.Sprintf("{%d %v %v %v}", s.t, s.f, s.h, s.fh) }

func (s tsample) content() sample { return sample{kind: kindOf(s), f: s.f, h: s.h, fh: s.fh} }

// requireTrueHints checks that no hint says what is not so of the sample and the one before it.
func requireTrueHints(t testing.TB, samples []tsample) {
	t.Helper()
	for i := 1; i < len(samples); i++ {
		a, b := samples[i-1], samples[i]
		if a.h == nil || b.h == nil || value.IsStaleNaN(a.h.Sum) || value.IsStaleNaN(b.h.Sum) {
			continue
		}
		after := b.h.Copy().ToFloat(nil)
		hint := after.CounterResetHint
		after.CounterResetHint = histogram.UnknownCounterReset
		before := a.h.ToFloat(nil)
		before.CounterResetHint = histogram.UnknownCounterReset
		reset := after.DetectReset(before)
		switch hint {
		case histogram.NotCounterReset:
			require.False(t, reset, "at %d: a reset is hinted away", b.t)
		case histogram.CounterReset:
			require.True(t, reset, "at %d: a reset is invented", b.t)
		}
	}
}

func TestMergeIdenticalCopies(t *testing.T) {
	for name, samples := range map[string][]tsample{
		"floats":     floats(0, 600_000, 1000, func(i int64) float64 { return float64(i) }),
		"histograms": histograms(rand.New(rand.NewPCG(1, 1)), 300),
	} {
		t.Run(name, func(t *testing.T) {
			one := copyOf(t, samples, func(i int) bool { return i%120 == 0 })
			s, conflicts := merged([]storage.ChunkSeries{one, one, one}, everything())
			got := drain(t, s.samples(nil))
			requireSame(t, samples, got)
			require.Equal(t, hintsOf(drain(t, readBack(one))), hintsOf(got))
			require.Equal(t, one.(*bufferedSeries).chunks, metasOf(t, s.chunks(nil)), "the chunks themselves")
			require.Zero(t, testutil.ToFloat64(conflicts))
		})
	}
}

func hintsOf(samples []tsample) []histogram.CounterResetHint {
	var out []histogram.CounterResetHint
	for _, s := range samples {
		if s.h != nil {
			out = append(out, s.h.CounterResetHint)
		}
	}
	return out
}

// readBack reads one copy as Prometheus would.
func readBack(c storage.ChunkSeries) chunkenc.Iterator {
	s, _ := merged([]storage.ChunkSeries{c}, everything())
	return s.samples(nil)
}

func metasOf(t testing.TB, it chunks.Iterator) []chunks.Meta {
	t.Helper()
	var out []chunks.Meta
	for it.Next() {
		out = append(out, it.At())
	}
	require.NoError(t, it.Err())
	return out
}

// histograms makes a counter with resets and stale markers.
func histograms(rnd *rand.Rand, n int) []tsample {
	var out []tsample
	level := int64(0)
	for i := range n {
		level++
		switch rnd.IntN(20) {
		case 0:
			level = 0
		case 1:
			out = append(out, tsample{t: int64(i) * 1000, h: &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}})
			continue
		}
		out = append(out, tsample{t: int64(i) * 1000, h: tsdbutil.GenerateTestHistogram(level)})
	}
	return out
}

// world makes a series of floats, stale markers and histograms, changing its kind now and then.
func world(rnd *rand.Rand, n int) []tsample {
	out := histograms(rnd, n)
	kind := rnd.IntN(3)
	for i := range out {
		if rnd.IntN(15) == 0 {
			kind = rnd.IntN(3)
		}
		switch h := out[i].h; kind {
		case 0:
			out[i] = tsample{t: out[i].t, f: h.Sum}
		case 1:
			out[i] = tsample{t: out[i].t, fh: h.ToFloat(nil)}
		}
	}
	return out
}

// TestMergeHoles: copies with holes, cut into chunks at random, come back whole, with hints that are true, in samples
// and in chunks, from any Seek, and the same whatever the order of the copies.
func TestMergeHoles(t *testing.T) {
	rnd := seeded(t)
	for range 300 {
		truth := world(rnd, 1+rnd.IntN(200))
		copies := withHoles(t, rnd, truth, 3)
		s, conflicts := merged(copies, everything())
		got := drain(t, s.samples(nil))
		requireSame(t, truth, got)
		requireTrueHints(t, got)
		require.Zero(t, testutil.ToFloat64(conflicts))

		encoded := metasOf(t, s.chunks(nil))
		for i := 1; i < len(encoded); i++ {
			require.Greater(t, encoded[i].MinTime, encoded[i-1].MaxTime)
		}
		again := drain(t, readBack(&bufferedSeries{lset: testSeries, chunks: encoded}))
		requireSame(t, truth, again)
		requireTrueHints(t, again)

		rnd.Shuffle(len(copies), func(i, j int) { copies[i], copies[j] = copies[j], copies[i] })
		s, _ = merged(copies, everything())
		requireSame(t, truth, drain(t, s.samples(nil)))
		seekAtRandom(t, rnd, s, truth)
	}
}

// withHoles gives every sample to one copy at least.
func withHoles(t testing.TB, rnd *rand.Rand, truth []tsample, n int) []storage.ChunkSeries {
	held := make([][]tsample, n)
	for _, s := range truth {
		holders := 1 + rnd.IntN(1<<n-1)
		for i := range held {
			if holders&(1<<i) != 0 {
				held[i] = append(held[i], s)
			}
		}
	}
	copies := make([]storage.ChunkSeries, n)
	for i := range copies {
		every := 1 + rnd.IntN(40)
		copies[i] = copyOf(t, held[i], func(int) bool { return rnd.IntN(every) == 0 })
	}
	return copies
}

// seekAtRandom mixes Next and Seek and checks each step against the truth.
func seekAtRandom(t testing.TB, rnd *rand.Rand, s *series, truth []tsample) {
	t.Helper()
	it := s.samples(nil)
	var seen []tsample // Samples reached by Next from the one before.
	for i := -1; ; {
		var kind chunkenc.ValueType
		next := i + 1
		if rnd.IntN(3) == 0 {
			at := rnd.Int64N(truth[len(truth)-1].t + 2)
			kind = it.Seek(at)
			next, _ = slices.BinarySearchFunc(truth, at, func(s tsample, t int64) int { return int(s.t - t) })
			next = max(i, next)
			if i < 0 {
				next = max(0, next)
			}
			seen = nil
		} else {
			kind = it.Next()
		}
		if next >= len(truth) {
			require.Equal(t, chunkenc.ValNone, kind)
			require.Equal(t, chunkenc.ValNone, it.Next(), "it stays at its end")
			return
		}
		require.Equal(t, kindOf(truth[next]), kind)
		got := current(it, kind)
		require.Equal(t, got.t, it.AtT())
		requireSame(t, truth[next:next+1], []tsample{got})
		seen = append(seen, got)
		requireTrueHints(t, seen)
		i = next
	}
}

// TestMergeConflicts: where copies disagree the outcome is the larger sample by the rule, whichever way they
// are merged, two at a time or all at once.
func TestMergeConflicts(t *testing.T) {
	rnd := seeded(t)
	for range 300 {
		n := 1 + rnd.IntN(100)
		held := make([][]tsample, 3)
		truth := make([]tsample, n)
		conflicting := 0
		for i := range n {
			disagree := false
			for c := range held {
				s := randomSample(rnd)
				p := tsample{t: int64(i) * 1000, f: s.f, h: s.h, fh: s.fh}
				held[c] = append(held[c], p)
				if c == 0 {
					truth[i] = p
					continue
				}
				d := compareSamples(p.content(), truth[i].content())
				disagree = disagree || d != 0
				if d > 0 {
					truth[i] = p
				}
			}
			if disagree {
				conflicting++
			}
		}
		copies := make([]storage.ChunkSeries, len(held))
		for c := range held {
			copies[c] = copyOf(t, held[c], func(int) bool { return rnd.IntN(10) == 0 })
		}
		s, conflicts := merged(copies, everything())
		requireSame(t, truth, drain(t, s.samples(nil)))
		require.InDelta(t, conflicting, testutil.ToFloat64(conflicts), 0)

		ab, _ := merged([]storage.ChunkSeries{copies[2], copies[1]}, everything())
		abc, _ := merged([]storage.ChunkSeries{(*chunkSeries)(ab), copies[0]}, everything())
		requireSame(t, truth, drain(t, abc.samples(nil)))
	}
}

// TestMergeTrims: nothing outside of the range comes back, and all inside does.
func TestMergeTrims(t *testing.T) {
	rnd := seeded(t)
	for range 200 {
		truth := world(rnd, 1+rnd.IntN(100))
		copies := withHoles(t, rnd, truth, 1+rnd.IntN(3))
		mint := rnd.Int64N(110_000) - 5000
		maxt := mint + rnd.Int64N(60_000)
		var want []tsample
		for _, s := range truth {
			if s.t >= mint && s.t <= maxt {
				want = append(want, s)
			}
		}
		s, _ := merged(copies, span{mint, maxt})
		requireSame(t, want, drain(t, s.samples(nil)))
		requireSame(t, want, drain(t, readBack(&bufferedSeries{lset: testSeries, chunks: metasOf(t, s.chunks(nil))})))
	}
}

// TestMergeReusesIterators: an iterator handed from series to series leaks nothing from one to the next.
func TestMergeReusesIterators(t *testing.T) {
	rnd := seeded(t)
	var it chunkenc.Iterator
	for range 100 {
		truth := world(rnd, 1+rnd.IntN(60))
		s, _ := merged(withHoles(t, rnd, truth, 1+rnd.IntN(3)), everything())
		it = s.samples(it)
		if rnd.IntN(3) == 0 { // Left half-way.
			it.Next()
			continue
		}
		requireSame(t, truth, drain(t, it))
	}
}

// TestMergeReusesChunkIterators is the same for chunks: what was taken from one stays good when the next is made.
func TestMergeReusesChunkIterators(t *testing.T) {
	rnd := seeded(t)
	var it chunks.Iterator
	for range 200 {
		truth := world(rnd, 1+rnd.IntN(60))
		s, _ := merged(withHoles(t, rnd, truth, 1+rnd.IntN(3)), everything())
		want := metasOf(t, s.chunks(nil))
		it = (*chunkSeries)(s).Iterator(it)
		if rnd.IntN(3) == 0 { // Left half-way.
			it.Next()
			continue
		}
		got := metasOf(t, it)
		other, _ := merged(withHoles(t, rnd, world(rnd, 30), 2), everything())
		it = (*chunkSeries)(other).Iterator(it)
		it.Next()
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i].MinTime, got[i].MinTime)
			require.Equal(t, want[i].Chunk.Bytes(), got[i].Chunk.Bytes())
		}
	}
}
