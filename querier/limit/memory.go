// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"runtime"
	"time"
)

const (
	// queryShare of the memory limit in use ends the heaviest query. New series are refused from 80 % on and writes from 90 %:
	// queries go first.
	queryShare = 0.75
	// heldShare of the limit is the least that queries must hold in all, and heavyMin the heaviest of them, to be worth ending:
	// else it is not they who use the memory.
	heldShare = 0.05
	heavyMin  = 16 << 20
	// watchEvery is how often memory is looked at while there are queries. A query makes some 100 MB meanwhile.
	watchEvery = 50 * time.Millisecond
	// graceAfter is how long one that was ended has to go, before the next one is.
	graceAfter = 2 * time.Second
)

// Run ends the heaviest query when memory is short, until ctx ends.
func (b *Books) Run(ctx context.Context) error {
	if b.cfg.Memory == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w := watch{books: b}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if b.held.Load() > 0 || w.ended != nil {
			w.look(b.cfg.Memory())
		}
	}
}

// watch is what is remembered between two looks at memory.
type watch struct {
	books       *Books
	collections uint64
	heldThen    int64 // By queries, when garbage was last seen to have been collected.
	ended       *Account
	endedAt     time.Time
}

// look ends the heaviest query if need be. Memory is measured when garbage is collected; what queries have come to
// hold since is added.
func (w *watch) look(u Usage) {
	b := w.books
	held := b.held.Load()
	if u.Collections != w.collections {
		w.collections, w.heldThen = u.Collections, held
	}
	used := u.Bytes + max(held-w.heldThen, 0)
	if w.ended != nil && !w.gone(b) {
		return
	}
	if u.Limit <= 0 || float64(used) < queryShare*float64(u.Limit) || float64(held) < heldShare*float64(u.Limit) {
		return
	}
	a := b.heaviest()
	if a == nil {
		return
	}
	reason := tooHeavy(a.memory.Load(), used, u.Limit)
	_ = a.end(reason)
	w.ended, w.endedAt = a, b.cfg.Now()
	b.logger.Warn("query ended to free memory", append(a.attributes(), "used_bytes", used, "limit_bytes", u.Limit, "queries_hold_bytes", held)...)
}

// gone tells whether there is nothing to wait for any more after a query was ended: it has gone, and its memory was collected.
func (w *watch) gone(b *Books) bool {
	b.mu.Lock()
	_, open := b.open[w.ended.id]
	b.mu.Unlock()
	if open && b.cfg.Now().Sub(w.endedAt) < graceAfter {
		return false
	}
	if !open {
		runtime.GC() // What it held counts until then.
	}
	w.ended = nil
	return false // The next look has the measure of now.
}

// heaviest is the query that holds most, if that is worth anything and it is not ending already.
func (b *Books) heaviest() (most *Account) {
	for _, a := range b.accounts() {
		if m := a.memory.Load(); m >= heavyMin && a.reason() == nil && (most == nil || m > most.memory.Load()) {
			most = a
		}
	}
	return most
}
