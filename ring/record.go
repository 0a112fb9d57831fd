// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"cmp"
	"time"
)

// Record is what is known of one member, whether it is alive or not. Members
// exchange records, and the newest wins.
type Record struct {
	Member
	// GossipAddr is where the member last gossiped, for the re-join loop.
	GossipAddr string `json:"gossipAddr"`
	// LastSeen is when the author of the record last knew the member to be alive.
	LastSeen time.Time `json:"lastSeen"`
	// ForgottenAt is when a member was forgotten; zero if it was not.
	ForgottenAt time.Time `json:"forgottenAt,omitzero"`
	// Replaced is the latest generation of this name, other than Member.Generation, that
	// was seen and did not end in LEFT; Ended the latest that did. A Replaced before Ended
	// is 0, as are both in a record of the first versions.
	Replaced uint64 `json:"replaced,omitempty"`
	Ended    uint64 `json:"ended,omitempty"`
	// Settled is set in the record of a Newcomer if another data directory of this name was none.
	Settled bool `json:"settled,omitempty"`
}

func (r Record) forgotten() bool { return !r.ForgottenAt.IsZero() }

func (r Record) inRing() bool { return r.State != Left && !r.forgotten() }

// ended is Ended, with the data directory that the record is of.
func (r Record) ended() uint64 {
	if r.State == Left {
		return max(r.Ended, r.Generation)
	}
	return r.Ended
}

// stamp is the age of the news in a record. A forgotten member is news of the
// time of forgetting: only a later sighting overrules it.
func (r Record) stamp() time.Time {
	if r.forgotten() {
		return r.ForgottenAt
	}
	return r.LastSeen
}

// newest returns the record to believe of two about the same member. It is the
// maximum in a total order, so members that exchange records in any order and
// number end with the same ones:
//
//   - a later data directory goes before an earlier one;
//   - LEFT is the end of a generation: nothing brings it back;
//   - then the later news; then the rest, only to be definite.
//
// What both know of former data directories goes with it.
func newest(a, b Record) Record {
	if compareRecords(a, b) < 0 {
		a, b = b, a
	}
	return a.after(b)
}

func compareRecords(a, b Record) int {
	return cmp.Or(
		cmp.Compare(a.Generation, b.Generation),
		compareBool(a.State == Left, b.State == Left),
		a.stamp().Compare(b.stamp()),
		compareBool(a.forgotten(), b.forgotten()),
		a.LastSeen.Compare(b.LastSeen),
		cmp.Compare(a.State, b.State),
		cmp.Compare(a.Zone, b.Zone),
		cmp.Compare(a.InternalAddr, b.InternalAddr),
		cmp.Compare(a.HTTPAddr, b.HTTPAddr),
		cmp.Compare(a.GossipAddr, b.GossipAddr),
		compareBool(a.Holes, b.Holes),
		cmp.Compare(b.Refilled, a.Refilled),
		compareBool(b.Newcomer, a.Newcomer),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}
