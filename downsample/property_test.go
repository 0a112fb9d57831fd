// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// world is what a target showed over some days, with what happens in them: restarts, outages with and without a stale
// marker, jitter, rates that change.
type world struct {
	seed           uint64
	counter, gauge series
	end            int64
}

func newWorld(seed uint64, days int64) *world {
	rng := rand.New(rand.NewPCG(seed, 7))
	w := &world{seed: seed, end: days * day}
	interval := []int64{15 * second, 30 * second, minute}[rng.IntN(3)]
	mean := 1 + 9*rng.Float64()
	rate, count, level := mean, math.Floor(1e6*rng.Float64()), 100.0
	resets, outages := rng.IntN(5), rng.IntN(4) // A day.
	perDay := float64(day / interval)
	for t := int64(rng.IntN(int(interval))); t < w.end; t += interval {
		if rng.Float64() < float64(outages)/perDay {
			if rng.IntN(2) == 0 {
				w.counter, w.gauge = append(w.counter, stale(t)), append(w.gauge, stale(t))
			}
			t += rng.Int64N(2 * hour)
			if rng.IntN(2) == 0 {
				count = 0
			}
			continue
		}
		if rng.Float64() < float64(resets)/perDay {
			count = 0
		}
		if rng.IntN(100) == 0 {
			rate = min(1.5*mean, max(0.6*mean, rate*(0.8+0.4*rng.Float64())))
		}
		count += math.Floor(rate * (0.9 + 0.2*rng.Float64()) * float64(interval) / 1000)
		level = min(200, max(50, level+rng.NormFloat64()))
		at := t + rng.Int64N(interval/10) // Never at a whole minute, which is in two windows of two minds.
		if at%minute == 0 {
			at++
		}
		w.counter = append(w.counter, sample{t: at, v: count})
		w.gauge = append(w.gauge, sample{t: at, v: math.Round(level*100) / 100})
	}
	return w
}

func newEngine(lookback time.Duration) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: lookback, EnableAtModifier: true, EnableNegativeOffset: true,
		Parser: parser.NewParser(parser.Options{}), NoStepSubqueryIntervalFn: func(int64) int64 { return minute },
	})
}

// ask returns the value of an instant query, or false without one.
func ask(t testing.TB, engine *promql.Engine, q storage.Queryable, query string, at int64) (float64, bool) {
	t.Helper()
	qry, err := engine.NewInstantQuery(context.Background(), q, nil, query, time.UnixMilli(at))
	require.NoError(t, err)
	defer qry.Close()
	r := qry.Exec(context.Background())
	require.NoError(t, r.Err, query)
	v, err := r.Vector()
	require.NoError(t, err)
	if len(v) == 0 {
		return 0, false
	}
	require.Len(t, v, 1)
	return v[0].F, true
}

var lset = labels.FromStrings("__name__", "x")

// layouts are what a bucket can hold of a series.
func (w *world) layouts(t testing.TB, s series) map[string][]Part {
	mixed := func(resolution int64) []Part {
		border := w.end / 2 / (2 * day) * 2 * day
		parts := s.between(0, border).parts(t, resolution, 2*day)
		return append(parts, s.between(border, w.end).parts(t, Raw, 2*hour)...)
	}
	turned := func() []Part { // Raw first, which is what is left when a coarse block is missing.
		border := w.end / 2 / (2 * day) * 2 * day
		parts := s.between(0, border).parts(t, Raw, 2*hour)
		return append(parts, s.between(border, w.end).parts(t, FiveMinutes, 2*day)...)
	}
	return map[string][]Part{
		"5m":          s.parts(t, FiveMinutes, 2*day),
		"1h":          s.parts(t, OneHour, 14*day),
		"5m then raw": mixed(FiveMinutes),
		"1h then raw": mixed(OneHour),
		"raw then 5m": turned(),
	}
}

const propertySeeds = 6

// TestIncreaseIsThatOfRaw is the promise: what a counter grew over a range is within a hundredth of what it grew by raw
// samples. The range must be long beside the windows at its ends, of which PromQL can only guess how much is in it.
func TestIncreaseIsThatOfRaw(t *testing.T) {
	engine := newEngine(5 * time.Minute)
	for seed := range uint64(propertySeeds) {
		w := newWorld(seed, 8)
		raw := fixed{lset, w.counter.parts(t, Raw, 2*hour)}
		layouts := w.layouts(t, w.counter)
		for _, query := range []string{"increase(x[1d])", "rate(x[2d])", "increase(x[7d])"} {
			for at := 7*day + 17*minute; at <= w.end; at += 11 * hour {
				want, ok := ask(t, engine, raw, query, at)
				require.True(t, ok)
				for name, parts := range layouts {
					if strings.HasPrefix(name, "1h") && !strings.Contains(query, "7d") {
						continue
					}
					got, ok := ask(t, engine, fixed{lset, parts}, query, at)
					require.True(t, ok)
					require.InEpsilon(t, want, got, 0.01, "seed %d, %s, %s at %d", seed, name, query, at)
				}
			}
		}
	}
}

// TestOverTimeIsThatOfRaw: what is aggregated over whole windows is exact.
func TestOverTimeIsThatOfRaw(t *testing.T) {
	engine := newEngine(5 * time.Minute)
	tolerance := map[string]float64{
		"sum_over_time": 1e-9, "count_over_time": 0, "min_over_time": 0, "max_over_time": 0, "avg_over_time": 1e-9,
	}
	// Without raw samples beside them all windows weigh the same, also one that an outage left with few samples: of six in the
	// shortest range here, or of 72.
	average := map[string]float64{"1h": 0.1, "5m": 0.01}
	for seed := range uint64(propertySeeds) {
		w := newWorld(seed, 8)
		raw := fixed{lset, w.gauge.parts(t, Raw, 2*hour)}
		layouts := w.layouts(t, w.gauge)
		for f, epsilon := range tolerance {
			for i := range 6 {
				query := fmt.Sprintf("%s(x[%s])", f, []string{"6h", "1d"}[i%2])
				at := day + int64(i)*31*hour
				want, ok := ask(t, engine, raw, query, at)
				for name, parts := range layouts {
					if f == "avg_over_time" {
						epsilon = max(tolerance[f], average[name])
					}
					got, gotOK := ask(t, engine, fixed{lset, parts}, query, at)
					require.Equal(t, ok, gotOK, "seed %d, %s, %s at %d", seed, name, query, at)
					require.InDelta(t, want, got, epsilon*math.Abs(want), "seed %d, %s, %s at %d", seed, name, query, at)
				}
			}
		}
	}
}
