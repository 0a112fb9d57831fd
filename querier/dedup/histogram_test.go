// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// histogramOf is a histogram whose count tells which point it stands for. All say that
// no counter was reset before them, which after a switch they cannot know.
func histogramOf(p point, custom bool) *histogram.Histogram {
	h := &histogram.Histogram{
		CounterResetHint: histogram.NotCounterReset,
		PositiveSpans:    []histogram.Span{{Offset: 0, Length: 2}},
		PositiveBuckets:  []int64{1, 1},
		Sum:              p.f,
		Count:            uint64(p.f + 1000),
	}
	if custom {
		h.Schema, h.CustomValues = histogram.CustomBucketsSchema, []float64{1, 2}
	}
	if p.stale() {
		h = &histogram.Histogram{Sum: staleNaN}
	}
	return h
}

// histogramSample is a chunks.Sample of a histogram series.
type histogramSample struct {
	t  int64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func (s histogramSample) T() int64                      { return s.t }
func (s histogramSample) ST() int64                     { return s.t - 1 }
func (s histogramSample) F() float64                    { return 0 }
func (s histogramSample) H() *histogram.Histogram       { return s.h }
func (s histogramSample) FH() *histogram.FloatHistogram { return s.fh }
func (s histogramSample) Copy() chunks.Sample           { return s }
func (s histogramSample) Type() chunkenc.ValueType {
	if s.h != nil {
		return chunkenc.ValHistogram
	}
	return chunkenc.ValFloatHistogram
}

// histogramSeries stores points as integer, custom-bucket or float histograms.
func histogramSeries(points []point, kind int) storage.Series {
	var samples []chunks.Sample
	for _, p := range points {
		s := histogramSample{t: p.t, h: histogramOf(p, kind == 1)}
		if kind == 2 {
			s.h, s.fh = nil, s.h.ToFloat(nil)
		}
		samples = append(samples, s)
	}
	return storage.NewListSeries(labels.EmptyLabels(), samples)
}

// TestHistogramsAreChosenAlike: histograms are chosen as floats are, come out as they
// went in, and keep their hint if and only if the one before them is its own.
func TestHistogramsAreChosenAlike(t *testing.T) {
	for seed := range uint64(60) {
		replicas := chaos(rand.New(rand.NewPCG(seed, 4)))
		picks := (reference{newRule(0), replicas}).stitch()
		series := make([]storage.Series, len(replicas))
		kind := int(seed % 3)
		for n := range replicas {
			series[n] = histogramSeries(replicas[n], kind)
		}
		it := (&stitched{replicas: series, rule: newRule(0), mint: minTime, maxt: maxTime}).Iterator(nil)
		for i, p := range picks {
			got := it.Next()
			require.NotEqual(t, chunkenc.ValNone, got, "seed %d", seed)
			require.Equal(t, p.t, it.AtT(), "seed %d", seed)
			require.Equal(t, p.t-1, it.AtST(), "seed %d", seed)
			want := histogramOf(p.point, kind == 1)
			if !p.stale() && (i == 0 || !follows(replicas[p.replica], picks[i-1], p)) {
				want.CounterResetHint = histogram.UnknownCounterReset
			}
			if kind != 2 {
				require.Equal(t, chunkenc.ValHistogram, got, "seed %d", seed)
				_, h := it.AtHistogram(nil)
				requireSame(t, want.ToFloat(nil), h.ToFloat(nil), "seed %d at %d", seed, p.t)
			}
			_, fh := it.AtFloatHistogram(nil)
			requireSame(t, want.ToFloat(nil), fh, "seed %d at %d", seed, p.t)
		}
		require.Equal(t, chunkenc.ValNone, it.Next(), "seed %d", seed)
		require.NoError(t, it.Err())
	}
}

// follows reports whether b comes directly after a in one replica.
func follows(records []point, a, b pick) bool {
	for i := range records {
		if records[i].t == b.t {
			return a.replica == b.replica && i > 0 && records[i-1].t == a.t
		}
	}
	return false
}

func requireSame(t *testing.T, want, got *histogram.FloatHistogram, msg string, args ...any) {
	t.Helper()
	if value.IsStaleNaN(want.Sum) {
		require.True(t, value.IsStaleNaN(got.Sum), append([]any{msg}, args...)...)
		return
	}
	require.Equal(t, want, got, append([]any{msg}, args...)...)
}

// TestHistogramsAreTheCallers: what was handed out stays as it was when the iterator
// moves on, and the iterator does not mind what the caller does to it.
func TestHistogramsAreTheCallers(t *testing.T) {
	a := []point{{0, 1}, {15_000, 2}, {60_000, 5}, {75_000, 6}}
	b := []point{{8_000, 1}, {23_000, 2}, {38_000, 3}, {53_000, 4}, {68_000, 5}, {83_000, 6}}
	s := &stitched{
		replicas: []storage.Series{histogramSeries(a, 0), histogramSeries(b, 0)},
		rule:     newRule(0), mint: minTime, maxt: maxTime,
	}
	var (
		it  = s.Iterator(nil)
		all []*histogram.Histogram
	)
	for it.Next() != chunkenc.ValNone {
		_, h := it.AtHistogram(nil)
		h.PositiveBuckets[0] = 7
		_, again := it.AtHistogram(nil)
		require.Equal(t, int64(1), again.PositiveBuckets[0])
		all = append(all, h)
	}
	var sums []float64
	for _, h := range all {
		sums = append(sums, h.Sum)
	}
	require.Equal(t, []float64{1, 2, 2, 3, 4, 5, 6}, sums)
}

// TestHintAtTheStartOfARange: a range that begins in the middle of a healthy replica has
// that replica's hints from its first histogram on; after a gap it has none at first.
func TestHintAtTheStartOfARange(t *testing.T) {
	a := []point{{0, 1}, {15_000, 2}, {30_000, 3}, {90_000, 6}, {105_000, 7}, {120_000, 8}}
	b := []point{{8_000, 1}, {23_000, 2}, {38_000, 3}, {53_000, 4}, {68_000, 5}, {83_000, 6}, {98_000, 7}}
	replicas := []storage.Series{histogramSeries(a, 0), histogramSeries(b, 0)}
	for mint, want := range map[int64]histogram.CounterResetHint{
		10_000:  histogram.NotCounterReset,     // 15 s of a follows 0 s of a
		35_000:  histogram.UnknownCounterReset, // 38 s of b follows 30 s of a
		50_000:  histogram.NotCounterReset,     // 53 s of b follows 38 s of b
		90_000:  histogram.UnknownCounterReset, // 90 s of a follows 83 s of b
		100_000: histogram.NotCounterReset,     // 105 s of a follows 90 s of a
	} {
		it := (&stitched{replicas: replicas, rule: newRule(0), mint: mint, maxt: maxTime}).Iterator(nil)
		require.Equal(t, chunkenc.ValHistogram, it.Next())
		_, h := it.AtHistogram(nil)
		require.Equal(t, want, h.CounterResetHint, "from %d", mint)
	}
}
