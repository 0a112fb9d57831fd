// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestSpecHistograms refuses a histogram for each thing that can be wrong with one,
// as integer and as float, without memory for what it only claims to have.
func TestSpecHistograms(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(cause error, base func() *histogram.Histogram, change func(*prompb.Histogram)) {
		t.Helper()
		h := prompb.FromIntHistogram(now, base())
		change(&h)
		refusesHistogram(t, now, cause, h)
	}
	huge := prompb.BucketSpan{Offset: 1, Length: 1<<32 - 1}
	exp, custom := intHistogram, customHistogram
	count := func(n uint64) *prompb.Histogram_CountInt { return &prompb.Histogram_CountInt{CountInt: n} }

	f(histogram.ErrHistogramCountMismatch, exp, func(h *prompb.Histogram) { h.Count = count(99) })
	f(histogram.ErrHistogramCountNotBigEnough, exp, func(h *prompb.Histogram) { h.Count, h.Sum = count(1), math.NaN() })
	f(histogram.ErrHistogramNegativeBucketCount, exp, func(h *prompb.Histogram) { h.PositiveDeltas[0] = -5 })
	f(histogram.ErrHistogramSpanNegativeOffset, exp, func(h *prompb.Histogram) { h.PositiveSpans[1].Offset = -1 })
	f(histogram.ErrHistogramSpansBucketsMismatch, exp, func(h *prompb.Histogram) { h.PositiveDeltas = h.PositiveDeltas[:1] })
	f(histogram.ErrHistogramSpansBucketsMismatch, exp, func(h *prompb.Histogram) { h.PositiveSpans = []prompb.BucketSpan{huge} })
	f(histogram.ErrHistogramSpansBucketsMismatch, exp, func(h *prompb.Histogram) { h.Schema, h.PositiveSpans = 40, []prompb.BucketSpan{huge, huge} })
	f(histogram.ErrHistogramExpSchemaCustomBounds, exp, func(h *prompb.Histogram) { h.CustomValues = []float64{1} })
	f(histogram.ErrHistogramsUnknownSchema, exp, func(h *prompb.Histogram) { h.Schema = 77 })
	f(histogram.ErrHistogramsUnknownSchema, exp, func(h *prompb.Histogram) { h.Schema = math.MinInt32 })
	f(histogram.ErrHistogramsInvalidSchema, exp, func(h *prompb.Histogram) { h.Schema = -5 })
	f(histogram.ErrHistogramsInvalidSchema, exp, func(h *prompb.Histogram) { h.Schema = -9 })

	f(histogram.ErrHistogramCustomBucketsMismatch, custom, func(h *prompb.Histogram) { h.CustomValues = h.CustomValues[:1] })
	f(histogram.ErrHistogramCustomBucketsInvalid, custom, func(h *prompb.Histogram) { h.CustomValues = []float64{2, 1, 3} })
	f(histogram.ErrHistogramCustomBucketsInvalid, custom, func(h *prompb.Histogram) { h.CustomValues = []float64{1, 1, 3} })
	f(histogram.ErrHistogramCustomBucketsInfinite, custom, func(h *prompb.Histogram) { h.CustomValues[2] = math.Inf(1) })
	f(histogram.ErrHistogramCustomBucketsNaN, custom, func(h *prompb.Histogram) { h.CustomValues[1] = math.NaN() })
	f(histogram.ErrHistogramCustomBucketsZeroCount, custom, func(h *prompb.Histogram) {
		h.ZeroCount, h.Count = &prompb.Histogram_ZeroCountInt{ZeroCountInt: 1}, count(7)
	})
	f(histogram.ErrHistogramCustomBucketsZeroThresh, custom, func(h *prompb.Histogram) { h.ZeroThreshold = 1 })
	f(histogram.ErrHistogramCustomBucketsNegSpans, custom, func(h *prompb.Histogram) {
		h.NegativeSpans, h.NegativeDeltas = []prompb.BucketSpan{{Length: 1}}, []int64{0}
	})
}

// TestSpecHistogramsStored are at the edge of what is legal.
func TestSpecHistogramsStored(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(h *histogram.Histogram) {
		t.Helper()
		series := prompb.TimeSeries{Labels: labelsV1("__name__", "m"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, h)}}
		store := openStore(t)
		requireSpec(t, specAnswer{204, "", "0 1 0"}, post(t, oneNode(t, store), typeV2, encodeV2(t, toV2([]prompb.TimeSeries{series}))))
		require.Len(t, store.dump(t)[`{__name__="m"}`], 1)
	}
	f(&histogram.Histogram{})
	f(&histogram.Histogram{Sum: staleNaN()})
	f(&histogram.Histogram{Schema: -4})
	f(&histogram.Histogram{Schema: 52}) // Reduced to 8.
	// A classic bucket of le="-Inf" is a legal first bound, as Prometheus has it.
	infinite := customHistogram()
	infinite.CustomValues[0] = math.Inf(-1)
	f(infinite)
	f(&histogram.Histogram{Schema: histogram.CustomBucketsSchema})
}

func TestSpecFloatHistograms(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(cause error, base func() *histogram.Histogram, change func(*histogram.FloatHistogram)) {
		t.Helper()
		fh := base().ToFloat(nil)
		change(fh)
		refusesHistogram(t, now, cause, prompb.FromFloatHistogram(now, fh))
	}
	exp, custom := intHistogram, customHistogram
	f(histogram.ErrHistogramNegativeCount, exp, func(h *histogram.FloatHistogram) { h.Count = -1 })
	f(histogram.ErrHistogramNegativeBucketCount, exp, func(h *histogram.FloatHistogram) { h.PositiveBuckets[0] = -1 })
	f(histogram.ErrHistogramNegativeBucketCount, exp, func(h *histogram.FloatHistogram) { h.ZeroCount = -1 })
	f(histogram.ErrHistogramSpansBucketsMismatch, exp, func(h *histogram.FloatHistogram) { h.NegativeBuckets = nil })
	f(histogram.ErrHistogramCustomBucketsNaN, custom, func(h *histogram.FloatHistogram) { h.CustomValues[1] = math.NaN() })
	f(histogram.ErrHistogramsUnknownSchema, exp, func(h *histogram.FloatHistogram) { h.Schema = -54 })
}

// refusesHistogram wants the histogram refused for the cause, and what is beside it
// stored. The text before the cause, with the numbers, is that of Prometheus.
func refusesHistogram(t *testing.T, now int64, cause error, h prompb.Histogram) {
	t.Helper()
	var err error
	switch wants := bucketsOf(h.PositiveSpans); {
	case !histogram.IsKnownSchema(h.Schema):
		err = histogram.UnknownSchemaError(h.Schema)
	case wants > 100: // Prometheus would make room for them.
		err = fmt.Errorf("spans need %d buckets, have %d: %w", wants, len(h.PositiveDeltas), histogram.ErrHistogramSpansBucketsMismatch)
	case h.IsFloatHistogram():
		err = h.ToFloatHistogram().Validate()
	default:
		err = h.ToIntHistogram().Validate()
	}
	require.ErrorIs(t, err, cause)
	if errors.Is(err, histogram.ErrHistogramSpansBucketsMismatch) {
		side, have := h.PositiveSpans, len(h.PositiveDeltas)+len(h.PositiveCounts)
		if bucketsOf(side) == uint64(have) {
			side, have = h.NegativeSpans, len(h.NegativeDeltas)+len(h.NegativeCounts)
		}
		err = fmt.Errorf("spans need %d buckets, have %d: %w", bucketsOf(side), have, histogram.ErrHistogramSpansBucketsMismatch)
	}
	series := prompb.TimeSeries{Labels: labelsV1("__name__", "m"), Histograms: []prompb.Histogram{h}}
	specSeries{t, now}.refused(series, Counts{Histograms: 1}, ReasonHistogram, fmt.Sprintf("m{}: timestamp %d: %s", now, err))
}

func bucketsOf(spans []prompb.BucketSpan) (n uint64) {
	for _, s := range spans {
		n += uint64(s.Length)
	}
	return n
}
