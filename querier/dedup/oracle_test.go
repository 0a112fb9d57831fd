// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// The oracle is a lone Prometheus that was never down. world is one counter, and a pair
// that scrapes it less than perfectly.
type world struct {
	seed     uint64
	interval int64
	perMs    float64 // the counter's growth
	resets   []int64 // true times
	skew     [2]int64
	pair     [][]point // by the replicas' own clocks
	oracle   []point
	end      int64
}

// count is the counter at a true time.
func (w *world) count(t int64) float64 {
	since := int64(-3_600_000)
	for _, r := range w.resets {
		if r <= t {
			since = r
		}
	}
	return math.Floor(float64(t-since) * w.perMs)
}

// scrape is what a Prometheus with this offset and clock stores.
func (w *world) scrape(offset, skew int64, jitter func() int64, up func(int64) bool) []point {
	var points []point
	for t := offset; t < w.end; t += w.interval {
		if at := t + jitter(); up(at) {
			points = append(points, point{at + skew, w.count(at)})
		}
	}
	return points
}

// newWorld is deterministic in its seed. The pair's outages do not overlap and are two
// intervals apart, so that there is always one to ask.
func newWorld(seed uint64, resets int) *world {
	rng := rand.New(rand.NewPCG(seed, 2))
	w := &world{
		seed: seed, end: 3_600_000, perMs: 0.01 + rng.Float64(),
		interval: []int64{5000, 10_000, 15_000, 30_000, 60_000}[rng.IntN(5)],
	}
	for range resets {
		w.resets = append(w.resets, 600_000+rng.Int64N(w.end-600_000))
	}
	slices.Sort(w.resets)
	var outages [2][][2]int64
	for t := rng.Int64N(w.interval * 20); t < w.end; {
		n, length := rng.IntN(2), 1+rng.Int64N(w.interval*[]int64{2, 2, 10, 100}[rng.IntN(4)])
		outages[n] = append(outages[n], [2]int64{t, t + length})
		t += length + 4*w.interval + rng.Int64N(w.interval*40)
	}
	for n := range outages {
		w.skew[n] = rng.Int64N(2001) - 1000
		up := func(t int64) bool {
			return !slices.ContainsFunc(outages[n], func(o [2]int64) bool { return t >= o[0] && t < o[1] })
		}
		jitter := func() int64 { return rng.Int64N(w.interval/50 + 1) }
		w.pair = append(w.pair, w.scrape(rng.Int64N(w.interval), w.skew[n], jitter, up))
	}
	w.oracle = w.scrape(rng.Int64N(w.interval), 0, func() int64 { return 0 }, func(int64) bool { return true })
	return w
}

// TestOracleSamples holds the stitched samples against what a lone Prometheus has.
func TestOracleSamples(t *testing.T) {
	for seed := range uint64(80) {
		w := newWorld(seed, int(seed%4))
		picks := (reference{newRule(0), w.pair}).stitch()
		points := stitchedPoints(t, newRule(0), w.pair, minTime, maxTime)
		require.Len(t, points, len(picks), "seed %d", seed)
		skew := max(w.skew[0], w.skew[1]) - min(w.skew[0], w.skew[1])
		switches := 0
		for i := 1; i < len(picks); i++ {
			a, b := picks[i-1], picks[i]
			if a.replica != b.replica {
				switches++
			}
			reset := slices.ContainsFunc(w.resets, func(r int64) bool {
				return r > a.t-w.skew[a.replica] && r <= b.t-w.skew[b.replica]
			})
			// No reset that the target did not make.
			require.True(t, reset || b.f >= a.f, "seed %d: %v falls to %v", seed, a, b)
			// No hole: half an interval of guard and one to the next scrape, plus jitter. Where
			// the guard is narrower than the skew window, what looks like skew costs more.
			limit := w.interval*3/2 + w.interval/20
			if w.interval < 2*newRule(0).skew {
				limit += skew
				if reset {
					limit += newRule(0).skew
				}
			}
			require.LessOrEqual(t, b.t-a.t, limit, "seed %d: hole after %v, interval %d", seed, a, w.interval)
		}
		// As many samples as the oracle's, give or take one at a switch.
		require.InDelta(t, len(w.oracle), len(picks), float64(switches+2), "seed %d", seed)
	}
}

// TestOracleIncrease: over a switch, increase() is within one interval's growth of the
// oracle's at either end of its window, and exact where there is none.
func TestOracleIncrease(t *testing.T) {
	engine := newEngine(t)
	const window, step = 10 * time.Minute, 47 * time.Second
	for seed := range uint64(60) {
		w := newWorld(seed, 0)
		stitched := increase(t, engine, w, stitchedPoints(t, newRule(0), w.pair, minTime, maxTime), window, step)
		oracle := increase(t, engine, w, w.oracle, window, step)
		require.Len(t, stitched, len(oracle))
		for i := range oracle {
			skew := w.skew[0] - w.skew[1]
			limit := w.perMs * float64(max(skew, -skew)+w.interval*21/10)
			require.InDelta(t, oracle[i].F, stitched[i].F, limit+1, "seed %d at %d", seed, oracle[i].T)
		}
	}
}

func increase(t *testing.T, engine *promql.Engine, w *world, points []point, window, step time.Duration) []promql.FPoint {
	t.Helper()
	q := &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(bool, *storage.SelectHints, ...*labels.Matcher) storage.SeriesSet {
			return &listSet{series: []storage.Series{floatSeries(points, minTime, maxTime)}}
		},
	}}
	start := time.UnixMilli(2 * window.Milliseconds())
	query, err := engine.NewRangeQuery(context.Background(), q, nil, "increase(x[10m])", start, time.UnixMilli(w.end-120_000), step)
	require.NoError(t, err)
	defer query.Close()
	res := query.Exec(context.Background())
	require.NoError(t, res.Err)
	m, err := res.Matrix()
	require.NoError(t, err)
	require.Len(t, m, 1)
	return slices.Clone(m[0].Floats)
}

// TestHealthyReplicaIsTheAnswer: as long as the preferred replica is well, which is to say
// that none of its distances is more than one and a half of another, the answer is bit by
// bit what it stored, whatever the others did.
func TestHealthyReplicaIsTheAnswer(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 3))
		w := newWorld(seed, 2)
		jitter := func() int64 { return rng.Int64N(w.interval / 5) }
		healthy := w.scrape(rng.Int64N(w.interval), 0, jitter, func(int64) bool { return true })
		replicas := append([][]point{healthy}, chaos(rng)...)
		first, last := healthy[0].t, healthy[len(healthy)-1].t
		require.Equal(t, show(healthy), show(stitchedPoints(t, newRule(0), replicas, first, last)), "seed %d", seed)
	}
}
