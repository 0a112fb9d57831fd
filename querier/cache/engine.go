// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
)

const (
	// DefaultMaxBytes holds what some 60 panels show of a week: ten series each, a step a minute. It is little beside the head
	// of a node whose queries are worth it.
	DefaultMaxBytes = 128 << 20
	// piecesAtOnceMax is how many pieces of one query are evaluated at the same time. Pieces wait for peers and the bucket; and
	// evaluated whole, the query would hold what all of them hold.
	piecesAtOnceMax = 4
)

// Scope is what beside its text and times decides about the answer to a query.
type Scope struct {
	// Key tells scopes apart: the tenant, and all parameters that storage looks at.
	Key string
	// Whole is set where the answer to a range may differ from those to its parts, for reasons that are not in the
	// expression.
	Whole bool
}

// Config says how an Engine works. Engine, Parser, Scope and Settled are needed.
type Config struct {
	Engine promql.QueryEngine
	Parser parser.Parser // The engine's.
	// LookbackDelta is the engine's, for queries that say none: so far before its first step an answer depends on samples.
	LookbackDelta time.Duration
	// MaxBytes bounds what is kept of answers. 0: nothing is kept, and no range is split.
	MaxBytes int64
	// MaxSamples returns how many samples an answer may have that was put together; 0 is any number, as is nil. The engine has its own
	// limit, for each piece.
	MaxSamples func(context.Context) int
	// Scope returns the scope of a query by its context. False: it is left to the engine, as with WithBypass.
	Scope func(context.Context) (Scope, bool)
	// Version names the data of a time range in ms, closed, of the query's tenant. It must be another one when a sample may have
	// been added or taken away otherwise than by being written when it is new: by import, rewrite, deletion, refill. A range that is not
	// divisible must be evaluated whole. Nil: there is nothing of that kind.
	Version func(ctx context.Context, mint, maxt int64) (version string, divisible bool)
	// Settled returns until when, in ms, values of steps cannot change any more as far as clocks tell.
	Settled func() int64
	// Watch returns a context for an evaluation, and what tells after it until when the values of its steps cannot change as far as
	// those know who were asked. Nil: there is nobody to know.
	Watch func(context.Context) (context.Context, func() int64)
}

// Engine is a promql.QueryEngine that evaluates with another one what it does not know. All its queries must be about one storage.
// It is safe for concurrent use.
type Engine struct {
	cfg     Config
	metrics *metrics
	flights *flights
	store   *store // Nil if nothing is kept.
	atOnce  int
	cutter  cutter
}

var _ promql.QueryEngine = (*Engine)(nil)

// New returns an Engine. It starts nothing. The registerer may be nil.
func New(cfg Config, reg prometheus.Registerer) *Engine {
	m := newMetrics(reg)
	e := &Engine{
		cfg: cfg, metrics: m,
		flights: newFlights(m.shared),
		atOnce:  min(piecesAtOnceMax, runtime.GOMAXPROCS(0)),
		cutter:  newCutter(),
	}
	if cfg.Version == nil {
		e.cfg.Version = func(context.Context, int64, int64) (string, bool) { return "", true }
	}
	if cfg.MaxBytes > 0 {
		e.store = newStore(cfg.MaxBytes, m)
	}
	return e
}

// NewInstantQuery implements promql.QueryEngine.
func (e *Engine) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	inner, err := e.cfg.Engine.NewInstantQuery(ctx, q, opts, qs, ts)
	if err != nil {
		return nil, err
	}
	return &query{engine: e, inner: inner, storage: q, opts: opts, text: qs, start: ts, end: ts}, nil
}

// NewRangeQuery implements promql.QueryEngine.
func (e *Engine) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, interval time.Duration) (promql.Query, error) {
	inner, err := e.cfg.Engine.NewRangeQuery(ctx, q, opts, qs, start, end, interval)
	if err != nil {
		return nil, err
	}
	return &query{engine: e, inner: inner, storage: q, opts: opts, text: qs, start: start, end: end, interval: interval}, nil
}

// plan is how a range query is put together.
type plan struct {
	shape  shape
	scope  string
	length int64 // Of pieces.
	all    steps
	pieces []piece
	// settled is until when clocks say that nothing changes.
	settled int64
}

// plan returns the plan of a query, or false if it is evaluated whole.
func (e *Engine) plan(q *query, scope Scope) (plan, bool) {
	step := q.interval.Milliseconds()
	if e.store == nil || scope.Whole || step <= 0 {
		return plan{}, false
	}
	// Not the engine's statement, in which what tells of the range is a number by now.
	expr, err := e.cfg.Parser.ParseExpr(q.text)
	if err != nil {
		return plan{}, false
	}
	p := plan{scope: scope.Key, all: newSteps(q.start.UnixMilli(), q.end.UnixMilli(), step), settled: e.cfg.Settled()}
	var ok bool
	if p.shape, ok = shapeOf(expr); !ok || p.all.empty() {
		return plan{}, false
	}
	p.length = e.cutter.length(step, p.shape.reach)
	p.pieces = split(p.all, p.length)
	if len(p.pieces) == 1 && p.all.upTo(p.settled).empty() {
		return plan{}, false // Nothing is known of it, nor will be.
	}
	return p, true
}
