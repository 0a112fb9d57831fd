// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"
)

// seeded returns a generator whose seed is in the output of a test that fails.
func seeded(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func TestCompareSamplesRule(t *testing.T) {
	float := func(f float64) sample { return sample{kind: chunkenc.ValFloat, f: f} }
	hist := func(h *histogram.Histogram) sample { return sample{kind: chunkenc.ValHistogram, h: h} }
	floatHist := func(h *histogram.FloatHistogram) sample { return sample{kind: chunkenc.ValFloatHistogram, fh: h} }
	stale := math.Float64frombits(value.StaleNaN)
	nan := math.Float64frombits(value.NormalNaN)
	staleHist := hist(&histogram.Histogram{Sum: stale})

	f := func(larger, smaller sample) {
		t.Helper()
		require.Positive(t, compareSamples(larger, smaller))
		require.Negative(t, compareSamples(smaller, larger))
		require.Zero(t, compareSamples(larger, larger))
		require.Zero(t, compareSamples(smaller, smaller))
	}
	f(float(1), float(stale))
	f(float(-1), float(stale))
	f(float(nan), float(stale))
	f(float(2), float(1))
	f(float(nan), float(math.MaxFloat64)) // By bits.
	f(float(math.Copysign(0, -1)), float(0))
	f(float(1), staleHist)
	f(hist(tsdbutil.GenerateTestHistogram(1)), float(stale))
	f(hist(tsdbutil.GenerateTestHistogram(1)), float(math.MaxFloat64))
	f(floatHist(tsdbutil.GenerateTestFloatHistogram(1)), hist(tsdbutil.GenerateTestHistogram(7)))
	f(hist(tsdbutil.GenerateTestHistogram(2)), hist(tsdbutil.GenerateTestHistogram(1)))
	f(hist(tsdbutil.GenerateTestGaugeHistogram(1)), hist(tsdbutil.GenerateTestHistogram(1)))
	f(floatHist(tsdbutil.GenerateTestCustomBucketsFloatHistogram(2)), floatHist(tsdbutil.GenerateTestCustomBucketsFloatHistogram(1)))
}

// TestCompareSamplesIgnoresLayout: an empty bucket that is written down, or a hint, does not make a sample another one.
func TestCompareSamplesIgnoresLayout(t *testing.T) {
	h := tsdbutil.GenerateTestHistogram(3)
	padded := h.Copy()
	padded.PositiveSpans = append(padded.PositiveSpans, histogram.Span{Offset: 2, Length: 1})
	last := int64(0)
	for _, d := range padded.PositiveBuckets {
		last += d
	}
	padded.PositiveBuckets = append(padded.PositiveBuckets, -last)
	padded.CounterResetHint = histogram.NotCounterReset
	require.Zero(t, compareHistograms(h, padded))
	require.Zero(t, compareFloatHistograms(h.ToFloat(nil), padded.ToFloat(nil)))

	other := h.Copy()
	other.PositiveBuckets[0]++
	other.PositiveBuckets[1]--
	require.NotZero(t, compareHistograms(h, other))
}

// TestCompareSamplesIsATotalOrder: any three samples are ordered without a cycle, so the largest of a
// set does not depend on the order in which copies are merged.
func TestCompareSamplesIsATotalOrder(t *testing.T) {
	rnd := seeded(t)
	for range 20_000 {
		a, b, c := randomSample(rnd), randomSample(rnd), randomSample(rnd)
		require.Equal(t, sign(compareSamples(a, b)), -sign(compareSamples(b, a)))
		if compareSamples(a, b) >= 0 && compareSamples(b, c) >= 0 {
			require.GreaterOrEqual(t, compareSamples(a, c), 0)
		}
	}
}

func sign(c int) int {
	switch {
	case c > 0:
		return 1
	case c < 0:
		return -1
	}
	return 0
}

// randomSample draws from few values, so that equal and nearly equal ones are common.
func randomSample(rnd *rand.Rand) sample {
	values := []float64{0, math.Copysign(0, -1), 1, -1, math.Inf(1), math.Float64frombits(value.NormalNaN), math.Float64frombits(value.StaleNaN)}
	v := values[rnd.IntN(len(values))]
	switch rnd.IntN(3) {
	case 0:
		return sample{kind: chunkenc.ValFloat, f: v}
	case 1:
		return sample{kind: chunkenc.ValHistogram, h: randomHistogram(rnd, v)}
	default:
		return sample{kind: chunkenc.ValFloatHistogram, fh: randomHistogram(rnd, v).ToFloat(nil)}
	}
}

func randomHistogram(rnd *rand.Rand, sum float64) *histogram.Histogram {
	h := tsdbutil.GenerateTestHistogram(int64(rnd.IntN(2)))
	h.Sum = sum
	h.ZeroCount = uint64(rnd.IntN(2))
	h.PositiveBuckets[rnd.IntN(len(h.PositiveBuckets))] += int64(rnd.IntN(2))
	if rnd.IntN(4) == 0 {
		h.CounterResetHint = histogram.GaugeType
	}
	return h
}
