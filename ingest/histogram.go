// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/histogram"
)

// histogramView is a Histogram message that has been walked but not decoded: its
// structure is known to be sound, and how many elements each part has.
type histogramView struct {
	raw     []byte
	t       int64
	st      int64
	isFloat bool
	// Numbers of elements, so that decoding allocates once and exactly.
	spans   [2]int // negative, positive
	deltas  [2]int
	counts  [2]int
	customs int
}

const (
	negative = 0
	positive = 1
)

// Field numbers of a Histogram; those of the positive side are three higher than
// those of the negative side.
const (
	histCountInt       = 1
	histCountFloat     = 2
	histSum            = 3
	histSchema         = 4
	histZeroThreshold  = 5
	histZeroCountInt   = 6
	histZeroCountFloat = 7
	histNegativeSpans  = 8
	histNegativeDeltas = 9
	histNegativeCounts = 10
	histPositiveSpans  = 11
	histPositiveDeltas = 12
	histPositiveCounts = 13
	histResetHint      = 14
	histTimestamp      = 15
	histCustomValues   = 16
)

// scanHistogram walks a Histogram message and adds a view of it to the arena.
// strict is as in scanSample.
func (b *Batch) scanHistogram(msg []byte, strict bool) error {
	v := histogramView{raw: msg}
	r := histogramReader{view: &v, strict: strict}
	if err := r.read(); err != nil {
		return err
	}
	b.histograms = append(b.histograms, v)
	return b.checkItems()
}

// decode returns the histogram as a value of its own: it shares no memory with the
// request, because the head of a TSDB keeps a pointer to the last one. Exactly one
// of the two results is not nil when err is nil. An error means that the histogram
// itself is bad. Schemas finer than TSDB stores are reduced to the finest it does.
func (v *histogramView) decode() (*histogram.Histogram, *histogram.FloatHistogram, error) {
	r := histogramReader{view: v, fill: true, parts: newHistogramParts(v)}
	if err := r.read(); err != nil {
		return nil, nil, err
	}
	if err := r.parts.check(); err != nil {
		return nil, nil, err
	}
	if v.isFloat {
		fh := r.parts.float()
		if fh.Schema > histogram.ExponentialSchemaMax {
			if err := fh.ReduceResolution(histogram.ExponentialSchemaMax); err != nil {
				return nil, nil, err
			}
		}
		return nil, fh, fh.Validate()
	}
	h := r.parts.integer()
	if h.Schema > histogram.ExponentialSchemaMax {
		if err := h.ReduceResolution(histogram.ExponentialSchemaMax); err != nil {
			return nil, nil, err
		}
	}
	return h, nil, h.Validate()
}

// check refuses, before anything loops over span lengths that a sender chose, a
// schema that is not known and spans that do not fit the buckets that were sent.
func (p *histogramParts) check() error {
	if !histogram.IsKnownSchema(p.schema) {
		return histogram.UnknownSchemaError(p.schema)
	}
	for side := range 2 {
		var n uint64
		for _, s := range p.spans[side] {
			n += uint64(s.Length)
		}
		if buckets := len(p.deltas[side]) + len(p.counts[side]); n != uint64(buckets) {
			return fmt.Errorf("spans need %d buckets, have %d: %w", n, buckets, histogram.ErrHistogramSpansBucketsMismatch)
		}
	}
	return nil
}

// histogramParts are the fields of a Histogram message as they are read.
type histogramParts struct {
	countInt      uint64
	countFloat    float64
	zeroInt       uint64
	zeroFloat     float64
	sum           float64
	schema        int32
	zeroThreshold float64
	hint          histogram.CounterResetHint
	spans         [2][]histogram.Span
	deltas        [2][]int64
	counts        [2][]float64
	customs       []float64
}

func newHistogramParts(v *histogramView) histogramParts {
	p := histogramParts{customs: makeCap[float64](v.customs)}
	for side := range 2 {
		p.spans[side] = makeCap[histogram.Span](v.spans[side])
		// Only the kind of buckets that belongs to the kind of count is kept.
		if v.isFloat {
			p.counts[side] = makeCap[float64](v.counts[side])
		} else {
			p.deltas[side] = makeCap[int64](v.deltas[side])
		}
	}
	return p
}

// makeCap returns nil for zero: an absent field and an empty one are the same.
func makeCap[T any](n int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, 0, n)
}

func (p *histogramParts) integer() *histogram.Histogram {
	return &histogram.Histogram{
		CounterResetHint: p.hint,
		Schema:           p.schema,
		ZeroThreshold:    p.zeroThreshold,
		ZeroCount:        p.zeroInt,
		Count:            p.countInt,
		Sum:              p.sum,
		NegativeSpans:    p.spans[negative],
		NegativeBuckets:  p.deltas[negative],
		PositiveSpans:    p.spans[positive],
		PositiveBuckets:  p.deltas[positive],
		CustomValues:     p.customs,
	}
}

func (p *histogramParts) float() *histogram.FloatHistogram {
	return &histogram.FloatHistogram{
		CounterResetHint: p.hint,
		Schema:           p.schema,
		ZeroThreshold:    p.zeroThreshold,
		ZeroCount:        p.zeroFloat,
		Count:            p.countFloat,
		Sum:              p.sum,
		NegativeSpans:    p.spans[negative],
		NegativeBuckets:  p.counts[negative],
		PositiveSpans:    p.spans[positive],
		PositiveBuckets:  p.counts[positive],
		CustomValues:     p.customs,
	}
}

// resetHint maps numbers that are not defined to "unknown": the head must not see a
// hint that its chunks cannot hold.
func resetHint(v uint64) histogram.CounterResetHint {
	if v > uint64(histogram.GaugeType) {
		return histogram.UnknownCounterReset
	}
	return histogram.CounterResetHint(v)
}

// float64Of keeps the bits of v.
func float64Of(v uint64) float64 { return math.Float64frombits(v) }
