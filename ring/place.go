// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// placer finds the owners of slots. It exists to reuse its scratch space over
// the 4096 slots of one ring; it is not safe for concurrent use.
type placer struct {
	members []Member
	zoneOf  []int // member -> number of its zone
	ranked  []candidate
	taken   []int // owners chosen so far in each zone
	key     []byte
}

type candidate struct {
	score  uint64
	member int
	chosen bool
}

func newPlacer(members []Member) *placer {
	p := &placer{members: members, zoneOf: make([]int, len(members)), ranked: make([]candidate, len(members))}
	zones := map[string]int{}
	for i, m := range members {
		if _, ok := zones[m.Zone]; !ok {
			zones[m.Zone] = len(zones)
		}
		p.zoneOf[i] = zones[m.Zone]
	}
	p.taken = make([]int, len(zones))
	return p
}

// place appends the n owners of a slot to dst. In round k every zone may give
// its k-th best member, in the order of their scores; so no zone gives a second
// copy before every zone gave a first.
func (p *placer) place(dst []uint16, slot uint16, n int) []uint16 {
	p.rank(slot)
	clear(p.taken)
	for round := 0; n > 0; round++ {
		for i := range p.ranked {
			c := &p.ranked[i]
			zone := p.zoneOf[c.member]
			if c.chosen || p.taken[zone] != round {
				continue
			}
			c.chosen = true
			p.taken[zone]++
			dst = append(dst, uint16(c.member))
			if n--; n == 0 {
				break
			}
		}
	}
	return dst
}

// rank orders the members by their score for the slot, best first.
func (p *placer) rank(slot uint16) {
	for i, m := range p.members {
		p.key = append(append(p.key[:0], m.Name...), byte(slot), byte(slot>>8))
		p.ranked[i] = candidate{score: xxhash.Sum64(p.key), member: i}
	}
	slices.SortFunc(p.ranked, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.member, b.member))
	})
}
