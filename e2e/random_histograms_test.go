// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math"
	"math/rand/v2"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
)

// randomCounts is a histogram that grows, with a resolution that goes down now and then, resets and stale markers.
type randomCounts struct {
	schema    int32
	zero, sum float64
	positive  []float64 // Bucket i is at index i-3.
	negative  []float64
}

func (c *randomCounts) grow(r *rand.Rand) {
	if c.positive == nil || r.IntN(500) == 0 {
		*c = randomCounts{schema: int32(r.IntN(4)), positive: make([]float64, 4+r.IntN(6)), negative: make([]float64, 1+r.IntN(3))}
	}
	if r.IntN(300) == 0 && c.schema > -2 {
		c.schema--
	}
	if r.IntN(100) == 0 && len(c.positive) < 20 {
		c.positive = append(c.positive, 0)
	}
	for i := range c.positive {
		c.positive[i] += float64(r.IntN(5))
	}
	for i := range c.negative {
		c.negative[i] += float64(r.IntN(3))
	}
	c.zero += float64(r.IntN(2))
	c.sum += r.NormFloat64() + 2
}

// float is the histogram in floats.
func (c *randomCounts) float() *histogram.FloatHistogram {
	h := &histogram.FloatHistogram{
		Schema: c.schema, ZeroThreshold: 1e-3, ZeroCount: c.zero, Sum: c.sum, Count: c.zero,
		PositiveSpans: []histogram.Span{{Offset: -3, Length: uint32(len(c.positive))}}, PositiveBuckets: append([]float64(nil), c.positive...),
		NegativeSpans: []histogram.Span{{Offset: 0, Length: uint32(len(c.negative))}}, NegativeBuckets: append([]float64(nil), c.negative...),
	}
	for _, buckets := range [][]float64{c.positive, c.negative} {
		for _, n := range buckets {
			h.Count += n
		}
	}
	return h
}

// whole is the same in integers.
func (c *randomCounts) whole() *histogram.Histogram {
	f := c.float()
	deltas := func(counts []float64) (out []int64) {
		var last int64
		for _, n := range counts {
			out = append(out, int64(n)-last)
			last = int64(n)
		}
		return out
	}
	return &histogram.Histogram{
		Schema: f.Schema, ZeroThreshold: f.ZeroThreshold, ZeroCount: uint64(f.ZeroCount), Sum: f.Sum, Count: uint64(f.Count),
		PositiveSpans: f.PositiveSpans, PositiveBuckets: deltas(c.positive), NegativeSpans: f.NegativeSpans, NegativeBuckets: deltas(c.negative),
	}
}

func (m *randomMaker) exponential(floats bool) []randomSample {
	var c randomCounts
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		c.grow(r)
		stale := r.IntN(150) == 0
		switch {
		case stale && floats:
			return randomSample{hist: &histogram.FloatHistogram{Sum: math.Float64frombits(value.StaleNaN)}}, true
		case stale:
			return randomSample{integer: &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}}, true
		case floats:
			return randomSample{hist: c.float()}, true
		}
		return randomSample{integer: c.whole()}, true
	})
}

// gauges are histograms that go up and down.
func (m *randomMaker) gauges() []randomSample {
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		var c randomCounts
		for range 1 + r.IntN(5) {
			c.grow(r)
		}
		h := c.float()
		h.CounterResetHint = histogram.GaugeType
		return randomSample{hist: h}, true
	})
}

// custom has bounds of its own, which change now and then.
func (m *randomMaker) custom() []randomSample {
	bounds := []float64{0.5, 1, 2.5}
	counts := make([]float64, len(bounds)+1)
	var sum float64
	return m.each(func(r *rand.Rand, _ int64) (randomSample, bool) {
		if r.IntN(300) == 0 {
			bounds = [][]float64{{0.5, 1, 2.5}, {0.5, 2.5}, {1, 2.5, 5, 10}}[r.IntN(3)]
			counts, sum = make([]float64, len(bounds)+1), 0
		}
		h := &histogram.FloatHistogram{
			Schema: histogram.CustomBucketsSchema, CustomValues: bounds,
			PositiveSpans: []histogram.Span{{Offset: 0, Length: uint32(len(counts))}},
		}
		for i := range counts {
			n := float64(r.IntN(4))
			counts[i] += n
			sum += n * float64(i)
			h.Count += counts[i]
		}
		h.PositiveBuckets, h.Sum = append([]float64(nil), counts...), sum
		return randomSample{hist: h}, true
	})
}

// mixed has floats, integer histograms and float histograms in turn, each for as long as one request carries.
func (m *randomMaker) mixed() []randomSample {
	var c randomCounts
	return m.each(func(r *rand.Rand, at int64) (randomSample, bool) {
		c.grow(r)
		switch at / randomRequest.Milliseconds() % 3 {
		case 0:
			return randomSample{float: c.sum}, true
		case 1:
			return randomSample{integer: c.whole()}, true
		}
		return randomSample{hist: c.float()}, true
	})
}
