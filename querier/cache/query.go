// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/stats"
)

// query is a promql.Query. Like the engine's it is executed once, by one goroutine; Cancel may be called by any.
type query struct {
	engine     *Engine
	inner      promql.Query // The whole of it. Not executed if it is put together, or somebody else's answer is taken.
	storage    storage.Queryable
	opts       promql.QueryOpts
	text       string
	start, end time.Time
	interval   time.Duration // 0: an instant query.

	cancel atomic.Pointer[context.CancelFunc]
	letGo  func() // Of the answer; nil before it is there.
}

// Exec implements promql.Query.
func (q *query) Exec(ctx context.Context) *promql.Result {
	scope, ok := q.engine.cfg.Scope(ctx)
	// Statistics are of what the engine does for this query.
	if !ok || bypassed(ctx) || q.opts != nil && q.opts.EnablePerStepStats() {
		q.engine.metrics.queries.WithLabelValues("bypass").Inc()
		q.letGo = q.inner.Close
		return q.inner.Exec(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	q.cancel.Store(&cancel)
	defer cancel()
	out, letGo := q.engine.flights.do(ctx, q.flightKey(scope), q.text, func(ctx context.Context) outcome { return q.run(ctx, scope) })
	q.letGo = letGo
	return &promql.Result{Value: out.value, Warnings: out.warnings, Err: out.err}
}

// flightKey is the same for queries that have the same answer.
func (q *query) flightKey(scope Scope) string {
	var b strings.Builder
	for _, n := range [...]int64{q.start.UnixNano(), q.end.UnixNano(), int64(q.interval), int64(q.lookback())} {
		b.WriteString(strconv.FormatInt(n, 36))
		b.WriteByte(' ')
	}
	b.WriteString(strconv.Quote(scope.Key))
	b.WriteString(q.text)
	return b.String()
}

// lookback is what the engine takes.
func (q *query) lookback() time.Duration {
	if q.opts == nil || q.opts.LookbackDelta() <= 0 {
		return q.engine.cfg.LookbackDelta
	}
	return q.opts.LookbackDelta()
}

// run evaluates the query, for all who wait for it.
func (q *query) run(ctx context.Context, scope Scope) outcome {
	if q.interval > 0 {
		if p, ok := q.engine.plan(q, scope); ok {
			if out, ok := q.engine.assemble(ctx, q, p); ok {
				q.engine.metrics.queries.WithLabelValues("split").Inc()
				return out
			}
		}
		q.engine.metrics.queries.WithLabelValues("whole").Inc()
	}
	res := q.inner.Exec(ctx)
	return outcome{value: res.Value, warnings: res.Warnings, err: res.Err, release: q.inner.Close}
}

// Close implements promql.Query.
func (q *query) Close() {
	if q.letGo != nil {
		q.letGo()
	}
}

// Statement implements promql.Query.
func (q *query) Statement() parser.Statement { return q.inner.Statement() }

// Stats implements promql.Query. Of a query that was not left to the engine as it is they are empty: what was done for it may have been done
// for others as well.
func (q *query) Stats() *stats.Statistics {
	if q.cancel.Load() == nil {
		return q.inner.Stats()
	}
	return &stats.Statistics{Timers: stats.NewQueryTimers(), Samples: stats.NewQuerySamples(false)}
}

// Cancel implements promql.Query.
func (q *query) Cancel() {
	if cancel := q.cancel.Load(); cancel != nil {
		(*cancel)()
		return
	}
	q.inner.Cancel()
}

// String implements promql.Query.
func (q *query) String() string { return q.text }
