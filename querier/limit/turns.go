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
	// While writes are under way, whoever computes rests for at most restFor of each restEvery: cores are shared with senders and
	// with whatever else there is, and a write takes about as long.
	restFor, restEvery = time.Millisecond, 2 * time.Millisecond
	// restStep is how often it looks whether they are done.
	restStep = 100 * time.Microsecond
	// courtesy is how long those wait for a turn whose silence would be taken for a failure: peers, and whoever reads from
	// them. It is less than a peer may be silent.
	courtesy = 3 * time.Second
)

// turns bounds the queries that compute at a time, first come first served.
type turns struct {
	cores   int
	now     func() time.Time
	written atomic.Int64 // When the last write began, in Unix nanoseconds.
	waiting atomic.Int32 // len of queue, to be looked at without the lock.
	writes  atomic.Int32 // Under way.

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

// Writing tells that a write begins, and returns what tells that it has ended: from now on a core is kept for writes, for a while,
// and until the end queries rest now and then.
func (b *Books) Writing() func() {
	b.turns.written.Store(b.turns.now().UnixNano())
	b.turns.writes.Add(1)
	return func() { b.turns.writes.Add(-1) }
}

// capacity is how many may compute now.
func (t *turns) capacity() int {
	if t.now().UnixNano()-t.written.Load() < int64(reserveFor) {
		return max(1, t.cores-1)
	}
	return t.cores
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

// turn is what one goroutine computes with. All methods may be called on nil, which computes without.
type turn struct {
	turns *turns
	ctx   context.Context //nolint:containedctx // Of the work that the turn is for; it lives as long.
	since time.Time
	rests time.Time // When it rested last.
	held  bool
}

type turnKey struct{}

// turnFrom returns the turn of the goroutine that runs an engine under ctx. Those that it starts must not use it.
func turnFrom(ctx context.Context) *turn {
	t, _ := ctx.Value(turnKey{}).(*turn)
	return t
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
	return nil
}

// stop gives the turn back, for good or for as long as there is something else to wait for.
func (t *turn) stop() {
	if t != nil && t.held {
		t.held = false
		t.turns.give()
	}
}

// yield lets others compute if this one has done so for long enough. It costs next to nothing when nobody waits.
func (t *turn) yield() error {
	if t != nil && t.held && t.turns.writes.Load() > 0 {
		t.rest()
	}
	if t == nil || t.turns.waiting.Load() == 0 || !t.held || t.turns.now().Sub(t.since) < turnSlice {
		return nil
	}
	t.stop()
	return t.begin()
}

// rest leaves the core to writes that are under way, for a moment.
func (t *turn) rest() {
	now := t.turns.now()
	if now.Sub(t.rests) < restEvery {
		return
	}
	for until := now.Add(restFor); t.turns.writes.Load() > 0 && t.turns.now().Before(until); {
		time.Sleep(restStep)
	}
	t.rests = t.turns.now()
}

// Turn waits for leave to compute for the query of ctx, in a goroutine that has none, and returns what gives it back. It does
// not wait for long: that would look like a peer that does not answer.
func (b *Books) Turn(ctx context.Context) (func(), error) {
	wait, cancel := context.WithTimeout(ctx, courtesy)
	defer cancel()
	switch err := b.turns.take(wait); {
	case err == nil:
		return b.turns.give, nil
	case ctx.Err() != nil:
		return nil, From(ctx).explain(context.Cause(ctx))
	default:
		return func() {}, nil
	}
}
