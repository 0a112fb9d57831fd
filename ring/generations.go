// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

// A member whose data directory is new, under a name that had another one before, lacks
// what that one held. The member itself cannot know: its disk is empty. The others
// remember the former generation, and tell by the fields Replaced and Ended of their
// records. Both are maxima of what anybody ever saw, so members that exchange records
// in any order and number end with the same ones.

// after returns r, knowing of other, another record of the same member.
func (r Record) after(other Record) Record {
	switch {
	case other.Generation == r.Generation:
	case other.State == Left:
		// All that it should have held is in the bucket, and is asked for there.
		r.Ended = max(r.Ended, other.Generation)
	default:
		r.Replaced = max(r.Replaced, other.Generation)
	}
	r.Settled = r.Newcomer && (r.settled() || other.settled())
	r.Ended = max(r.Ended, other.Ended)
	if r.Replaced = max(r.Replaced, other.Replaced); r.Replaced <= r.Ended {
		r.Replaced = 0
	}
	return r
}

// settled is MemberStatus.Settled. A member of a version that did not know of newcomers is none: it
// takes writes as soon as it starts.
func (r Record) settled() bool { return r.Settled || !r.Newcomer }
