// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"container/list"
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// turnSlice is how long a query computes while others wait.
	turnSlice = 5 * time.Millisecond
	// reserveFor is how long after a write the core that is kept from queries stays so. Senders write more often.
	reserveFor = 5 * time.Second
	// courtesy is how long those wait for a turn whose silence would be taken for a failure: peers, and whoever reads from
	// them. It is less than a peer may be silent.
	courtesy = 3 * time.Second
)

// turns bounds the queries that compute at a time, first come first served.
type turns struct {
	cores int
	now   func() time.Time

	written atomic.Int64 // When the last write began, in Unix nanoseconds.
	waiting atomic.Int32 // len of queue, to be looked at without the lock.

	mu      sync.Mutex
	running int
	queue   list.List // Of chan struct{}, closed when it is that one's turn.
}

func newTurns(cores int, now func() time.Time) *turns {
	if cores <= 0 {
		cores = runtime.GOMAXPROCS(0)
	}
	return &turns{cores: cores, now: now}
}

// Writing tells that a write begins: from now on a core is kept for writes, for a while.
func (b *Books) Writing() { b.turns.written.Store(b.turns.now().UnixNano()) }

// Computing tells whether a query computes at the moment.
func (b *Books) Computing() bool {
	b.turns.mu.Lock()
	defer b.turns.mu.Unlock()
	return b.turns.running > 0
}

// capacity is how many may compute now.
func (t *turns) capacity() int {
	if t.writing(t.now()) {
		return max(1, t.cores-1)
	}
	return t.cores
}

// writing tells whether there are writes at present.
func (t *turns) writing(now time.Time) bool {
	return now.UnixNano()-t.written.Load() < int64(reserveFor)
}

// take waits for a turn. Whoever gets one gives it back.
func (t *turns) take(ctx context.Context) error {
	t.mu.Lock()
	if t.queue.Len() == 0 && t.running < t.capacity() {
		t.running++
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{})
	place := t.queue.PushBack(mine)
	t.waiting.Add(1)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-mine: // At the same moment.
		t.pass()
	default:
		t.queue.Remove(place)
		t.waiting.Add(-1)
	}
	return context.Cause(ctx)
}

// give gives a turn back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass hands a turn that ends to those who wait, as far as there is room. The caller holds the lock.
func (t *turns) pass() {
	t.running--
	for room := t.capacity(); t.queue.Len() > 0 && t.running < room; t.running++ {
		first := t.queue.Front()
		t.queue.Remove(first)
		t.waiting.Add(-1)
		close(first.Value.(chan struct{}))
	}
}

// turn is what one goroutine computes with, and nobody else calls its methods. All may be called on nil, which computes without.
type turn struct {
	turns  *turns
	ctx    context.Context //nolint:containedctx // Of the work that the turn is for; it lives as long.
	since  time.Time
	held   bool
	thread thread
}

type turnKey struct{}

// turnFrom returns the turn of the goroutine that runs an engine under ctx. Those that it starts must not use it.
func turnFrom(ctx context.Context) *turn {
	t, _ := ctx.Value(turnKey{}).(*turn)
	return t
}

// lend gives back the turn of the goroutine that ctx is of, which waits for the work of others now: they must find room. It returns the
// context for these, and what takes the turn again. If the context ends meanwhile, that goes on without: what is left is to say so.
func lend(ctx context.Context) (forOthers context.Context, back func()) {
	t := turnFrom(ctx)
	if t == nil {
		return ctx, func() {}
	}
	t.stop()
	return context.WithValue(ctx, turnKey{}, (*turn)(nil)), func() { _ = t.begin() }
}

// pause gives the turn back, if there is one, and returns what takes it again. If the context has ended, that goes on without.
func (t *turn) pause() (back func()) {
	if t == nil || !t.held {
		return func() {}
	}
	t.stop()
	return func() { _ = t.begin() }
}

// begin waits for the turn.
func (t *turn) begin() error {
	if t == nil || t.held {
		return nil
	}
	if err := t.turns.take(t.ctx); err != nil {
		return err
	}
	t.held, t.since = true, t.turns.now()
	t.thread.enter()
	return nil
}

// stop gives the turn back, for good or for as long as there is something else to wait for.
func (t *turn) stop() {
	if t != nil && t.held {
		t.held = false
		t.thread.leave()
		t.turns.give()
	}
}

// yield lets others compute if this one has done so for long enough. It costs next to nothing when nobody waits.
func (t *turn) yield() error {
	if t == nil || !t.held {
		return nil
	}
	if t.turns.waiting.Load() == 0 || t.turns.now().Sub(t.since) < turnSlice {
		return nil
	}
	t.stop()
	return t.begin()
}

// Turn waits for leave to compute for the query of ctx, in a goroutine that has none, and returns what the same gives it back with. It does
// not wait for long: that would look like a peer that does not answer.
func (b *Books) Turn(ctx context.Context) (func(), error) {
	wait, cancel := context.WithTimeout(ctx, courtesy)
	defer cancel()
	switch err := b.turns.take(wait); {
	case err == nil:
		var own thread
		own.enter()
		return func() { own.leave(); b.turns.give() }, nil
	case ctx.Err() != nil:
		return nil, From(ctx).explain(context.Cause(ctx))
	default:
		return func() {}, nil
	}
}
