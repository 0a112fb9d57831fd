// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

func counted(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	return testutil.ToFloat64(c)
}

const (
	worldDays     = 5
	worldInterval = 5 * time.Minute
	worldSeries   = 12
)

// world is random data that grows: counters, gauges, classic and native histograms, with gaps, resets, staleness and
// series that come and go. Values are multiples of a quarter, so that sums do not depend on the order.
type world struct {
	t   *testing.T
	rnd *rand.Rand
	db  *teststorage.TestStorage
	now time.Time
	// From here on it is not yet settled, and may be written to.
	settled time.Time
	counter [worldSeries]float64
	resets  [worldSeries]int
}

// settle is how long samples may come late.
const settle = 3 * time.Hour

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_700_000_000, 0).Truncate(day)}
	w.db = newStorage(t)
	w.settled = w.now
	return w
}

// run writes until a time. Samples of the last hours come when those of the next are written, some of them.
func (w *world) run(until time.Time) {
	app := w.db.AppenderV2(w.t.Context())
	add := func(l labels.Labels, t time.Time, f float64, h *histogram.Histogram) {
		_, err := app.Append(0, l, 0, t.UnixMilli(), f, h, nil, storage.AOptions{})
		require.NoError(w.t, err)
	}
	for ; w.now.Before(until); w.now = w.now.Add(worldInterval) {
		for i := range worldSeries {
			if w.rnd.IntN(10) == 0 || (w.now.Unix()/86_400+int64(i))%4 == 0 && i > 6 { // A scrape fails; a series is there on some days.
				continue
			}
			at := w.now.Add(time.Duration(w.rnd.IntN(1000)) * time.Millisecond)
			l := labels.FromStrings("job", fmt.Sprint(i%3), "instance", fmt.Sprint(i))
			named := func(name string, more ...string) labels.Labels {
				b := labels.NewBuilder(l).Set("__name__", name)
				for n := 0; n < len(more); n += 2 {
					b.Set(more[n], more[n+1])
				}
				return b.Labels()
			}
			if w.counter[i] += float64(w.rnd.IntN(5)); w.rnd.IntN(200) == 0 {
				w.counter[i], w.resets[i] = 0, 0
			}
			w.resets[i]++
			add(named("c_total"), at, w.counter[i], nil)
			gauge := float64(w.rnd.IntN(100)) / 4
			if w.rnd.IntN(20) == 0 {
				gauge = math.Float64frombits(value.StaleNaN)
			}
			add(named("g"), at, gauge, nil)
			for n, le := range []string{"1", "5", "+Inf"} {
				add(named("h_bucket", "le", le), at, w.counter[i]*float64(n+1), nil)
			}
			add(named("n"), at, 0, tsdbutil.GenerateTestHistogram(int64(w.resets[i])))
		}
	}
	require.NoError(w.t, app.Commit())
	w.settled = w.now.Add(-settle)
}

// rewrite changes what is old.
func (w *world) rewrite() {
	app := w.db.AppenderV2(w.t.Context())
	_, err := app.Append(0, labels.FromStrings("__name__", "g", "job", "0", "instance", fmt.Sprint("new", w.rnd.IntN(1000))), 0, w.now.Add(-time.Minute).UnixMilli(), 1, nil, nil, storage.AOptions{})
	require.NoError(w.t, err)
	require.NoError(w.t, app.Commit())
}

var expressions = []string{
	"g", "c_total", "n", "-g", "g > 10", "g * 2", "g offset 1h", "sum by (job) (g)", "topk(2, g)", "bottomk by (job) (1, g)",
	"rate(c_total[20m])", "sum by (job) (increase(c_total[1h]))", "sum(rate(c_total[15m] offset 30m))", "rate(n[30m])", "sum(rate(n[30m]))",
	"histogram_quantile(0.9, sum by (le) (rate(h_bucket[30m])))", "histogram_quantile(0.5, rate(n[20m]))", "resets(c_total[2h])",
	"max_over_time(g[30m])", "max_over_time(rate(c_total[10m])[1h:10m])", "sum_over_time(g[1h:7m] offset 20m)", "absent(g{instance=\"7\"})",
	"absent_over_time(g{instance=\"8\"}[30m])", "count_values(\"v\", g)", "quantile by (job) (0.5, g)", "avg(g)", "stddev by (job) (g)",
	"g or c_total", "g and c_total > 100", "g unless on (job) c_total > 100", "c_total / on (instance, job) g", "time()", "vector(1)", "day_of_week()",
	"timestamp(g)", "rate(g[15m])", "deriv(g[30m])", "changes(g[1h])", "quantile_over_time(0.5, g[1h])", "irate(c_total[20m])", "last_over_time(g[10m])",
	"predict_linear(g[1h], 600)", "clamp_max(g, 10)", "g == bool 10", "sum(g) + sum(c_total)", "count(n)", "histogram_avg(n)", "1 + 1",
	// Left whole.
	"g @ end()", "g offset -10m", "{__name__=~\"g|c_total\"}", "rate({__name__=~\"c_total|h_bucket\", instance=\"1\"}[15m])",
	"label_replace(g, \"a\", \"$1\", \"job\", \"(.*)\")", "sort(g)", "topk(scalar(count(g)) / 4, g)", "rate((g or c_total)[30m:5m])",
}

// TestIsWhole asks for random ranges of random queries while time goes on, and wants the engine's own answer each time.
func TestIsWhole(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) { t.Parallel(); playWorld(t, seed) })
	}
}

func playWorld(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	plain := newEngine(t, 50_000_000)
	v := &versions{}
	maxBytes := int64(1 << 20)
	if seed%2 == 1 {
		maxBytes = 100 << 10 // Something is put out all the time.
	}
	e := New(Config{
		Engine: plain, Parser: parser.NewParser(parser.Options{}), MaxBytes: maxBytes, Scope: oneScope, Version: v.version,
		Settled: func() int64 { return w.settled.UnixMilli() },
		Watch: func(ctx context.Context) (context.Context, func() int64) {
			late := time.Duration(w.rnd.IntN(3)) * time.Hour
			return ctx, func() int64 { return w.settled.Add(-late).UnixMilli() }
		},
	}, nil)
	e.atOnce = 1 // The random numbers are not for several at once.
	begin := w.now
	w.run(begin.Add(2 * day))
	chosen := expressions
	for range 25 {
		if w.now.Before(begin.Add(worldDays * day)) {
			w.run(w.now.Add(time.Duration(w.rnd.IntN(240)) * time.Minute))
		}
		if w.rnd.IntN(8) == 0 {
			w.rewrite()
			v.n.Add(1)
		}
		expr := chosen[w.rnd.IntN(len(chosen))]
		step := []time.Duration{time.Minute, 90 * time.Second, 7 * time.Minute, time.Hour}[w.rnd.IntN(4)]
		for range 3 {
			end := w.now.Add(-time.Duration(w.rnd.IntN(600)) * time.Minute)
			if w.rnd.IntN(2) == 0 {
				end = end.Truncate(step)
			}
			start := end.Add(-time.Duration(w.rnd.IntN(4*24*60)) * time.Minute)
			// Who is first of equals, and the last bits of a sum, depend on the order of series.
			db := sorted{w.db, new(atomic.Bool)}
			want := ask(t, plain, db, expr, start, end, step)
			got := ask(t, e, db, expr, start, end, step)
			requireSame(t, want, got, "%s from %s to %s, step %s", expr, start.UTC(), end.UTC(), step)
		}
	}
	require.LessOrEqual(t, e.store.bytes, maxBytes)
	require.Greater(t, counted(t, e.metrics.steps.WithLabelValues("store")), 1000.0, "nothing came from the store")
}

// answer is a result after the query was closed.
type answer struct {
	matrix   promql.Matrix
	warnings []string
	err      string
}

func ask(t *testing.T, e promql.QueryEngine, q storage.Queryable, expr string, start, end time.Time, step time.Duration) answer {
	t.Helper()
	query, err := e.NewRangeQuery(t.Context(), q, nil, expr, start, end, step)
	require.NoError(t, err)
	defer query.Close()
	res := query.Exec(t.Context())
	var a answer
	if res.Err != nil {
		a.err = res.Err.Error()
		return a
	}
	m, err := res.Matrix()
	require.NoError(t, err)
	a.matrix = clip(m, steps{math.MinInt64, math.MaxInt64, 1})
	for i := range a.matrix {
		for n, p := range a.matrix[i].Histograms {
			a.matrix[i].Histograms[n].H = p.H.Copy()
		}
	}
	warnings, infos := res.Warnings.AsStrings(expr, 0, 0)
	a.warnings = slices.Sorted(slices.Values(append(warnings, infos...)))
	return a
}

func requireSame(t *testing.T, want, got answer, format string, args ...any) {
	t.Helper()
	what := fmt.Sprintf(format, args...)
	require.Equal(t, want.err, got.err, what)
	require.Equal(t, want.warnings, got.warnings, what)
	require.Len(t, got.matrix, len(want.matrix), what)
	for i, s := range want.matrix {
		g := got.matrix[i]
		require.True(t, labels.Equal(s.Metric, g.Metric), "%s: %s is not %s", what, g.Metric, s.Metric)
		require.Len(t, g.Floats, len(s.Floats), "%s: %s", what, s.Metric)
		require.Len(t, g.Histograms, len(s.Histograms), "%s: %s", what, s.Metric)
		for n, p := range s.Floats {
			require.Equal(t, p.T, g.Floats[n].T, what)
			require.Equal(t, math.Float64bits(p.F), math.Float64bits(g.Floats[n].F), "%s: %s at %d: %v is not %v", what, s.Metric, p.T, g.Floats[n].F, p.F)
		}
		for n, p := range s.Histograms {
			require.Equal(t, p.T, g.Histograms[n].T, what)
			require.True(t, p.H.Equals(g.Histograms[n].H), "%s: %s at %d: %v is not %v", what, s.Metric, p.T, g.Histograms[n].H, p.H)
		}
	}
}
