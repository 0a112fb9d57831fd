// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

func newFlights(shared interface{ Inc() }) *flights {
	return &flights{shared: shared, running: map[string]*flight{}}
}

// flight is one run. It goes on while anyone waits for it: who leaves does not end it for the others. It is made in the name of one of them,
// mostly the first: its context has the values of that one, but not the deadline.
type flight struct {
	key   string
	query string // Its text.
	done  chan struct{}
	out   outcome // Set when done is closed.

	// Guarded by flights.mu.
	waiting []*passenger // Those who want the answer, while it is not there; the first first.
	readers int          // Those who have not let go of it, when it is there.
	ended   bool
	cancel  context.CancelCauseFunc // Nil before it was started.
	next    *flight
}

// passenger is one who asks.
type passenger struct {
	ctx context.Context //nolint:containedctx // Of the request: a run is made in its name.
	run func(context.Context) outcome
}

// do returns the outcome of run or of an equal one, and how to let go of it, which must be called. When ctx ends first it
// returns the error that the engine would have returned.
func (g *flights) do(ctx context.Context, key, query string, run func(context.Context) outcome) (outcome, func()) {
	p := &passenger{ctx, run}
	f := g.board(p, key, query)
	select {
	case <-f.done:
	case <-ctx.Done():
		if !g.leave(p, f) {
			return outcome{err: endOf(ctx)}, func() {}
		}
	}
	return f.out, sync.OnceFunc(func() { g.letGo(f) })
}

func (g *flights) board(p *passenger, key, query string) *flight {
	g.mu.Lock()
	defer g.mu.Unlock()
	created := func() *flight {
		return &flight{key: key, query: query, done: make(chan struct{}), waiting: []*passenger{p}}
	}
	f := g.running[key]
	switch {
	case f == nil:
		f = created()
		g.start(f)
		return f
	case f.next == nil:
		f.next = created()
	default:
		f.next.waiting = append(f.next.waiting, p)
		g.shared.Inc()
	}
	return f.next
}

// start runs f, for which somebody waits. The caller holds mu.
func (g *flights) start(f *flight) {
	g.running[f.key] = f
	go func(p *passenger, ctx context.Context) {
		for p != nil {
			out := safely(ctx, p.run)
			p, ctx = g.land(ctx, f, p, out)
		}
	}(f.waiting[0], f.inNameOf(f.waiting[0]))
}

// inNameOf makes the context of a run. The caller holds mu.
func (f *flight) inNameOf(p *passenger) context.Context {
	var ctx context.Context
	ctx, f.cancel = context.WithCancelCause(context.WithoutCancel(p.ctx))
	return ctx
}

// land takes the outcome of a run in the name of p. If that one's own end was the end of it, and others wait, it is made once more in the name of
// one of these, who is returned.
func (g *flights) land(ctx context.Context, f *flight, p *passenger, out outcome) (*passenger, context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	cause := context.Cause(ctx)
	f.cancel(nil)
	switch {
	case cause != nil && !personal(cause):
		out.err = cause
	case out.err != nil && p.ctx.Err() != nil:
		for _, other := range f.waiting {
			if other.ctx.Err() == nil {
				out.giveBack()
				return other, f.inNameOf(other)
			}
		}
	}
	if f.readers = len(f.waiting); f.readers > 1 {
		out.warnings = freeze(out.warnings, f.query)
	}
	f.out, f.ended = out, true
	close(f.done)
	if f.readers == 0 {
		out.giveBack()
	}
	delete(g.running, f.key)
	if f.next != nil {
		g.start(f.next)
	}
	return nil, nil
}

// safely turns a panic into an error: one query must not end the process, and above this goroutine nobody else catches it.
func safely(ctx context.Context, run func(context.Context) outcome) (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			out = outcome{err: fmt.Errorf("unexpected panic: %v", r)}
		}
	}()
	return run(ctx)
}

// leave is for those whose context has ended. It reports whether the outcome is there after all. The last one to leave ends the
// run and waits for its end, so that nothing is read for a request that is over. Who was not just called off or too slow, but ended
// for what the query does, as that it takes too much memory, ends it for all.
func (g *flights) leave(p *passenger, f *flight) bool {
	g.mu.Lock()
	if f.ended {
		g.mu.Unlock()
		return true
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(o *passenger) bool { return o == p })
	alone, started := len(f.waiting) == 0, f.cancel != nil
	if cause := context.Cause(p.ctx); started && (alone || !personal(cause)) {
		f.cancel(cause)
	}
	if alone && !started {
		g.running[f.key].next = nil
	}
	g.mu.Unlock()
	if alone && started {
		<-f.done
	}
	return false
}

func (g *flights) letGo(f *flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.out.giveBack()
	}
}

func (o outcome) giveBack() {
	if o.release != nil {
		o.release()
	}
}

// personal tells whether a context ended for what is about who asked, and not about the query: because somebody went away, or time was up.
func personal(cause error) bool {
	return plain(cause) || errors.As(cause, new(promql.ErrQueryCanceled)) || errors.As(cause, new(promql.ErrQueryTimeout))
}

func plain(cause error) bool {
	return errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded)
}

// endOf is why a context ended, in the engine's words if there are no better ones.
func endOf(ctx context.Context) error {
	const where = "expression evaluation"
	if cause := context.Cause(ctx); !plain(cause) {
		return cause
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return promql.ErrQueryTimeout(where)
	}
	return promql.ErrQueryCanceled(where)
}
