// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/ring"
)

var zeroTime time.Time

// world is one run.
type world struct {
	plan   plan
	safety safety
	dir    string
	ctx    context.Context
	events *events
	net    *network
	ledger *ledger
	wg     sync.WaitGroup

	mu         sync.Mutex
	hosts      []*host
	hintsLost  int
	violations []violation
	grace      bool // Faults are over.
	crashes    map[crashKey]bool
	cutOff     map[string]time.Time // Members on the smaller side of a partition, and since when.

	faulty atomic.Int64  // Faults that are not over.
	losing chan struct{} // Held by the one fault at a time that takes data.
}

type crashKey struct {
	host, point string
	nth         int
}

// violation is a promise that was broken.
type violation struct {
	invariant string // As named in the package comment.
	detail    string
}

func (v violation) String() string { return v.invariant + ": " + v.detail }

func (w *world) violate(invariant, format string, args ...any) {
	v := violation{invariant, fmt.Sprintf(format, args...)}
	w.events.add("VIOLATION %s", v)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, v)
}

func (w *world) broken() []violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violations
}

func (w *world) allHosts() []*host {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts
}

func (w *world) host(name string) *host {
	for _, h := range w.allHosts() {
		if h.name == name {
			return h
		}
	}
	return nil
}

// addHost makes a new member; hosts is copied, because others read it without a lock.
func (w *world) addHost() *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.newHost(len(w.hosts) + 1)
	w.hosts = append(append([]*host(nil), w.hosts...), h)
	return h
}

// listening returns the process behind an address: name.run, or name.any.
func (w *world) listening(addr string) *process {
	name, run, _ := strings.Cut(addr, ".")
	h := w.host(name)
	if h == nil {
		return nil
	}
	p := h.current()
	if p == nil || run != "any" && p.addr != addr {
		return nil
	}
	return p
}

func (w *world) hostUp(name string) bool {
	h := w.host(name)
	return h != nil && !h.isOff()
}

// sleep returns false when the run ends.
func (w *world) sleep(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *world) background(f func()) { w.wg.Go(f) }

// hintLost notes that a promise to a third owner cannot be kept: the sample has its
// quorum and no more.
func (w *world) hintLost(at, member, why string) {
	w.events.add("%s loses hints for %q: %s", at, member, why)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hintsLost++
}

// wantsCrash is whether the plan kills a process when it passes a point the nth time.
func (w *world) wantsCrash(host, point string, nth int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.plan.crashes {
		if c.point == point && (c.host == "" || c.host == host) && nth >= c.nth && !w.grace && !w.crashes[c] {
			w.crashes[c] = true
			return true
		}
	}
	return false
}

// known is whether any other member has heard of a host. A disk that is lost before has
// lost nothing: nobody sent it anything.
func (w *world) known(name string) bool {
	for _, h := range w.allHosts() {
		h.mu.Lock()
		disk := h.disk
		h.mu.Unlock()
		disk.mu.Lock()
		heard := h.name != name && slices.ContainsFunc(disk.members, func(r ring.Record) bool { return r.Name == name })
		disk.mu.Unlock()
		if p := h.current(); p != nil && h.name != name {
			_, seen := p.members.View().Member(name)
			heard = heard || seen
		}
		if heard {
			return true
		}
	}
	return false
}

// repaired is whether every disk has been given back what it lost.
func (w *world) repaired() bool {
	for _, h := range w.allHosts() {
		if !h.repaired() {
			return false
		}
	}
	return true
}

// redundant is whether nothing is owed to anyone: every member is up, active, whole and
// seen by all others, and no hint waits.
func (w *world) redundant() bool {
	hosts := w.allHosts()
	if !w.repaired() {
		return false
	}
	for _, h := range hosts {
		p := h.current()
		if p == nil || p.paused() || !p.store.Ready() || p.store.isFailed() || len(p.log.Pending()) > 0 || len(p.log.Debts()) > 0 || p.disk.lossCount() > 0 || p.disk.newcomer.Load() {
			return false
		}
		view := p.members.View()
		for _, other := range hosts {
			m, known := view.Member(other.name)
			q := other.current()
			if !known || !m.Alive || m.Forgotten || !m.Whole() || q == nil || m.InternalAddr != q.addr || m.State.String() != "ACTIVE" {
				return false
			}
		}
	}
	return true
}
