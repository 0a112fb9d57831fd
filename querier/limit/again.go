// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// When memory is short one heavy query goes on. The others are stopped, give back all that they hold, stand in line, and are begun again:
//
//	a ── attempt ─────────────────────────── answer
//	b ── attempt ──┤ told to make room            ├── attempt ── answer
//	c ── attempt ──┤                                            ├── attempt ── answer
//
// To stop one where it is and let it wait there would cost less work. But it would keep what it holds, which is what is lacking, and others may wait
// for it: those who share a run with it, peers whose answers it reads.

// errRoom ends an attempt. It is of the engine's own kind: who shares a run with the query goes on with it, in a name of its own.
var errRoom error = promql.ErrQueryCanceled("making room for another query")

// attempt is one go at the answer of a query, which may be given up.
type attempt struct {
	a      *Account
	ctx    context.Context //nolint:containedctx // Of the attempt itself; it lives as long.
	cancel context.CancelCauseFunc

	mu   sync.Mutex
	told bool           // To make room.
	over bool           // Nothing is begun for it any more, nor is it told anything.
	runs sync.WaitGroup // Of an engine, in its name.
}

type attemptKey struct{}

// attemptFrom returns the attempt that ctx is of; nil without one.
func attemptFrom(ctx context.Context) *attempt {
	t, _ := ctx.Value(attemptKey{}).(*attempt)
	return t
}

// attempt begins one. It is finished by whoever began it.
func (a *Account) attempt(ctx context.Context) *attempt {
	t := &attempt{a: a}
	ctx, t.cancel = context.WithCancelCause(ctx)
	t.ctx = context.WithValue(ctx, attemptKey{}, t)
	a.trying.Store(t)
	return t
}

// tell has the attempt give way. False: it has been told, or is over.
func (t *attempt) tell() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told || t.over {
		return false
	}
	t.told = true
	t.a.toldAt.Store(t.a.books.cfg.Now().UnixNano())
	t.cancel(errRoom)
	return true
}

// run returns the context of a run of an engine, which ends when the attempt has to give way. It may be one of its own: a run that is shared does
// not end with the request that it was begun for. On nil it is ctx.
func (t *attempt) run(ctx context.Context) (context.Context, func()) {
	if t == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		if t.told {
			cancel(errRoom)
		}
		return ctx, func() { cancel(nil) }
	}
	t.runs.Add(1)
	stop := context.AfterFunc(t.ctx, func() {
		if cause := context.Cause(t.ctx); errors.Is(cause, errRoom) {
			cancel(cause)
		}
	})
	return ctx, func() {
		stop()
		cancel(nil)
		t.runs.Done()
	}
}

// finish ends the attempt. True: it was told to give way before it was done, and nothing is done or held for it any more.
func (t *attempt) finish(done bool) (again bool) {
	t.a.trying.Store(nil)
	t.mu.Lock()
	t.over, again = true, t.told && !done
	t.mu.Unlock()
	if again {
		t.runs.Wait()
		t.a.giveUp()
	}
	t.cancel(nil)
	t.a.toldAt.Store(0)
	return again
}

// Again returns an engine whose queries make room for others when memory is short, and are begun again when there is some. They say why
// they were ended: what stands between e and those who ask knows no more than that its context is over. It belongs above whatever keeps or
// shares answers. Safe for concurrent use if e is.
func (b *Books) Again(e promql.QueryEngine) promql.QueryEngine { return again{e, b} }

type again struct {
	promql.QueryEngine
	books *Books
}

// NewInstantQuery implements promql.QueryEngine.
func (e again) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	return e.begin(ctx, func() (promql.Query, error) { return e.QueryEngine.NewInstantQuery(ctx, q, opts, qs, ts) })
}

// NewRangeQuery implements promql.QueryEngine.
func (e again) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, interval time.Duration) (promql.Query, error) {
	return e.begin(ctx, func() (promql.Query, error) {
		return e.QueryEngine.NewRangeQuery(ctx, q, opts, qs, start, end, interval)
	})
}

func (e again) begin(ctx context.Context, build func() (promql.Query, error)) (promql.Query, error) {
	inner, err := build()
	if err != nil {
		return nil, From(ctx).explain(err)
	}
	return &againQuery{Query: inner, first: inner, build: build, books: e.books}, nil
}

// againQuery is a query that may be begun again. Like the engine's it is executed by one goroutine; Cancel may be called by any.
type againQuery struct {
	promql.Query // Of the last attempt.

	first  promql.Query
	build  func() (promql.Query, error)
	books  *Books
	cancel atomic.Pointer[context.CancelFunc]
}

// Exec implements promql.Query.
func (q *againQuery) Exec(ctx context.Context) *promql.Result {
	a := From(ctx)
	if a == nil {
		return q.Query.Exec(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	q.cancel.Store(&cancel)
	defer cancel()
	for {
		res, again := q.attempt(ctx, a)
		if !again {
			res.Err = a.explain(res.Err)
			return res
		}
		next, err := q.build()
		if err != nil {
			return &promql.Result{Err: a.explain(err)}
		}
		q.Close()
		q.Query = next
		if err := a.waitForRoom(ctx); err != nil {
			return &promql.Result{Err: a.explain(asEngine(err))}
		}
		if fresh := q.books.cfg.Fresh; fresh != nil {
			ctx = fresh(ctx)
		}
	}
}

// attempt makes one go. What an answer takes as text is booked by each who asks for it, whoever has evaluated it.
func (q *againQuery) attempt(ctx context.Context, a *Account) (res *promql.Result, again bool) {
	t := a.attempt(ctx)
	res = q.Query.Exec(t.ctx)
	done := false
	if res.Err == nil {
		size := sizeOf(res)
		a.grow(size)
		q.books.roomForAnswer(a, size)
		done = size < heavyMin // It may have been told to make room, and does so by ending.
		if reason := a.reason(); reason != nil {
			res = &promql.Result{Err: reason, Warnings: res.Warnings}
		}
	}
	return res, t.finish(done || ctx.Err() != nil || a.reason() != nil)
}

// Cancel implements promql.Query.
func (q *againQuery) Cancel() {
	if cancel := q.cancel.Load(); cancel != nil {
		(*cancel)()
		return
	}
	q.first.Cancel()
}

// giveUp forgets what was done for the query, which will be done again. Nothing of it may be under way.
func (a *Account) giveUp() {
	b := a.books
	b.bookRead(a)
	for _, n := range []*atomic.Int64{
		&a.series, &a.samples, &a.localBytes, &a.peerBytes, &a.bucketBytes, &a.bucketRequests, &a.engineSamples, &a.engineRead,
	} {
		n.Store(0)
	}
	a.alone.Store(false)
	a.partial.Store(false)
	b.held.Add(-a.memory.Swap(0))
	b.freed.Store(true)
	a.restarts.Add(1)
	b.metrics.restarts.Inc()
}

// waitForRoom stands in line.
func (a *Account) waitForRoom(ctx context.Context) error {
	now := a.books.cfg.Now
	start := now()
	a.waitsSince.Store(start.UnixNano())
	defer func() {
		a.waitsSince.Store(0)
		waited := now().Sub(start)
		a.waited.Add(int64(waited))
		a.books.metrics.waitedForMemory.Add(waited.Seconds())
	}()
	return a.books.line.wait(ctx, a)
}
