// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"
)

const (
	// Slots is the number of equal parts of the hash space. 4096 keep the shares of
	// some hundred members within a few percent, in a table of 24 KiB at RF=3.
	Slots = 4096
	// slotBits is log2(Slots): the slot of a key is its top bits.
	slotBits = 12

	// HashVersion names how keys become slots and slots find their owners. All
	// members must share it, so any change of placement needs a new number.
	HashVersion = 1
)

// SlotOf returns the slot of a series key: its top 12 bits.
func SlotOf(key uint64) uint16 { return uint16(key >> (64 - slotBits)) }

// Ring maps every slot to its owners. It is immutable, and a pure function of
// the names and zones of the members and of the replication factor: every
// member computes the same one. Safe for concurrent use.
type Ring struct {
	members []Member
	rf      int
	width   int      // owners of each slot
	owners  []uint16 // Slots * width
	version uint64
}

// New places the slots on the members, in any order, rf copies each. An rf
// below 1 counts as 1; of members with one name the first by zone is used.
//
// Owners are found by rendezvous hashing: each member has a score for each
// slot, and the best win. Zones come first: the best member of every zone goes
// before the second-best of any. A member that joins can only push others down
// in these rankings, so slots move to the joiner and to nobody else; one that
// leaves gives its slots to the next and moves no other.
func New(members []Member, rf int) *Ring {
	r := &Ring{members: normalize(members), rf: max(rf, 1)}
	r.version = versionOf(r.members, r.rf)
	r.width = min(r.rf, len(r.members))
	r.owners = make([]uint16, 0, Slots*r.width)
	p := newPlacer(r.members)
	for slot := range uint16(Slots) {
		r.owners = p.place(r.owners, slot, r.width)
	}
	return r
}

// Owners returns the owners of a slot as indices into Members, best first. There
// are min(RF, number of members) of them. The slice is shared: do not modify it.
func (r *Ring) Owners(slot uint16) []uint16 {
	i := int(slot) * r.width
	return r.owners[i : i+r.width : i+r.width]
}

// Members returns the members sorted by name. The slice is shared: do not modify it.
func (r *Ring) Members() []Member { return r.members }

// RF returns the configured replication factor, which may exceed the number of members.
func (r *Ring) RF() int { return r.rf }

// Version is a hash of what the placement depends on. Two members with the same
// version place every series alike.
func (r *Ring) Version() uint64 { return r.version }

// with returns the ring of the given members. When only states or addresses
// differ from r, the placement is reused.
func (r *Ring) with(members []Member) *Ring {
	members = normalize(members)
	if versionOf(members, r.rf) != r.version {
		return New(members, r.rf)
	}
	next := *r
	next.members = members
	return &next
}

// slotCounts returns how many slots each member owns.
func (r *Ring) slotCounts() []int {
	counts := make([]int, len(r.members))
	for _, m := range r.owners {
		counts[m]++
	}
	return counts
}

// normalize returns a sorted copy without duplicate names.
func normalize(members []Member) []Member {
	sorted := slices.Clone(members)
	slices.SortFunc(sorted, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Zone, b.Zone))
	})
	return slices.CompactFunc(sorted, func(a, b Member) bool { return a.Name == b.Name })
}

// versionOf hashes the input of the placement. Lengths go before the strings, so
// that no two member sets run into the same bytes.
func versionOf(sorted []Member, rf int) uint64 {
	var buf []byte
	for _, n := range []int{HashVersion, Slots, rf, len(sorted)} {
		buf = binary.AppendUvarint(buf, uint64(n))
	}
	for _, m := range sorted {
		buf = appendString(appendString(buf, m.Name), m.Zone)
	}
	return xxhash.Sum64(buf)
}

func appendString(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}
