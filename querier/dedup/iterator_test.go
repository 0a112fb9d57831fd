// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

var staleNaN = math.Float64frombits(value.StaleNaN)

// floatSample is a chunks.Sample of a float series.
type floatSample point

func (s floatSample) T() int64                      { return s.t }
func (s floatSample) ST() int64                     { return 0 }
func (s floatSample) F() float64                    { return s.f }
func (s floatSample) H() *histogram.Histogram       { return nil }
func (s floatSample) FH() *histogram.FloatHistogram { return nil }
func (s floatSample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s floatSample) Copy() chunks.Sample           { return s }

// floatSeries is what a querier below returns for points: those in [mint, maxt].
func floatSeries(points []point, mint, maxt int64) storage.Series {
	var samples []chunks.Sample
	for _, p := range points {
		if p.t >= mint && p.t <= maxt {
			samples = append(samples, floatSample(p))
		}
	}
	return storage.NewListSeries(labels.EmptyLabels(), samples)
}

// stitchedPoints reads [mint, maxt] of the stitched series as the querier would.
func stitchedPoints(t *testing.T, r rule, replicas [][]point, mint, maxt int64) []point {
	t.Helper()
	it := stitchedIterator(r, replicas, mint, maxt)
	var points []point
	for it.Next() != chunkenc.ValNone {
		var p point
		p.t, p.f = it.At()
		points = append(points, p)
	}
	require.NoError(t, it.Err())
	return points
}

func stitchedIterator(r rule, replicas [][]point, mint, maxt int64) chunkenc.Iterator {
	series := make([]storage.Series, len(replicas))
	for n := range replicas {
		series[n] = floatSeries(replicas[n], minus(mint, r.margin), plus(maxt, r.margin))
	}
	return (&stitched{replicas: series, rule: r, mint: mint, maxt: maxt}).Iterator(nil)
}

// show makes points comparable and readable: stale markers are NaN like others.
func show(points []point) string {
	var b strings.Builder
	for _, p := range points {
		if p.stale() {
			fmt.Fprintf(&b, "%d:stale ", p.t)
		} else {
			fmt.Fprintf(&b, "%d:%v ", p.t, p.f)
		}
	}
	return b.String()
}

// chaos makes what no pair of Prometheus servers would: up to four replicas with their
// own intervals, jitter, offsets, skew, missed scrapes, outages, markers and resets.
func chaos(rng *rand.Rand) [][]point {
	intervals := []int64{1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 200_000}
	end := 600_000 + rng.Int64N(3_600_000)
	replicas := make([][]point, 1+rng.IntN(4))
	for n := range replicas {
		var (
			interval = intervals[rng.IntN(len(intervals))]
			jitter   = 1 + rng.Int64N(1+interval/4)
			missed   = rng.Float64() * rng.Float64()
			outage   = rng.Float64() * 0.05
			failing  = rng.Float64() * 0.05
			skew     = rng.Int64N(6000)
			at       = rng.Int64N(interval)
		)
		for at < end {
			switch p := rng.Float64(); {
			case p < outage:
				at += rng.Int64N(600_000)
			case p < outage+failing:
				replicas[n] = append(replicas[n], point{at, staleNaN})
			case rng.Float64() >= missed:
				replicas[n] = append(replicas[n], point{at, float64((at - skew) / 1000 % 700)})
			}
			at += interval + rng.Int64N(jitter)
			if rng.IntN(200) == 0 {
				interval = intervals[rng.IntN(len(intervals))]
			}
		}
	}
	return replicas
}

// TestIteratorIsReference: the streaming iterator chooses what the rule says, whole, in
// pieces, and by Seek.
func TestIteratorIsReference(t *testing.T) {
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 1))
		replicas := chaos(rng)
		r := newRule(0)
		var want []point
		for _, p := range (reference{r, replicas}).stitch() {
			want = append(want, p.point)
		}
		in := func(mint, maxt int64) []point {
			var points []point
			for _, p := range want {
				if p.t >= mint && p.t <= maxt {
					points = append(points, p)
				}
			}
			return points
		}
		require.Equal(t, show(want), show(stitchedPoints(t, r, replicas, math.MinInt64, math.MaxInt64)), "seed %d, whole", seed)
		for range 20 {
			mint := rng.Int64N(4_000_000)
			maxt := mint + rng.Int64N(600_000)
			require.Equal(t, show(in(mint, maxt)), show(stitchedPoints(t, r, replicas, mint, maxt)), "seed %d, piece [%d, %d]", seed, mint, maxt)
		}
		it := stitchedIterator(r, replicas, 0, math.MaxInt64)
		for at := int64(0); ; at += rng.Int64N(900_000) {
			rest := in(at, math.MaxInt64)
			if len(rest) == 0 {
				require.Equal(t, chunkenc.ValNone, it.Seek(at), "seed %d, seek %d", seed, at)
				break
			}
			require.Equal(t, chunkenc.ValFloat, it.Seek(at), "seed %d, seek %d", seed, at)
			require.Equal(t, rest[0].t, it.AtT(), "seed %d, seek %d", seed, at)
		}
	}
}
