// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/histogram"
)

// The native histogram.
const (
	// Four buckets for each doubling: an error of 9 %, and what client libraries
	// with their usual limit of 160 buckets end up with.
	nativeSchema = 2

	// The bounds of the outermost buckets, 2^(i/4) seconds: 4 ms and 8 s. Faster
	// and slower requests are counted in them.
	nativeFirst, nativeLast = -32, 12

	nativeZeroThreshold = 0x1p-128
)

var (
	bucketBounds = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, math.Inf(1)}
	bucketLabels = [...]string{"0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"}
)

// meanLatency is between 10 and 260 ms, the same for a path on all targets.
func meanLatency(path string) float64 { return 0.01 + 0.25*fraction(xxhash.Sum64String(path), 0) }

// fasterThan is the share of requests that take at most le seconds.
func fasterThan(le, mean float64) float64 { return 1 - math.Exp(-le/mean) }

// classic is a classic histogram: the share of requests that belongs to each of
// its buckets.
type classic struct {
	mean   float64
	shares [len(bucketBounds)]float64
}

func newClassic(mean float64) *classic {
	c := &classic{mean: mean}
	below := 0.0
	for i, le := range bucketBounds {
		upTo := fasterThan(le, mean)
		c.shares[i], below = upTo-below, upTo
	}
	return c
}

// upTo is the cumulative count of the i-th bucket after so many requests. Each
// bucket is rounded down before they are added: so no bucket ever grows faster
// than a wider one, which would make quantiles over rates nonsense.
func (c *classic) upTo(i int, requests float64) float64 {
	total := 0.0
	for _, share := range c.shares[:i+1] {
		total += math.Floor(requests * share)
	}
	return total
}

// latencies is a native histogram of about the given number of requests. Each
// bucket is rounded down by itself, so that for rising requests none ever
// falls: that would be a counter reset.
func latencies(requests, mean float64) *histogram.Histogram {
	h := &histogram.Histogram{
		Schema:        nativeSchema,
		ZeroThreshold: nativeZeroThreshold,
		Sum:           requests * mean,
	}
	var counts [nativeLast - nativeFirst + 1]int64
	below := 0.0
	for i := range counts {
		upTo := fasterThan(math.Exp2(float64(nativeFirst+i)/4), mean)
		if i == len(counts)-1 {
			upTo = 1
		}
		counts[i] = int64(requests * (upTo - below))
		h.Count += uint64(counts[i])
		below = upTo
	}
	h.PositiveSpans, h.PositiveBuckets = pack(counts[:])
	return h
}

// pack leaves out the empty buckets on both ends and turns the counts into the
// deltas that a histogram holds.
func pack(counts []int64) ([]histogram.Span, []int64) {
	first, last := 0, len(counts)-1
	for first <= last && counts[first] == 0 {
		first++
	}
	for last >= first && counts[last] == 0 {
		last--
	}
	if first > last {
		return nil, nil
	}
	deltas := make([]int64, 0, last-first+1)
	var previous int64
	for _, n := range counts[first : last+1] {
		deltas = append(deltas, n-previous)
		previous = n
	}
	return []histogram.Span{{Offset: int32(nativeFirst + first), Length: uint32(len(deltas))}}, deltas
}
