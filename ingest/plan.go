// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"

	"github.com/penstock-io/penstock/ring"
)

// plan says which owner gets which series of a batch.
type plan struct {
	shares []share
	// width is the number of owners of each series.
	width int
	ring  *ring.Ring
	// whole is set when every member owns every series, as in a ring of no more
	// members than copies. Then shares are in the order of the ring's members, their
	// parts are all valid series, and they have no ranks.
	whole bool
}

// share is the part of a batch that one member owns.
type share struct {
	member int // position in the ring's members
	part   []uint32
	// ranks are, beside each series of part, which of its owners the member is.
	ranks []uint8
}

// planMemory is what a plan points into; it belongs to the batch and is reused.
type planMemory struct {
	sizes  []int
	shares []share
	parts  []uint32
	ranks  []uint8
}

// group asks the ring for the owners of every valid series of the batch. The plan
// lives as long as the batch. Shares are in the order of the members, so that the
// plan is a function of its arguments.
func group(b *Batch, r *ring.Ring) plan {
	members := len(r.Members())
	p := plan{width: min(r.RF(), members), ring: r}
	m := &b.plan
	if p.whole = p.width == members; p.whole {
		m.shares = m.shares[:0]
		for member := range members {
			m.shares = append(m.shares, share{member: member, part: b.valid})
		}
		p.shares = m.shares
		return p
	}
	m.sizes = append(m.sizes[:0], make([]int, members)...)
	for _, i := range b.valid {
		for _, owner := range r.Owners(b.series[i].slot) {
			m.sizes[owner]++
		}
	}
	total := len(b.valid) * p.width
	m.parts = slices.Grow(m.parts[:0], total)[:total]
	m.ranks = slices.Grow(m.ranks[:0], total)[:total]
	m.shares = m.shares[:0]
	from := 0
	for member, size := range m.sizes {
		m.shares = append(m.shares, share{
			member: member,
			part:   m.parts[from : from : from+size],
			ranks:  m.ranks[from : from : from+size],
		})
		from += size
	}
	for _, i := range b.valid {
		for rank, owner := range r.Owners(b.series[i].slot) {
			s := &m.shares[owner]
			s.part = append(s.part, i)
			s.ranks = append(s.ranks, uint8(rank))
		}
	}
	p.shares = slices.DeleteFunc(m.shares, func(s share) bool { return len(s.part) == 0 })
	return p
}
