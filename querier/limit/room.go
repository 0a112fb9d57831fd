// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

const (
	// roomShare of the memory limit in use has one heavy query go on and the others make room for it. One of a million series takes about a
	// third of 4 GiB, and those that make room some more until they have.
	roomShare = 0.60
	// leastShare of the limit, or heavyMin if that is more, is what a query must hold to be worth stopping for room: all that may run
	// at a time are a fifth of the limit then.
	leastShare = 0.01
	// answerShare of the limit is what may be in use with the text of an answer. It is between queryShare and where writes are refused.
	answerShare = 0.85
)

// makeRoom has all heavy queries give way that can, but for the one that goes on.
func (b *Books) makeRoom(limit int64) {
	first := b.first()
	least := max(heavyMin, int64(leastShare*float64(limit)))
	for _, a := range b.accounts() {
		if t := a.trying.Load(); t != nil && a != first && a.memory.Load() >= least && t.tell() {
			b.logger.Info("query makes room for another", a.attributes()...)
		}
	}
}

// first is the query that goes on when memory is short: the one that did when it was last, or else the heaviest, which is mostly nearest to its
// end. Nil if none is worth it.
func (b *Books) first() *Account {
	a := b.heaviest(func(*Account) bool { return true })
	if a == nil {
		return nil
	}
	first := b.line.claim(a)
	if first == a && !b.isOpen(a) { // It has left before it came, and nobody else would.
		b.line.leave(a)
	}
	return first
}

// roomForAnswer has the query make room, or ends it, if there is no memory for the text of its answer, which it has asked for just now: nothing
// stops it while it is made. One that goes on while others wait has been made room for, and needs garbage to be collected at the most.
func (b *Books) roomForAnswer(a *Account, bytes int64) {
	full := func() (used, limit int64, full bool) {
		used, limit, _ = b.used()
		return used, limit, limit > 0 && float64(used) > answerShare*float64(limit)
	}
	if bytes < heavyMin {
		return
	}
	if _, _, isFull := full(); !isFull {
		a.answering.Store(true)
		return
	}
	others := b.heaviest(func(other *Account) bool { return other != a }) != nil
	if t := a.trying.Load(); t != nil && others && !b.line.goesOn(a) {
		t.tell()
		return
	}
	b.collectNow()
	used, limit, isFull := full()
	switch {
	case !isFull:
		a.answering.Store(true)
	case !b.afterAnswer(a):
		_ = a.end(noRoom(bytes, used, limit))
	}
}

// afterAnswer has a query that goes on make room for an answer that is being made or sent, if there is one, and go on after it: there will be room
// then. It is not ended for it.
func (b *Books) afterAnswer(a *Account) bool {
	t := a.trying.Load()
	if t == nil {
		return false
	}
	other := b.heaviest(func(a *Account) bool { return a.answering.Load() })
	if other == nil {
		return false
	}
	b.line.handOver(a, other)
	if !b.isOpen(other) {
		b.line.leave(other)
	}
	return t.tell()
}
