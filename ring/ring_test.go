// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// propertySeeds keep the property tests the same from run to run; a failure
// names its seed.
var propertySeeds = []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

// randomMembers returns 1 to 12 members in 0 (all without a zone) to 5 zones.
func randomMembers(rng *rand.Rand) []Member {
	zones := rng.IntN(6)
	members := make([]Member, 1+rng.IntN(12))
	for i := range members {
		members[i].Name = fmt.Sprintf("member-%d-%x", i, rng.Uint32())
		if zones > 0 {
			members[i].Zone = fmt.Sprintf("zone-%d", rng.IntN(zones))
		}
	}
	return members
}

func forSeeds(t *testing.T, f func(t *testing.T, rng *rand.Rand)) {
	for _, seed := range propertySeeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			f(t, rand.New(rand.NewPCG(seed, 0)))
		})
	}
}

func ownerNames(r *Ring, slot uint16) []string {
	var names []string
	for _, i := range r.Owners(slot) {
		names = append(names, r.Members()[i].Name)
	}
	return names
}

func TestRingDoesNotDependOnOrder(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		members := randomMembers(rng)
		rf := 1 + rng.IntN(RFMax)
		want := New(members, rf)
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		got := New(append(members, members[0]), rf) // A member named twice counts once.
		require.Equal(t, want, got)
	})
}

func TestOwnersAreDistinctInDistinctZones(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		members := randomMembers(rng)
		zones := map[string]bool{}
		for _, m := range members {
			zones[m.Zone] = true
		}
		for rf := 1; rf <= RFMax; rf++ {
			r := New(members, rf)
			for slot := range uint16(Slots) {
				owners, used := map[uint16]bool{}, map[string]bool{}
				for _, o := range r.Owners(slot) {
					owners[o] = true
					used[r.Members()[o].Zone] = true
				}
				require.Len(t, owners, min(rf, len(members)), "rf %d slot %d", rf, slot)
				require.Len(t, used, min(rf, len(zones)), "rf %d slot %d", rf, slot)
			}
		}
	})
}

// A join may move slots only to the joiner, and about its share of them; since a
// leave is a join backwards, it moves only the leaver's slots.
func TestJoinMovesSlotsOnlyToTheJoiner(t *testing.T) {
	forSeeds(t, func(t *testing.T, rng *rand.Rand) {
		members := randomMembers(rng)
		for rf := 1; rf <= RFMax; rf++ {
			after := New(members, rf)
			for i, joiner := range members {
				before := New(slices.Delete(slices.Clone(members), i, i+1), rf)
				for slot := range uint16(Slots) {
					was, is := ownerNames(before, slot), ownerNames(after, slot)
					for _, name := range is {
						if name != joiner.Name && !slices.Contains(was, name) {
							t.Fatalf("rf %d slot %d: %v became %v as %q joined", rf, slot, was, is, joiner.Name)
						}
					}
				}
			}
		}
	})
}

// With equal zones every member holds the same share, within what 4096 throws of
// a die allow.
func TestBalance(t *testing.T) {
	f := func(members, zones, rf int) {
		t.Helper()
		var all []Member
		for i := range members {
			m := Member{Name: fmt.Sprintf("penstock-%d", i)}
			if zones > 0 {
				m.Zone = fmt.Sprintf("zone-%d", i%zones)
			}
			all = append(all, m)
		}
		want := float64(Slots*rf) / float64(members)
		for i, got := range New(all, rf).slotCounts() {
			require.InEpsilon(t, want, got, 0.12, "%d members, %d zones, rf %d: member %d", members, zones, rf, i)
		}
	}
	f(3, 0, 3)
	f(3, 3, 3)
	f(5, 0, 3)
	f(6, 3, 3)
	f(9, 3, 3)
	f(12, 3, 3)
	f(12, 4, 3)
	f(10, 5, 1)
	f(10, 0, 5)
	f(20, 2, 3)
}

func TestJoinMovesOneShare(t *testing.T) {
	var members []Member
	for n := 1; n <= 12; n++ {
		before := New(members, 3)
		joiner := fmt.Sprintf("penstock-%d", n)
		members = append(members, Member{Name: joiner})
		after := New(members, 3)
		require.NotEqual(t, before.Version(), after.Version())
		moved := after.slotCounts()[slices.IndexFunc(after.Members(), func(m Member) bool { return m.Name == joiner })]
		require.InEpsilon(t, min(Slots, Slots*3/n), moved, 0.12, "join of member %d", n)
	}
}

func TestRingEdges(t *testing.T) {
	empty := New(nil, 3)
	require.Empty(t, empty.Owners(0))
	require.Empty(t, empty.Members())
	require.Equal(t, 3, empty.RF())

	one := New([]Member{{Name: "a"}}, 0)
	require.Equal(t, 1, one.RF())
	require.Equal(t, []uint16{0}, one.Owners(Slots-1))

	require.Equal(t, uint16(0), SlotOf(0))
	require.Equal(t, uint16(Slots-1), SlotOf(^uint64(0)))
	require.Equal(t, uint16(1), SlotOf(1<<52))
}

func TestVersionCoversThePlacementAndNothingElse(t *testing.T) {
	base := []Member{{Name: "a", Zone: "x"}, {Name: "b", Zone: "y"}}
	version := New(base, 2).Version()
	f := func(same bool, rf int, members ...Member) {
		t.Helper()
		require.Equal(t, same, New(members, rf).Version() == version)
	}
	f(true, 2, Member{Name: "b", Zone: "y", State: Leaving, InternalAddr: "h:1", Generation: 7}, base[0])
	f(false, 3, base...)
	f(false, 2, base[0])
	f(false, 2, base[0], Member{Name: "b", Zone: "z"})
	f(false, 2, Member{Name: "ax", Zone: ""}, base[1])
}

// The placement is part of the protocol between members: it may change only with
// HashVersion.
func TestPlacementIsPinned(t *testing.T) {
	r := New([]Member{{Name: "a", Zone: "x"}, {Name: "b", Zone: "y"}, {Name: "c", Zone: "y"}, {Name: "d", Zone: "z"}}, 2)
	require.Equal(t, 1, HashVersion)
	require.Equal(t, uint64(0x4a39f0a204ecc30f), r.Version())
	var got []string
	for slot := range uint16(8) {
		got = append(got, fmt.Sprint(ownerNames(r, slot)))
	}
	require.Equal(t, []string{"[d c]", "[d a]", "[d b]", "[d b]", "[b a]", "[a c]", "[c d]", "[c d]"}, got)
}

func TestWithReusesThePlacement(t *testing.T) {
	members := []Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}
	old := New(members, 2)
	members[1].InternalAddr = "b:9095"
	same := old.with(members)
	require.Equal(t, "b:9095", same.Members()[1].InternalAddr)
	require.Empty(t, old.Members()[1].InternalAddr)
	require.Same(t, &old.owners[0], &same.owners[0])

	other := old.with(members[:2])
	require.Equal(t, New(members[:2], 2), other)
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{3, 12, 100} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			var members []Member
			for i := range n {
				members = append(members, Member{Name: fmt.Sprintf("penstock-%d", i), Zone: fmt.Sprint(i % 3)})
			}
			b.ReportAllocs()
			for b.Loop() {
				New(members, 3)
			}
		})
	}
}

func BenchmarkOwners(b *testing.B) {
	r := New([]Member{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}, 3)
	b.ReportAllocs()
	key, n := uint64(1), 0
	for b.Loop() {
		key *= 0x9e3779b97f4a7c15
		n += int(r.Owners(SlotOf(key))[0])
	}
	_ = n
}
