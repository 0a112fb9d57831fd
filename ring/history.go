// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"maps"
	"slices"
	"time"
)

const (
	// recordsMax bounds what other members can make this one remember. It is far
	// more than the members of a ring: there is room for years of renamed ones.
	recordsMax = 512
	// leftKeep is how long the tombstone of a LEFT member is kept. It must be longer
	// than any member may be away and come back believing that the other owns slots.
	leftKeep = 7 * 24 * time.Hour
)

// history is what this member knows of all members, dead ones included. It does
// no I/O and reads no clock; the caller serialises access.
type history struct {
	self    string
	records map[string]record
	alive   map[string]bool
}

func newHistory(self record, known []record) *history {
	h := &history{self: self.Name, records: map[string]record{}, alive: map[string]bool{}}
	for _, r := range known {
		h.records[r.Name] = r
	}
	h.records[self.Name] = self
	h.alive[self.Name] = true
	return h
}

// seen notes a member that gossip says is alive. What it says of itself is the
// truth, but for one thing: a generation that was LEFT stays LEFT.
func (h *history) seen(r record) {
	if old, ok := h.records[r.Name]; ok && old.State == Left && old.Generation == r.Generation {
		r.State = Left
	}
	r.ForgottenAt = time.Time{}
	h.records[r.Name] = r
	h.alive[r.Name] = true
}

// lost notes that a member is dead or has stopped. It keeps its slots.
func (h *history) lost(name string, now time.Time) {
	r, ok := h.records[name]
	if !ok || name == h.self {
		return
	}
	if h.alive[name] {
		r.LastSeen = now
		h.records[name] = r
	}
	delete(h.alive, name)
}

// merge takes the records of another member. For a member that is alive here
// gossip knows better, except that it may be LEFT. It returns how many records
// did not fit.
func (h *history) merge(remote []record, keep, now time.Time) (dropped int) {
	for _, r := range remote {
		r = r.clampTo(now)
		old, known := h.records[r.Name]
		switch {
		case r.Name == h.self || expired(r, keep, now):
		case h.alive[r.Name]:
			if r.State == Left && r.Generation == old.Generation {
				old.State = Left
				h.records[r.Name] = old
			}
		case known:
			h.records[r.Name] = newest(old, r)
		case len(h.records) >= recordsMax:
			dropped++
		default:
			h.records[r.Name] = r
		}
	}
	return dropped
}

// expired reports whether a record may be dropped: a LEFT member's after
// leftKeep, a forgotten member's when it was last seen before keep.
func expired(r record, keep, now time.Time) bool {
	if r.State == Left {
		return now.Sub(r.LastSeen) > leftKeep
	}
	return r.forgotten() && r.LastSeen.Before(keep)
}

// expire drops the records that are no longer of use and returns their names.
func (h *history) expire(keep, now time.Time) []string {
	var names []string
	for _, name := range h.names() {
		if r := h.records[name]; !h.alive[name] && expired(r, keep, now) {
			delete(h.records, name)
			names = append(names, name)
		}
	}
	return names
}

// majority reports whether more than half of the members that own slots are
// alive here.
func (h *history) majority() bool {
	alive, all := 0, 0
	for name, r := range h.records {
		if !r.inRing() {
			continue
		}
		all++
		if h.alive[name] {
			alive++
		}
	}
	return 2*alive > all
}

// forget takes the slots from members that were dead for longer than after, and
// returns their names. watching is since when this member has been up and seen a
// majority without a break: a time in which it could not have seen a member does
// not count against that member. Without a majority nobody is forgotten.
func (h *history) forget(after time.Duration, watching, now time.Time) []string {
	if !h.majority() {
		return nil
	}
	var names []string
	for _, name := range h.names() {
		r := h.records[name]
		deadSince := r.LastSeen
		if watching.After(deadSince) {
			deadSince = watching
		}
		if h.alive[name] || !r.inRing() || now.Sub(deadSince) < after {
			continue
		}
		r.ForgottenAt = now
		h.records[name] = r
		names = append(names, name)
	}
	return names
}

// ringMembers returns the members that own slots.
func (h *history) ringMembers() []Member {
	var members []Member
	for _, name := range h.names() {
		if r := h.records[name]; r.inRing() {
			members = append(members, r.Member)
		}
	}
	return members
}

// statuses returns all members sorted by name, as of now.
func (h *history) statuses(now time.Time) []MemberStatus {
	statuses := make([]MemberStatus, 0, len(h.records))
	for _, r := range h.snapshot(now) {
		statuses = append(statuses, MemberStatus{
			Member: r.Member, Alive: h.alive[r.Name], LastSeen: r.LastSeen, Forgotten: r.forgotten(),
		})
	}
	return statuses
}

// snapshot returns all records sorted by name; those of living members say that
// they were seen now.
func (h *history) snapshot(now time.Time) []record {
	records := make([]record, 0, len(h.records))
	for _, name := range h.names() {
		r := h.records[name]
		if h.alive[name] {
			r.LastSeen = now
		}
		records = append(records, r)
	}
	return records
}

// addrs returns the gossip addresses of members that may come back, and of the
// members that are alive.
func (h *history) addrs() (absent, present []string) {
	for _, name := range h.names() {
		switch r := h.records[name]; {
		case r.GossipAddr == "":
		case h.alive[name]:
			present = append(present, r.GossipAddr)
		case r.State != Left:
			absent = append(absent, r.GossipAddr)
		}
	}
	return absent, present
}

func (h *history) names() []string { return slices.Sorted(maps.Keys(h.records)) }
