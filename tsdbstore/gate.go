// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"sync"
)

// gate counts who uses a TSDB and refuses newcomers, so that it can be closed
// or cut while nobody is inside. Appends and reads are refused apart: a TSDB
// whose write log failed is still good to read.
//
// Whoever enters must leave. Safe for concurrent use.
type gate struct {
	mu      sync.Mutex
	appends door
	reads   door
	// changed is closed and replaced when somebody leaves while a drain waits.
	changed chan struct{}
	waiting int
}

// door is one kind of use.
type door struct {
	inside  int
	refusal error // nil: open
}

// newGate returns a gate that refuses all with err.
func newGate(err error) *gate {
	return &gate{appends: door{refusal: err}, reads: door{refusal: err}, changed: make(chan struct{})}
}

func (g *gate) enterAppend() error { return g.enter(&g.appends) }
func (g *gate) leaveAppend()       { g.leave(&g.appends) }
func (g *gate) enterRead() error   { return g.enter(&g.reads) }
func (g *gate) leaveRead()         { g.leave(&g.reads) }

// set makes both doors answer newcomers; nil admits them. Those inside stay.
func (g *gate) set(appends, reads error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.appends.refusal, g.reads.refusal = appends, reads
}

// refuseAppends closes the door for appends alone.
func (g *gate) refuseAppends(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.appends.refusal = err
}

// drainAppends waits until no append is inside.
func (g *gate) drainAppends(ctx context.Context) error {
	return g.drain(ctx, func() bool { return g.appends.inside == 0 })
}

// drainAll waits until nobody is inside.
func (g *gate) drainAll(ctx context.Context) error {
	return g.drain(ctx, func() bool { return g.appends.inside == 0 && g.reads.inside == 0 })
}

func (g *gate) drain(ctx context.Context, empty func() bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting++
	defer func() { g.waiting-- }()
	for !empty() {
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
			g.mu.Lock()
		case <-ctx.Done():
			g.mu.Lock()
			return context.Cause(ctx)
		}
	}
	return nil
}

func (g *gate) enter(d *door) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d.refusal != nil {
		return d.refusal
	}
	d.inside++
	return nil
}

func (g *gate) leave(d *door) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d.inside--
	if d.inside < 0 {
		panic("BUG: left a gate that was not entered")
	}
	if g.waiting > 0 {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}
