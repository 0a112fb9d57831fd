// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComplete(t *testing.T) {
	f := func(zones string, rf int, missing string, want bool) {
		t.Helper()
		members := make([]Member, len(zones))
		lost := make([]bool, len(zones))
		for i, z := range zones {
			members[i] = Member{Name: fmt.Sprint(i), Zone: string(z)}
			lost[i] = missing[i] == 'x'
		}
		require.Equal(t, want, complete(members, rf, lost), "zones %s rf %d missing %s", zones, rf, missing)
	}
	// zones, rf, missing, complete?
	f("-", 1, ".", true)
	f("-", 1, "x", false)
	f("--", 1, ".x", false)
	f("ab", 1, ".x", false) // Every zone is enough for RF 1, and none may be lost.
	f("--", 2, "..", true)
	f("--", 2, ".x", false)
	f("ab", 2, ".x", true) // One zone of two.
	f("abb", 2, ".xx", true)
	f("---", 3, "...", true)
	f("---", 3, "..x", true)
	f("---", 3, ".xx", false)
	f("abc", 3, ".xx", false)
	f("aabbcc", 3, "..xx..", true)
	f("aabbcc", 3, "..xxx.", false)
	f("aabbb", 3, "..xx.", false) // Fewer zones than copies: a zone holds more than one.
	f("------", 3, "x.....", true)
	f("------", 3, "xx....", false)
	f("----", 4, "x...", true)
	f("----", 4, "xx..", false)
	f("-----", 5, "xx...", true)
	f("-----", 5, "xxx..", false)
	// Members never heard of.
	f("-", 3, ".", false)
	f("--", 3, "..", true)
	f("--", 3, ".x", true)
	f("--", 5, "..", false)
}

// TestCompleteIsSound checks the rule against what it promises, for every cluster of up to six members in up to
// three zones, every RF up to five and every set of missing members: wherever it says "complete", any W owners
// that the ring may have chosen and that have acknowledged a sample include one that is not missing.
func TestCompleteIsSound(t *testing.T) {
	said := 0
	for n := 1; n <= 6; n++ {
		for zoning := range pow(3, n) {
			members := make([]Member, n)
			for i, z := 0, zoning; i < n; i, z = i+1, z/3 {
				members[i] = Member{Name: fmt.Sprint(i), Zone: string(rune('a' + z%3))}
			}
			for rf := 1; rf <= 5; rf++ {
				for missing := range 1 << n {
					if !complete(members, rf, flags(missing, n)) {
						continue
					}
					said++
					if acked, lost := canLose(members, rf, missing); lost {
						t.Fatalf("members %v rf %d missing %06b: said to be complete, but owners %06b may be all that hold a sample", members, rf, missing, acked)
					}
					for i := range n { // One less missing is complete too.
						require.True(t, missing&(1<<i) == 0 || complete(members, rf, flags(missing&^(1<<i), n)))
					}
				}
			}
		}
	}
	require.Greater(t, said, 10_000)
}

// canLose returns a set of W owners that are all missing, if the ring may choose one.
func canLose(members []Member, rf, missing int) (int, bool) {
	n := len(members)
	zones := map[string]bool{}
	for _, m := range members {
		zones[m.Zone] = true
	}
	for owners := range 1 << n {
		if bits.OnesCount(uint(owners)) != min(rf, n) || len(zones) >= rf && !distinctZones(members, owners) {
			continue
		}
		for acked := owners; acked > 0; acked = (acked - 1) & owners {
			if bits.OnesCount(uint(acked)) == quorum(rf) && acked&^missing == 0 {
				return acked, true
			}
		}
	}
	return 0, false
}

func distinctZones(members []Member, owners int) bool {
	seen := map[string]bool{}
	for i, m := range members {
		if owners&(1<<i) == 0 {
			continue
		}
		if seen[m.Zone] {
			return false
		}
		seen[m.Zone] = true
	}
	return true
}

func flags(set, n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = set&(1<<i) != 0
	}
	return out
}

func pow(base, exp int) int {
	n := 1
	for range exp {
		n *= base
	}
	return n
}
