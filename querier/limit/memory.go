// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"runtime"
	"slices"
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
	// graceAfter is for how long one that was ended is taken to have gone, whether it has or not.
	graceAfter = 2 * time.Second
	// collectEvery bounds how often garbage is collected for queries that were ended.
	collectEvery = time.Second
	// answerShare of the limit is what may be in use with the text of an answer. It is between that and where writes are refused.
	answerShare = 0.85
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
		if b.held.Load() > 0 || len(w.ended) > 0 {
			w.look(b.cfg.Memory())
		}
	}
}

// measure is what the process used when garbage was last collected, and what queries held then.
type measure struct{ used, limit, held int64 }

// used estimates what the process uses now: what was measured, what queries have come to hold since or no longer hold, and without
// those that were just ended. The limit is 0 if there is none.
func (b *Books) used() (used, limit, held int64) {
	m := b.measured.Load()
	if m == nil {
		return 0, 0, 0
	}
	held = b.held.Load()
	used = m.used + held - m.held
	now := b.cfg.Now().UnixNano()
	for _, a := range b.accounts() {
		if a.ended.Load() != nil && now-a.endedAt.Load() < int64(graceAfter) {
			used -= a.memory.Load()
			held -= a.memory.Load()
		}
	}
	return used, m.limit, held
}

// watch is what is remembered between two looks at memory.
type watch struct {
	books       *Books
	collections uint64
	held        int64      // By queries, when garbage was last seen to have been collected.
	ended       []*Account // Whose memory was not collected yet.
	collected   time.Time  // When we had that done last.
}

// look ends the heaviest queries, as many as need be.
func (w *watch) look(u Usage) {
	b := w.books
	if u.Collections != w.collections || b.measured.Load() == nil {
		w.collections, w.held = u.Collections, b.held.Load()
	}
	b.measured.Store(&measure{used: u.Bytes, limit: u.Limit, held: w.held})
	for {
		used, limit, held := b.used()
		if limit <= 0 || float64(used) < queryShare*float64(limit) || float64(held) < heldShare*float64(limit) {
			break
		}
		a := b.heaviest()
		if a == nil {
			break
		}
		_ = a.end(tooHeavy(a.memory.Load(), used, limit))
		w.ended = append(w.ended, a)
		b.logger.Warn("query ended to free memory", append(a.attributes(), "used_bytes", used, "limit_bytes", limit, "queries_hold_bytes", held)...)
	}
	w.collect()
}

// collect has garbage collected when queries that were ended have gone: what they held is counted as used until then.
func (w *watch) collect() {
	gone := slices.DeleteFunc(slices.Clone(w.ended), w.books.isOpen)
	if len(gone) == 0 || w.books.cfg.Now().Sub(w.collected) < collectEvery {
		return
	}
	runtime.GC()
	w.collected = w.books.cfg.Now()
	w.ended = slices.DeleteFunc(w.ended, func(a *Account) bool { return slices.Contains(gone, a) })
}

func (b *Books) isOpen(a *Account) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, open := b.open[a.id]
	return open
}

// roomForAnswer ends the query if there is no memory for the text of its answer, which it has asked for just now: nothing stops it
// while it is made.
func (b *Books) roomForAnswer(a *Account, bytes int64) {
	if bytes < heavyMin {
		return
	}
	if used, limit, _ := b.used(); limit > 0 && float64(used) > answerShare*float64(limit) {
		_ = a.end(noRoom(bytes, used, limit))
	}
}

// heaviest is the query that holds most, if that is worth anything and it is not ending already.
func (b *Books) heaviest() (most *Account) {
	for _, a := range b.accounts() {
		if m := a.memory.Load(); m >= heavyMin && a.ended.Load() == nil && (most == nil || m > most.memory.Load()) {
			most = a
		}
	}
	return most
}
