// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// Engine returns an engine whose queries compute by turns, hold as many samples as their tenant may, and end with their
// account. Build makes the engine for a number of samples, and is called once for each that limits have named; its engines need
// no timeout. Safe for concurrent use.
func (b *Books) Engine(build func(maxSamples int64) promql.QueryEngine) promql.QueryEngine {
	return &engine{books: b, build: build, of: map[int64]promql.QueryEngine{}}
}

type engine struct {
	books *Books
	build func(int64) promql.QueryEngine

	mu sync.Mutex
	of map[int64]promql.QueryEngine // By samples.
}

func (e *engine) pick(a *Account) promql.QueryEngine {
	samples := int64(DefaultSamples)
	if a != nil && a.limits.MaxSamples > 0 {
		samples = a.limits.MaxSamples
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of[samples] == nil {
		e.of[samples] = e.build(samples)
	}
	return e.of[samples]
}

// NewInstantQuery implements promql.QueryEngine.
func (e *engine) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	inner, err := e.pick(From(ctx)).NewInstantQuery(ctx, q, opts, qs, ts)
	if err != nil {
		return nil, err
	}
	return &query{inner, e.books}, nil
}

// NewRangeQuery implements promql.QueryEngine.
func (e *engine) NewRangeQuery(
	ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, interval time.Duration,
) (promql.Query, error) {
	inner, err := e.pick(From(ctx)).NewRangeQuery(ctx, q, opts, qs, start, end, interval)
	if err != nil {
		return nil, err
	}
	return &query{inner, e.books}, nil
}

type query struct {
	promql.Query
	books *Books
}

// Exec implements promql.Query.
func (q *query) Exec(ctx context.Context) *promql.Result {
	a := From(ctx)
	if a == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	ctx, detach := a.attach(ctx)
	defer detach()
	attempt := attemptFrom(ctx)
	ctx, leave := attempt.run(ctx)
	defer leave()
	t := &turn{turns: q.books.turns, ctx: ctx}
	if err := t.begin(); err != nil {
		return &promql.Result{Err: a.explain(asEngine(err))}
	}
	defer t.stop()
	res := q.Query.Exec(context.WithValue(ctx, turnKey{}, t))
	a.note(q.Stats())
	if res.Err != nil && a != nil {
		var many promql.ErrTooManySamples
		if errors.As(res.Err, &many) && a.reason() == nil {
			_ = a.end(tooManySamples(a.limits.MaxSamples))
		}
		// What ended the query may have been met anywhere below.
		res.Err = a.explain(res.Err)
	}
	if a == nil || res.Err != nil || attempt != nil { // The answer of an attempt is booked by who makes it.
		return res
	}
	size := sizeOf(res)
	a.grow(size)
	q.books.roomForAnswer(a, size)
	if a.reason() != nil { // Before it is made into text, which does not stop.
		return &promql.Result{Err: a.reason(), Warnings: res.Warnings}
	}
	return res
}

// asEngine makes an error of waiting one of the engine's kinds.
func asEngine(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return promql.ErrQueryTimeout("query queue")
	case errors.Is(err, context.Canceled):
		return promql.ErrQueryCanceled("query queue")
	}
	return err
}

// sizeOf is what a result takes as text, beside what it takes as it is: the text, its copy, and the room that the first grew
// beyond it.
func sizeOf(res *promql.Result) int64 {
	const pointText, seriesText, copies = 30, 64, 3
	bytes := int64(0)
	switch v := res.Value.(type) {
	case promql.Matrix:
		for _, s := range v {
			bytes += int64(s.Metric.ByteSize()) + seriesText + pointText*int64(len(s.Floats)+len(s.Histograms))
		}
	case promql.Vector:
		for i := range v {
			bytes += int64(v[i].Metric.ByteSize()) + seriesText + pointText
		}
	}
	return copies * bytes
}
