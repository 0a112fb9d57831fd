// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
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
	// graceAfter is for how long one that was ended or makes room is taken to have gone, whether it has or not.
	graceAfter = 2 * time.Second
	// collectEvery bounds how often garbage is collected for queries that were ended.
	collectEvery = time.Second
)

// Run has queries make room for the heaviest when memory is short, and ends that one if there still is none, until ctx ends.
func (b *Books) Run(ctx context.Context) error {
	if b.cfg.Memory == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	w := watch{books: b}
	defer w.collections.Wait()
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
type measure struct {
	used, limit, held int64
	collections       uint64
}

// measure takes up what the process uses.
func (b *Books) measure(u Usage, held int64) {
	b.measured.Store(&measure{used: u.Bytes, limit: u.Limit, held: held, collections: u.Collections})
}

// used estimates what the process uses now: what was measured, what queries have come to hold since or no longer hold, and without
// those that were just ended or told to make room. The limit is 0 if there is none.
func (b *Books) used() (used, limit, held int64) {
	m := b.measured.Load()
	if m == nil {
		return 0, 0, 0
	}
	held = b.held.Load()
	used = m.used + held - m.held
	graceSince := b.cfg.Now().Add(-graceAfter).UnixNano()
	for _, a := range b.accounts() {
		if a.ended.Load() != nil && a.endedAt.Load() > graceSince || a.toldAt.Load() > graceSince {
			used -= a.memory.Load()
			held -= a.memory.Load()
		}
	}
	return used, m.limit, held
}

// watch is what is remembered between two looks at memory.
type watch struct {
	books *Books
	ended []*Account // Whose memory was not collected yet.

	began                 time.Time      // When we had garbage collected last.
	collecting, collected atomic.Bool    // It is under way, or has ended and nobody has looked since.
	collections           sync.WaitGroup // Of ours, under way.
}

// look has queries make room, and ends the heaviest, as many as need be.
func (w *watch) look(u Usage) {
	b := w.books
	justCollected := w.collected.Swap(false)
	held := b.held.Load()
	if m := b.measured.Load(); m != nil && m.collections == u.Collections {
		held = m.held
	}
	b.measure(u, held)
	if _, limit, _, short := b.short(roomShare); short {
		b.makeRoom(limit)
	}
	for {
		used, limit, held, short := b.short(queryShare)
		if !short || w.unsure(justCollected) {
			break
		}
		a := b.heaviest(func(a *Account) bool { return !a.answering.Load() }) // To make the text of an answer does not stop.
		if a == nil {
			break
		}
		if b.afterAnswer(a) {
			continue
		}
		_ = a.end(tooHeavy(a.memory.Load(), used, limit))
		w.ended = append(w.ended, a)
		b.logger.Warn("query ended to free memory", append(a.attributes(), "used_bytes", used, "limit_bytes", limit, "queries_hold_bytes", held)...)
	}
	w.collectGone()
}

// short tells whether more than a share of the limit is used, and queries have a part in it.
func (b *Books) short(share float64) (used, limit, held int64, short bool) {
	used, limit, held = b.used()
	return used, limit, held, limit > 0 && float64(used) >= share*float64(limit) && float64(held) >= heldShare*float64(limit)
}

// unsure tells whether nobody is to be ended yet, because a heavy query has gone or given up what it held, which was more than was booked: then garbage
// is collected first. What happens meanwhile is decided upon when that has ended, so that it puts off an end once.
func (w *watch) unsure(justCollected bool) bool {
	if w.collecting.Load() {
		return true
	}
	if justCollected || !w.books.freed.Load() {
		return false
	}
	w.collect()
	return true
}

// collectGone has garbage collected when queries that were ended have gone: what they held is counted as used until then.
func (w *watch) collectGone() {
	gone := slices.DeleteFunc(slices.Clone(w.ended), w.books.isOpen)
	if len(gone) == 0 || w.collecting.Load() || w.books.cfg.Now().Sub(w.began) < collectEvery {
		return
	}
	w.ended = slices.DeleteFunc(w.ended, func(a *Account) bool { return slices.Contains(gone, a) })
	w.collect()
}

// collect has garbage collected, and does not wait for it, which may take seconds. It must not be under way.
func (w *watch) collect() {
	w.began = w.books.cfg.Now()
	w.collecting.Store(true)
	w.collections.Go(func() {
		w.books.collectNow()
		w.collected.Store(true)
		w.collecting.Store(false)
	})
}

func (b *Books) isOpen(a *Account) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, open := b.open[a.id]
	return open
}

// collectNow has garbage collected, and measures what is left. What goes meanwhile is counted as used, and as held then.
func (b *Books) collectNow() {
	b.freed.Store(false)
	held := b.held.Load()
	runtime.GC()
	if b.cfg.Memory != nil {
		b.measure(b.cfg.Memory(), max(held, b.held.Load()))
	}
}

// heaviest is the query of some that holds most, if that is worth anything and it is not ending or making room already.
func (b *Books) heaviest(of func(*Account) bool) (most *Account) {
	graceSince := b.cfg.Now().Add(-graceAfter).UnixNano()
	for _, a := range b.accounts() {
		m := a.memory.Load()
		if m >= heavyMin && a.ended.Load() == nil && a.toldAt.Load() <= graceSince && of(a) && (most == nil || m > most.memory.Load()) {
			most = a
		}
	}
	return most
}
