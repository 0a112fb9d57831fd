// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/stretchr/testify/require"
)

// histogramWorld is a counter of observations that is restarted now and then.
type histogramWorld struct {
	rng    *rand.Rand
	schema int32
	counts map[int]float64
	sum    float64
	width  int // Of the range of buckets that observations fall into.
}

func (w *histogramWorld) reset() { w.counts, w.sum = map[int]float64{}, 0 }

func (w *histogramWorld) observe(n int) {
	for range n {
		b := w.rng.IntN(w.width)
		w.counts[b]++
		w.sum += math.Exp2(float64(b) / 8)
	}
}

// histogram returns what there is to be seen, with a bucket for each index up to the width, so that spans stay as they are.
func (w *histogramWorld) histogram(hint histogram.CounterResetHint) *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{
		Schema: w.schema, ZeroThreshold: 1e-128, Sum: w.sum, CounterResetHint: hint,
		PositiveSpans: []histogram.Span{{Offset: 1, Length: uint32(w.width)}},
	}
	for b := range w.width {
		h.PositiveBuckets = append(h.PositiveBuckets, w.counts[b])
		h.Count += w.counts[b]
	}
	return h
}

func newHistogramSeries(seed uint64, days int64, hint histogram.CounterResetHint, resetsADay float64) series {
	w := &histogramWorld{rng: rand.New(rand.NewPCG(seed, 3)), schema: 3, width: 6}
	w.reset()
	var s series
	for t := 1 + w.rng.Int64N(minute); t < days*day; t += minute {
		if w.rng.Float64() < resetsADay/1440 || hint == histogram.GaugeType {
			w.reset()
		}
		if w.rng.IntN(2000) == 0 {
			s = append(s, sample{t: t, fh: &histogram.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}})
			t += w.rng.Int64N(hour)
			continue
		}
		w.observe(4 + w.rng.IntN(3))
		s = append(s, sample{t: t, fh: w.histogram(hint)})
	}
	return s
}

// TestHistogramIncreaseIsThatOfRaw: also over chunks and blocks between which there were resets.
func TestHistogramIncreaseIsThatOfRaw(t *testing.T) {
	engine := newEngine(5 * time.Minute)
	for seed := range uint64(4) {
		s := newHistogramSeries(seed, 8, histogram.UnknownCounterReset, 3)
		raw := fixed{lset, s.parts(t, Raw, 2*hour)}
		for resolution, span := range map[int64]string{FiveMinutes: "1d", OneHour: "5d"} {
			down := fixed{lset, s.parts(t, resolution, 2*day)}
			for at := 6*day + 17*minute; at < 8*day; at += 13 * hour {
				for _, query := range []string{
					"histogram_count(increase(x[%s]))", "histogram_sum(rate(x[%s]))", "histogram_quantile(0.9, rate(x[%s]))",
				} {
					query = fmt.Sprintf(query, span)
					want, _ := ask(t, engine, raw, query, at)
					got, _ := ask(t, engine, down, query, at)
					require.NotZero(t, want)
					require.InEpsilon(t, want, got, 0.02, "seed %d, %s at %d", seed, query, at)
				}
			}
		}
	}
}

func TestHistogramsOverTime(t *testing.T) {
	engine := newEngine(5 * time.Minute)
	for _, hint := range []histogram.CounterResetHint{histogram.UnknownCounterReset, histogram.GaugeType} {
		s := newHistogramSeries(9, 8, hint, 3)
		raw := fixed{lset, s.parts(t, Raw, 2*hour)}
		for _, resolution := range []int64{FiveMinutes, OneHour} {
			down := fixed{lset, s.parts(t, resolution, 2*day)}
			for _, query := range []string{
				"histogram_count(sum_over_time(x[1d]))", "histogram_sum(sum_over_time(x[1d]))", "count_over_time(x[1d])",
			} {
				want, _ := ask(t, engine, raw, query, 5*day)
				got, _ := ask(t, engine, down, query, 5*day)
				require.NotZero(t, want)
				require.InEpsilon(t, want, got, 1e-9, "%s", query)
			}
			_, some := ask(t, engine, down, "max_over_time(x[1d])", 5*day)
			require.False(t, some, "of histograms there is no maximum")
		}
	}
}

// TestHistogramWithoutResetIsOneChunk, as many as floats have.
func TestHistogramWithoutResetIsOneChunk(t *testing.T) {
	s := newHistogramSeries(1, 2, histogram.UnknownCounterReset, 0)
	var floats series
	for _, x := range s {
		if !value.IsStaleNaN(x.fh.Sum) {
			floats = append(floats, sample{t: x.t, v: x.fh.Count})
		}
	}
	got, want := at(t, s.chunks(t), FiveMinutes), at(t, floats.chunks(t), FiveMinutes)
	require.Len(t, got, len(want))
	for i := range want {
		require.Equal(t, want[i].MinTime, got[i].MinTime)
		require.Equal(t, want[i].MaxTime, got[i].MaxTime)
	}
	require.Equal(t, aggregate(t, want, Count), aggregate(t, got, Count))
	var counts series
	for _, x := range aggregate(t, got, Counter) {
		counts = append(counts, sample{t: x.t, v: x.fh.Count})
	}
	var shown series // Without the first and the repeated last sample of each chunk.
	for _, c := range want {
		of := aggregate(t, want[:1], Counter)
		want = want[1:]
		require.Equal(t, c.MaxTime, of[len(of)-1].t)
		shown = append(shown, of[1:len(of)-1]...)
	}
	require.Equal(t, shown, counts)
}

// TestHistogramsOfManyKinds in one series: no sample is lost where a chunk cannot go on.
func TestHistogramsOfManyKinds(t *testing.T) {
	var s series
	add := func(n int, change func(i int, h *histogram.FloatHistogram)) {
		for i := range n {
			h := &histogram.FloatHistogram{
				Schema: 2, ZeroThreshold: 0.001, ZeroCount: float64(i), Count: float64(3*i + 2), Sum: float64(i),
				PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []float64{float64(i) + 1, float64(i) + 1},
			}
			change(i, h)
			s = append(s, sample{t: int64(len(s)) * minute, fh: h})
		}
	}
	add(700, func(int, *histogram.FloatHistogram) {})
	add(700, func(i int, h *histogram.FloatHistogram) { h.ZeroThreshold = 0.001 * float64(1+i/300) })
	add(700, func(i int, h *histogram.FloatHistogram) { h.Schema = int32(3 - i/250) })
	add(700, func(_ int, h *histogram.FloatHistogram) { h.CounterResetHint = histogram.GaugeType })
	custom := func(bounds ...float64) func(int, *histogram.FloatHistogram) {
		return func(_ int, h *histogram.FloatHistogram) {
			h.Schema, h.ZeroThreshold, h.ZeroCount, h.CustomValues = histogram.CustomBucketsSchema, 0, 0, bounds
			h.Count = h.PositiveBuckets[0] + h.PositiveBuckets[1]
		}
	}
	add(700, custom(1, 2, 3))
	add(700, custom(1, 2, 4))
	for range 700 {
		s = append(s, sample{t: int64(len(s)) * minute, v: 1})
	}
	add(700, func(i int, h *histogram.FloatHistogram) { h.Sum = math.NaN() })
	add(700, func(i int, h *histogram.FloatHistogram) { // Falls all the time.
		h.Count, h.PositiveBuckets[0] = h.Count+float64(700-i), h.PositiveBuckets[0]+float64(700-i)*2
	})

	for _, resolution := range []int64{FiveMinutes, OneHour} {
		metas := at(t, s.chunks(t), resolution)
		require.NoError(t, inOrder(metas))
		var count, sum float64
		for _, m := range metas {
			p, err := NewChunk(m.Chunk.Bytes()).Parse()
			require.NoError(t, err)
			for _, x := range read(t, p[Count].Iterator(nil)) {
				count += x.v
			}
			for _, x := range read(t, p[Sum].Iterator(nil)) {
				if x.fh != nil {
					sum += x.fh.Count
				}
			}
		}
		wantCount, wantSum := 0.0, 0.0
		for _, x := range s {
			if x.fh == nil {
				wantCount++
			} else if !math.IsNaN(x.fh.Sum) {
				wantCount++
				wantSum += x.fh.Count
			}
		}
		require.Equal(t, wantCount, count)
		require.InEpsilon(t, wantSum, sum, 1e-9)
		require.Less(t, len(metas), 2*len(s)*int(minute)/int(resolution), "a chunk a window at most")
	}
}
