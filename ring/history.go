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

// History is what one member knows of all members, dead ones included, and the pure
// core of membership: it does no I/O and reads no clock, and every time it is given is
// of the clock of its member. The caller serialises access.
//
// Cluster feeds it from memberlist: Seen and Lost by the failure detector, Merge with
// the Snapshot of another member, Forget and Expire once a second; and publishes View.
type History struct {
	self    string
	rf      int
	records map[string]Record
	alive   map[string]bool
	ring    *Ring
	// watching is since when this member has been up and in the majority without a
	// break: a time in which it could not have seen a member does not count against
	// that member.
	watching time.Time
	minority time.Time // not in the majority since; zero while in it
	// met is whether this member has seen a majority of more than itself since it started.
	met bool
	// stopped and resumed are when this member last stood still, and when it went on. Zero
	// once what it believes of others is newer than that.
	stopped, resumed time.Time
}

// NewHistory returns the history of a member that starts at self.LastSeen, with what
// it knew when it stopped. rf is the replication factor.
func NewHistory(self Record, known []Record, rf int) *History {
	h := &History{self: self.Name, rf: rf, records: map[string]Record{}, alive: map[string]bool{}, watching: self.LastSeen}
	for _, r := range known {
		h.records[r.Name] = r
		if r.Name == self.Name {
			self = self.after(r)
		}
	}
	h.records[self.Name] = self
	h.alive[self.Name] = true
	if !h.majority() {
		h.minority = longAgo
	}
	return h
}

// longAgo is since when a member that starts is in the minority, until it sees a majority
// of those that it knows. When it last saw one, before it stopped, is not known: were it
// given time again with each start, it could go on alone for as long as it is restarted.
// With a new disk it knows nobody, and learns from those that it finds who is missing: how
// long they have been on the smaller side is not known either.
var longAgo = time.Unix(0, 0).UTC()

// staleMax is how long after a standstill a member may believe in others that went away
// meanwhile. With memberlist's settings for a LAN a suspect that nobody else suspects is dead after
// 24 s, a probe after the first.
const staleMax = time.Minute

// View returns how the cluster looks at now. It must be called after every change,
// because it is what notes when this member loses and regains the majority.
func (h *History) View(now time.Time) *View {
	switch majority := h.majority(); {
	case majority && !h.minority.IsZero():
		h.minority, h.watching, h.met = time.Time{}, now, true
		h.stopped, h.resumed = time.Time{}, time.Time{}
	case majority:
		h.met = h.met || h.others()
	case h.minority.IsZero() && h.met:
		h.minority = h.inMajorityUntil(now)
	case h.minority.IsZero():
		h.minority = longAgo
	}
	if members := h.ringMembers(); h.ring == nil {
		h.ring = New(members, h.rf)
	} else {
		h.ring = h.ring.with(members)
	}
	return &View{Self: h.self, Ring: h.ring, Members: h.statuses(now), MinoritySince: h.minority}
}

// Resume notes that this member did not run from stopped until now: what it believes of
// others is as old.
func (h *History) Resume(stopped, now time.Time) {
	h.watching, h.stopped, h.resumed = now, stopped, now
}

// inMajorityUntil is until when a member was in the majority that finds at now that it is not. Shortly
// after a standstill nobody knows whether the others went away during or after it.
func (h *History) inMajorityUntil(now time.Time) time.Time {
	if !h.resumed.IsZero() && now.Sub(h.resumed) < staleMax {
		return h.stopped
	}
	return now
}

// Seen notes a member that gossip says is alive. What it says of itself is the
// truth, but for two things: a generation that was LEFT stays LEFT, and which data
// directories it had before the others know.
func (h *History) Seen(r Record) {
	if old, ok := h.records[r.Name]; ok {
		if old.State == Left && old.Generation == r.Generation {
			r.State = Left
		}
		r = r.after(old)
	}
	r.ForgottenAt = time.Time{}
	h.records[r.Name] = r
	h.alive[r.Name] = true
}

// Lost notes that a member is dead or has stopped. It keeps its slots. Members that
// are unknown, and this one itself, are no news.
func (h *History) Lost(name string, now time.Time) {
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

// Merge takes the records of another member. For a member that is alive here, this one
// included, gossip knows better, except that it may be LEFT and which data directories it
// had before. It returns how many records did not fit. keep is the time of which a forgotten member must have been seen to be
// remembered still.
func (h *History) Merge(remote []Record, keep, now time.Time) (dropped int) {
	for _, r := range remote {
		r = r.clampTo(now)
		old, known := h.records[r.Name]
		switch {
		case expired(r, keep, now):
		case h.alive[r.Name]:
			h.records[r.Name] = h.ofLiving(old, r)
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

// ofLiving returns the record of a living member, having heard r. A data directory later
// than the one that is alive is not a former one: gossip tells of it soon, or it is a
// second node with the name of a living one, and then nothing that it says counts.
func (h *History) ofLiving(old, r Record) Record {
	if r.Generation > old.Generation {
		return old
	}
	if r.State == Left && r.Generation == old.Generation && r.Name != h.self {
		old.State = Left
	}
	return old.after(r)
}

// expired reports whether a record may be dropped: a LEFT member's after
// leftKeep, a forgotten member's when it was last seen before keep.
func expired(r Record, keep, now time.Time) bool {
	if r.State == Left {
		return now.Sub(r.LastSeen) > leftKeep
	}
	return r.forgotten() && r.LastSeen.Before(keep)
}

// Expire drops the records that are no longer of use and returns their names; keep is
// that of Merge.
func (h *History) Expire(keep, now time.Time) []string {
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
func (h *History) majority() bool {
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

// others reports whether any other member owns slots.
func (h *History) others() bool {
	for name, r := range h.records {
		if name != h.self && r.inRing() {
			return true
		}
	}
	return false
}

// Forget takes the slots from members that were dead for longer than after, and
// returns their names. Without a majority nobody is forgotten.
func (h *History) Forget(after time.Duration, now time.Time) []string {
	if !h.majority() {
		return nil
	}
	var names []string
	for _, name := range h.names() {
		r := h.records[name]
		deadSince := r.LastSeen
		if h.watching.After(deadSince) {
			deadSince = h.watching
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
func (h *History) ringMembers() []Member {
	var members []Member
	for _, name := range h.names() {
		if r := h.records[name]; r.inRing() {
			members = append(members, r.Member)
		}
	}
	return members
}

// statuses returns all members sorted by name, as of now.
func (h *History) statuses(now time.Time) []MemberStatus {
	statuses := make([]MemberStatus, 0, len(h.records))
	for _, r := range h.Snapshot(now) {
		statuses = append(statuses, MemberStatus{
			Member: r.Member, Alive: h.alive[r.Name], LastSeen: r.LastSeen, Forgotten: r.forgotten(),
			Replaced: r.Replaced, Ended: r.ended(), Settled: r.settled(),
		})
	}
	return statuses
}

// Snapshot returns all records sorted by name, for the file and for other members;
// those of living members say that they were seen now.
func (h *History) Snapshot(now time.Time) []Record {
	records := make([]Record, 0, len(h.records))
	for _, name := range h.names() {
		r := h.records[name]
		if h.alive[name] {
			r.LastSeen = now
		}
		records = append(records, r)
	}
	return records
}

// addrs returns the gossip addresses of members that may come back, and, by name, of the
// members that are alive.
func (h *History) addrs() (absent []string, present map[string]string) {
	present = map[string]string{}
	for _, name := range h.names() {
		switch r := h.records[name]; {
		case r.GossipAddr == "":
		case h.alive[name]:
			present[name] = r.GossipAddr
		case r.State != Left:
			absent = append(absent, r.GossipAddr)
		}
	}
	return absent, present
}

func (h *History) names() []string { return slices.Sorted(maps.Keys(h.records)) }
