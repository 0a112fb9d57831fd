// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

// Member is what the read path must know of one member of the ring.
type Member struct {
	Name string
	Zone string // Empty is a zone like any other.
	URL  string // Base of its internal listener: "http://host:port". Not needed of Self.

	Self      bool // This process: asked directly, without HTTP.
	Alive     bool // Gossip reaches it.
	Serving   bool // ACTIVE or LEAVING: its data is all there. Not so while it replays or refills.
	Forgotten bool // Given up by the ring, while data may live on nowhere else.

	// Lacks says why the member holds less than it should; empty if it holds all. Such a member is asked, and
	// what it has is in the answer, but it is counted as missing.
	Lacks string
	// Excused is set where what the member lacks is accounted for elsewhere: whatever it says of that, it is not
	// counted as missing.
	Excused bool

	// Generation tells the data directory that the member has, as far as is known here; 0 is not known.
	Generation uint64
	// Replaced is the latest former one under its name whose data it should have; Refilled the latest whose
	// data it was given back.
	Replaced, Refilled uint64

	digest string // Of what is known here of all members; for the question.
}

// Gone is the data directory of a member that left for good, under a name that may have another since: what it held
// is in the bucket.
type Gone struct {
	Name       string
	Generation uint64
}

// absent returns why the member cannot be asked at all, or "".
func (m Member) absent() string {
	switch {
	case m.Forgotten:
		return "forgotten"
	case !m.Alive && !m.Self:
		return "unreachable"
	case !m.Serving:
		return "not serving yet"
	default:
		return ""
	}
}

// Membership is the cluster at one moment: every member that may hold samples
// nobody else has, the forgotten ones too.
type Membership struct {
	Members []Member
	RF      int // The configured replication factor, however many members there are.
	// CutOff is set when this process has been without a majority of the members for so long that they may have gone
	// on without it. Then no answer is complete.
	CutOff bool
	// Newcomer is set while this process, on a new disk, may not have heard of every other member, nor of what it had
	// before. Then no answer is complete either.
	Newcomer bool
	// PassedOn is when, in milliseconds, the last member left that is still remembered. One copy of what is older
	// went to the bucket with it, so that the bucket is asked for it. 0: none did.
	PassedOn int64
	// Gone are the members that left and are still remembered, at most one of a name.
	Gone []Gone
}

// alone returns whether this process is all there is, and has all that there is.
func (m Membership) alone() bool {
	return len(m.Members) == 1 && m.Members[0].Self && m.Members[0].Lacks == "" && !m.Newcomer
}

// Missing names a member without which a query had to be answered, and why.
type Missing struct {
	Name   string
	Reason string
}
