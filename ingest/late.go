// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"sync"

	"github.com/zeebo/xxh3"
)

// An owner that is too slow for the answer gets a hint, and most of the time it has
// taken the write a moment later. Its hint would deliver samples that are old by then,
// which costs the owner several times what new ones do, at a moment when it is slow
// already. So whoever hears the late answer says that the hint need not be sent.
// That lives in memory only: after a restart it is sent, and changes nothing.

// deliveredMax bounds the hints that are remembered as delivered. One more is sent
// for nothing.
const deliveredMax = 10_000

// hintKey names a hint of a member by its content.
type hintKey struct {
	member  string
	content labelHash
}

func hintKeyOf(member string, payload []byte) hintKey {
	h := xxh3.Hash128(payload)
	return hintKey{member, labelHash{h.Hi, h.Lo}}
}

// deliveredHints are hints in the log whose owner has the series. Safe for concurrent
// use.
type deliveredHints struct {
	mu   sync.Mutex
	keys map[hintKey]struct{}
}

func (d *deliveredHints) add(k hintKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys == nil {
		d.keys = map[hintKey]struct{}{}
	}
	if len(d.keys) < deliveredMax {
		d.keys[k] = struct{}{}
	}
}

// take tells whether the hint need not be sent, and forgets it.
func (d *deliveredHints) take(k hintKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.keys[k]
	delete(d.keys, k)
	return ok
}

// lateAnswers brings together, for the owners of one request, the answers that came
// too late and the hints that were written meanwhile. Safe for concurrent use.
type lateAnswers struct {
	delivered *deliveredHints
	mu        sync.Mutex
	owners    []lateOwner // by share
}

type lateOwner struct {
	accepted bool // all of its share
	hinted   bool
	hint     hintKey
}

func newLateAnswers(d *deliveredHints, shares int) *lateAnswers {
	return &lateAnswers{delivered: d, owners: make([]lateOwner, shares)}
}

// answered notes what the owner of a share said, in time or not.
func (l *lateAnswers) answered(share int, r Reply) {
	if r.All != Accepted || len(r.Faults) > 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.owners[share]
	o.accepted = true
	l.settle(o)
}

// hinted notes the hint that was written for series of a share.
func (l *lateAnswers) hinted(share int, k hintKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.owners[share]
	o.hinted, o.hint = true, k
	l.settle(o)
}

func (l *lateAnswers) settle(o *lateOwner) {
	if o.accepted && o.hinted {
		l.delivered.add(o.hint)
	}
}
