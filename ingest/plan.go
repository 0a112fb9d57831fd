// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"

	"github.com/golang/snappy"

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

// payload is a compressed request for a member.
type payload struct {
	body  []byte
	proto protocol
}

// payloads builds the requests for the members of one batch, and builds the one for
// members that own everything only once. Not safe for concurrent use.
type payloads struct {
	batch *Batch
	whole []byte
}

// of returns the request that holds the series at the given positions. It is the
// body as it came when that is all of it. The bytes live as long as the batch.
func (p *payloads) of(part []uint32) payload {
	if len(part) == len(p.batch.valid) && p.batch.wire != nil {
		return payload{p.batch.wire, p.batch.proto}
	}
	return payload{p.v1(part), protoV1}
}

// v1 is of in the form of remote write 1.0.
func (p *payloads) v1(part []uint32) []byte {
	if len(part) != len(p.batch.valid) {
		return p.batch.compress(part)
	}
	if p.whole == nil {
		p.whole = p.batch.wire
		if p.whole == nil || p.batch.proto != protoV1 {
			p.whole = p.batch.compress(part)
		}
	}
	return p.whole
}

// compress returns the request that holds the series at the given positions. Not
// safe for concurrent use.
func (b *Batch) compress(part []uint32) []byte {
	b.concat = b.appendRequest(b.concat[:0], part)
	return b.compressConcat()
}

// compressConcat compresses b.concat. The bytes live as long as the batch.
func (b *Batch) compressConcat() []byte {
	return b.owned(func(buf []byte) []byte {
		// Encode uses the capacity of buf when it is enough.
		return snappy.Encode(buf[:cap(buf)], b.concat)
	})
}
