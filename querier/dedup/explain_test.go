// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

func replica(name string, points []point) storage.Series {
	s := floatSeries(points, minTime, maxTime)
	return &storage.SeriesEntry{Lset: labels.FromStrings("job", "x", "replica", name), SampleIteratorFn: s.Iterator}
}

func explainPoints(t *testing.T, mint, maxt int64, replicas ...[]point) []Stretch {
	t.Helper()
	r := &recorder{}
	for n, points := range replicas {
		r.series = append(r.series, replica(string(rune('a'+n)), points))
	}
	e, err := Explain(t.Context(), r, byReplica, 10, &storage.SelectHints{Start: mint, End: maxt})
	require.NoError(t, err)
	require.Len(t, e.Series, 1)
	require.Equal(t, `{job="x"}`, e.Series[0].Labels.String())
	require.Equal(t, r.closed, len(r.ranges))
	return e.Series[0].Stretches
}

func every(step, from, to int64) []point {
	var points []point
	for t := from; t <= to; t += step {
		points = append(points, point{t, float64(t)})
	}
	return points
}

func stretchOf(name, why string, start, end int64, samples int) Stretch {
	return Stretch{Start: start, End: end, Samples: samples, Replica: labels.FromStrings("replica", name), Why: why}
}

func TestExplainWhy(t *testing.T) {
	b := every(10_000, 5000, 400_000)
	t.Run("gap and back", func(t *testing.T) {
		a := append(every(10_000, 0, 100_000), every(10_000, 200_000, 400_000)...)
		require.Equal(t, []Stretch{
			stretchOf("a", WhyFirst, 0, 100_000, 11),
			stretchOf("b", WhyGap, 105_000, 195_000, 10),
			stretchOf("a", WhyBack, 200_000, 400_000, 21),
		}, explainPoints(t, 0, 400_000, a, b))
	})
	t.Run("stale", func(t *testing.T) {
		a := append(every(10_000, 0, 100_000), point{110_000, staleNaN})
		require.Equal(t, []Stretch{
			stretchOf("a", WhyFirst, 0, 100_000, 11),
			stretchOf("b", WhyStale, 105_000, 395_000, 30),
		}, explainPoints(t, 0, 400_000, a, b))
	})
	t.Run("skew", func(t *testing.T) {
		a, b := every(1000, 0, 60_000), every(1000, 500, 120_000)
		for i := range b {
			b[i].f -= 3000
		}
		stretches := explainPoints(t, 0, 120_000, a, b)
		require.Len(t, stretches, 2)
		require.Equal(t, 3, stretches[1].Skew)
		require.Equal(t, int64(63_500), stretches[1].Start)
	})
	t.Run("both down", func(t *testing.T) {
		a := append(every(10_000, 0, 100_000), every(10_000, 300_000, 400_000)...)
		require.Equal(t, []Stretch{
			stretchOf("a", WhyFirst, 0, 100_000, 11),
			stretchOf("a", WhyGap, 300_000, 400_000, 11),
		}, explainPoints(t, 0, 400_000, a, every(10_000, 5000, 60_000)))
	})
	t.Run("one replica", func(t *testing.T) {
		require.Equal(t, []Stretch{stretchOf("a", WhyFirst, 60_000, 120_000, 7)}, explainPoints(t, 55_000, 120_000, every(10_000, 0, 400_000)))
	})
}

// TestExplainedSamplesAreTheAnswer: the stretches account for each sample that a query reads, and for no other.
func TestExplainedSamplesAreTheAnswer(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 5))
		replicas := chaos(rng)
		mint := rng.Int64N(600_000)
		maxt := mint + 60_000 + rng.Int64N(3_000_000)
		want := 0
		for _, p := range stitchedPoints(t, newRule(0), replicas, mint, maxt) {
			if !p.stale() {
				want++
			}
		}
		r := &recorder{}
		for n, points := range replicas {
			r.series = append(r.series, replica(string(rune('a'+n)), points))
		}
		e, err := Explain(t.Context(), r, byReplica, 10, &storage.SelectHints{Start: mint, End: maxt})
		require.NoError(t, err)
		got, last := 0, mint-1
		for _, s := range e.Series {
			for _, stretch := range s.Stretches {
				require.Greater(t, stretch.Start, last, "seed %d", seed)
				require.GreaterOrEqual(t, stretch.End, stretch.Start, "seed %d", seed)
				last = stretch.End
				got += stretch.Samples
			}
		}
		require.Equal(t, want, got, "seed %d", seed)
		require.LessOrEqual(t, last, maxt, "seed %d", seed)
	}
}

func TestExplainIsBounded(t *testing.T) {
	r := &recorder{series: pairs()}
	e, err := Explain(t.Context(), r, byReplica, 2, &storage.SelectHints{Start: 0, End: 2000})
	require.NoError(t, err)
	require.Len(t, e.Series, 2)
	require.True(t, e.Cut)

	var a []point // Every other sample is missing now and then, so that b steps in.
	for i := int64(0); i < 6*4*stretchesMax; i++ {
		if i%6 != 5 {
			a = append(a, point{i * 10_000, 1})
		}
	}
	b := every(10_000, 5000, a[len(a)-1].t)
	r = &recorder{series: []storage.Series{replica("a", a), replica("b", b)}}
	e, err = Explain(t.Context(), r, byReplica, 2, &storage.SelectHints{Start: 0, End: maxTime})
	require.NoError(t, err)
	require.Len(t, e.Series[0].Stretches, stretchesMax)
	require.True(t, e.Series[0].Cut)

	// With dedup off each replica is a series of its own.
	e, err = Explain(WithEnabled(t.Context(), false), &recorder{series: pairs()}, byReplica, 10, &storage.SelectHints{Start: 0, End: 2000})
	require.NoError(t, err)
	require.Len(t, e.Series, 5)
	require.True(t, strings.Contains(e.Series[0].Labels.String(), "replica"))
}
