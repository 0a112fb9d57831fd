// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"cmp"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// sample is what one copy holds at a timestamp.
type sample struct {
	kind chunkenc.ValueType
	st   int64
	f    float64
	h    *histogram.Histogram
	fh   *histogram.FloatHistogram
}

// compareSamples is the rule that decides between copies that disagree at one timestamp: the larger one is
// kept. It is a total order of contents and nothing else, so that merges in any order, on any node, at any
// time come to the same result:
//
//  1. a sample is larger than a stale marker;
//  2. a histogram is larger than a float, one of floats larger than one of integers;
//  3. a float is larger by its bits, a histogram by the first of its fields that differs.
//
// Zero means that the contents are the same. Counter-reset hints are not content, except that of a gauge.
func compareSamples(a, b sample) int {
	if c := compareBool(!a.stale(), !b.stale()); c != 0 {
		return c
	}
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	if a.stale() {
		return 0 // Both are, and a marker has nothing else to say.
	}
	var c int
	switch a.kind {
	case chunkenc.ValFloat:
		c = cmp.Compare(math.Float64bits(a.f), math.Float64bits(b.f))
	case chunkenc.ValHistogram:
		c = compareHistograms(a.h, b.h)
	case chunkenc.ValFloatHistogram:
		c = compareFloatHistograms(a.fh, b.fh)
	}
	return cmp.Or(c, cmp.Compare(a.st, b.st))
}

func (s sample) stale() bool {
	switch s.kind {
	case chunkenc.ValHistogram:
		return value.IsStaleNaN(s.h.Sum)
	case chunkenc.ValFloatHistogram:
		return value.IsStaleNaN(s.fh.Sum)
	default:
		return value.IsStaleNaN(s.f)
	}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

func compareBits(a, b float64) int { return cmp.Compare(math.Float64bits(a), math.Float64bits(b)) }

func compareHistograms(a, b *histogram.Histogram) int {
	return cmp.Or(
		cmp.Compare(a.Count, b.Count),
		compareBits(a.Sum, b.Sum),
		cmp.Compare(a.ZeroCount, b.ZeroCount),
		compareBits(a.ZeroThreshold, b.ZeroThreshold),
		cmp.Compare(a.Schema, b.Schema),
		slices.CompareFunc(a.CustomValues, b.CustomValues, compareBits),
		compareBuckets(a.PositiveBucketIterator(), b.PositiveBucketIterator(), cmp.Compare[uint64]),
		compareBuckets(a.NegativeBucketIterator(), b.NegativeBucketIterator(), cmp.Compare[uint64]),
		compareBool(a.CounterResetHint == histogram.GaugeType, b.CounterResetHint == histogram.GaugeType),
	)
}

func compareFloatHistograms(a, b *histogram.FloatHistogram) int {
	return cmp.Or(
		compareBits(a.Count, b.Count),
		compareBits(a.Sum, b.Sum),
		compareBits(a.ZeroCount, b.ZeroCount),
		compareBits(a.ZeroThreshold, b.ZeroThreshold),
		cmp.Compare(a.Schema, b.Schema),
		slices.CompareFunc(a.CustomValues, b.CustomValues, compareBits),
		compareBuckets(a.PositiveBucketIterator(), b.PositiveBucketIterator(), compareBits),
		compareBuckets(a.NegativeBucketIterator(), b.NegativeBucketIterator(), compareBits),
		compareBool(a.CounterResetHint == histogram.GaugeType, b.CounterResetHint == histogram.GaugeType),
	)
}

// compareBuckets compares the buckets that are not empty. Whether an empty one is written down depends on what else is
// in the chunk, and so on the copy.
func compareBuckets[B histogram.BucketCount](a, b histogram.BucketIterator[B], compare func(x, y B) int) int {
	for {
		inA, inB := nextFilled(a), nextFilled(b)
		if !inA || !inB {
			return compareBool(inA, inB)
		}
		x, y := a.At(), b.At()
		if c := cmp.Or(cmp.Compare(x.Index, y.Index), compare(x.Count, y.Count)); c != 0 {
			return c
		}
	}
}

func nextFilled[B histogram.BucketCount](it histogram.BucketIterator[B]) bool {
	for it.Next() {
		if it.At().Count != 0 {
			return true
		}
	}
	return false
}
