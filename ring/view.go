// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"time"
)

// View is one consistent picture of the cluster, as this node sees it. It is
// immutable: load it once per request and use only it.
type View struct {
	// Self is the name of this node.
	Self string
	// Ring has the members that own slots: dead ones too, forgotten and LEFT ones not.
	Ring *Ring
	// Members has every member that is known, sorted by name: also the forgotten
	// ones, whose samples a query may miss, and the LEFT ones, which hold nothing
	// that is not in the bucket.
	Members []MemberStatus
	// MinoritySince is when this node last stopped seeing a majority of the members
	// of Ring alive; zero while it sees one, and long ago if it knew others when it
	// started and has not seen one since. A node that is in the minority for long must not go
	// on alone.
	MinoritySince time.Time
}

// Member returns the status of a member by name, and whether it is known.
func (v *View) Member(name string) (MemberStatus, bool) {
	for _, m := range v.Members {
		if m.Name == name {
			return m, true
		}
	}
	return MemberStatus{}, false
}

// Alive returns how many members of the ring are alive, this node included.
func (v *View) Alive() int {
	n := 0
	for _, m := range v.Members {
		if m.Alive && m.InRing() {
			n++
		}
	}
	return n
}

// VersionHex returns the ring version as people compare it: 16 hex digits.
func (v *View) VersionHex() string { return fmt.Sprintf("%016x", v.Ring.Version()) }
