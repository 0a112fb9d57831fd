// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/annotations"
)

// outcome is what came of evaluating a query.
type outcome struct {
	value    parser.Value
	warnings annotations.Annotations
	err      error
	release  func() // Gives the memory of the value back to the engine. May be nil.
}

// flights runs the same query once for all who ask for it at the same time.
//
// An answer has what was written before its query came: whoever has seen a sample finds it in all later answers. So nobody
// gets the answer of a run that began before. Those who come while one is under way wait for the next, which begins when
// that one has ended and is for all of them:
//
//	a ├── run ──┤
//	b     ├─────┼── run ──┤
//	c        ├──┼─────────┤
//
// However many ask at once, at most one run is under way and one is waited for.
type flights struct {
	shared interface{ Inc() } // Counts those who need no run of their own.

	mu      sync.Mutex
	running map[string]*flight
}

// flight is one run. It goes on while anyone waits for it: who leaves does not end it for the others. Its context has the
// values of whoever came first, but not their deadline.
type flight struct {
	key   string
	query string // Its text.
	ctx   context.Context
	run   func(context.Context) outcome
	done  chan struct{} // Closed when out is there.
	out   outcome

	// Guarded by flights.mu.
	waiting int // Those who want the answer: while it is not there, and then until they have let go of it.
	started bool
	ended   bool
	cancel  context.CancelCauseFunc
	next    *flight
}

// do returns the outcome of run or of an equal one, and how to let go of it, which must be called. When ctx ends first it
// returns the error that the engine would have returned.
func (g *flights) do(ctx context.Context, key, query string, run func(context.Context) outcome) (outcome, func()) {
	f := g.board(ctx, key, query, run)
	select {
	case <-f.done:
	case <-ctx.Done():
		if !g.leave(ctx, f) {
			return outcome{err: endOf(ctx)}, func() {}
		}
	}
	return f.out, sync.OnceFunc(func() { g.letGo(f) })
}

func (g *flights) board(ctx context.Context, key, query string, run func(context.Context) outcome) *flight {
	g.mu.Lock()
	defer g.mu.Unlock()
	created := func() *flight {
		ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		return &flight{key: key, query: query, ctx: ctx, cancel: cancel, run: run, done: make(chan struct{})}
	}
	f := g.running[key]
	switch {
	case f == nil:
		f = created()
		g.start(f)
	case f.next == nil:
		f.next = created()
		f = f.next
	default:
		f = f.next
		g.shared.Inc()
	}
	f.waiting++
	return f
}

// start runs f. The caller holds mu.
func (g *flights) start(f *flight) {
	f.started = true
	g.running[f.key] = f
	go func() {
		out := f.safely()
		g.mu.Lock()
		defer g.mu.Unlock()
		if cause := context.Cause(f.ctx); cause != nil && !ordinary(cause) {
			out.err = cause
		}
		f.cancel(nil)
		if f.waiting > 1 {
			out.warnings = freeze(out.warnings, f.query)
		}
		f.out, f.ended = out, true
		close(f.done)
		if f.waiting == 0 {
			f.release()
		}
		delete(g.running, f.key)
		if f.next != nil {
			g.start(f.next)
		}
	}()
}

// safely turns a panic into an error: one query must not end the process, and above this goroutine nobody else catches it.
func (f *flight) safely() (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			out = outcome{err: fmt.Errorf("unexpected panic: %v", r)}
		}
	}()
	return f.run(f.ctx)
}

// leave is for those whose context has ended. It reports whether the outcome is there after all. The last one to leave ends the
// run and waits for its end, so that nothing is read for a request that is over. Who was not just called off or too slow, but ended
// for a reason, as that there is no memory, ends it for all.
func (g *flights) leave(ctx context.Context, f *flight) bool {
	g.mu.Lock()
	if f.ended {
		g.mu.Unlock()
		return true
	}
	f.waiting--
	cause := context.Cause(ctx)
	alone := f.waiting == 0
	if alone || !ordinary(cause) {
		f.cancel(cause)
	}
	if alone && !f.started {
		if before := g.running[f.key]; before != nil && before.next == f {
			before.next = nil
		}
	}
	wait := alone && f.started
	g.mu.Unlock()
	if wait {
		<-f.done
	}
	return false
}

func (g *flights) letGo(f *flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.release()
	}
}

func (f *flight) release() {
	if f.out.release != nil {
		f.out.release()
	}
}

// ordinary tells whether a context ended because somebody went away or time was up.
func ordinary(cause error) bool {
	return errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded)
}

// endOf is what the engine says of a context that has ended.
func endOf(ctx context.Context) error {
	const where = "expression evaluation"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return promql.ErrQueryTimeout(where)
	}
	return promql.ErrQueryCanceled(where)
}
