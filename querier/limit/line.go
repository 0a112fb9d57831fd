// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"container/list"
	"context"
	"sync"
)

// line is what queries stand in while memory is short. One goes on, which is never sent here; those that were stopped to make room for it wait,
// and hold nothing that anybody could wait for: no memory, no turn, no answer of a peer, no run that others share. So there is no
// deadlock: whenever somebody waits somebody goes on, that one ends by its timeout at the latest, and then the first in line goes on.
type line struct {
	mu    sync.Mutex
	first *Account  // Who goes on. Nil only while nobody waits.
	queue list.List // Of *place.
}

// place is one in a line.
type place struct {
	a  *Account
	on chan struct{} // Closed when it goes on.
}

// claim makes a the one that goes on if there is none. It returns who that is.
func (l *line) claim(a *Account) *Account {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == nil {
		l.first = a
	}
	return l.first
}

// goesOn tells whether a is the one that goes on.
func (l *line) goesOn(a *Account) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first == a
}

// wait returns when a goes on, first come first served, or with the cause when ctx ends. Either way a leaves.
func (l *line) wait(ctx context.Context, a *Account) error {
	l.mu.Lock()
	if l.first == nil || l.first == a {
		l.first = a
		l.mu.Unlock()
		return nil
	}
	mine := &place{a, make(chan struct{})}
	e := l.queue.PushBack(mine)
	l.mu.Unlock()
	select {
	case <-mine.on:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue.Remove(e) // It does nothing if a has been let go on at the same moment: then it leaves as one that goes on.
	return context.Cause(ctx)
}

// leave lets the next one go on if it was a's turn.
func (l *line) leave(a *Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first != a {
		return
	}
	l.first = nil
	if e := l.queue.Front(); e != nil {
		next := l.queue.Remove(e).(*place)
		l.first = next.a
		close(next.on)
	}
}

// handOver makes another the one that goes on in the place of a, if that is it.
func (l *line) handOver(a, to *Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first == a {
		l.first = to
	}
}

// waiting is how many wait.
func (l *line) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.Len()
}
