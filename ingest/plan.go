// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/golang/snappy"

	"github.com/penstock-io/penstock/ring"
)

// plan says which owner gets which series of a batch.
type plan struct {
	shares []share
	// width is the number of owners of each series.
	width int
}

// share is the part of a batch that one member owns.
type share struct {
	member int // position in the ring's members
	part   []uint32
	// ranks are, beside each series of part, which of its owners the member is.
	ranks []uint8
}

// group asks the ring for the owners of every valid series of the batch.
func group(b *Batch, r *ring.Ring) plan {
	members := len(r.Members())
	p := plan{width: min(r.RF(), members)}
	// Shares in the order of the members, so that the plan is a function of its
	// arguments; most requests have a share for each member.
	shares := make([]share, members)
	capacity := len(b.valid) * p.width / max(members, 1)
	for _, i := range b.valid {
		for rank, m := range r.Owners(ring.SlotOf(b.series[i].key)) {
			s := &shares[m]
			if s.part == nil {
				s.part = make([]uint32, 0, capacity+1)
				s.ranks = make([]uint8, 0, capacity+1)
			}
			s.part = append(s.part, i)
			s.ranks = append(s.ranks, uint8(rank))
		}
	}
	for m := range shares {
		if len(shares[m].part) > 0 {
			shares[m].member = m
			p.shares = append(p.shares, shares[m])
		}
	}
	return p
}

// payloads builds the compressed requests of one batch, and builds the one for
// members that own everything only once.
type payloads struct {
	batch *Batch
	whole []byte
}

// of returns the request that holds the series at the given positions. It is the
// body as it came when that is all of it. The bytes live as long as the batch.
func (p *payloads) of(part []uint32) []byte {
	if len(part) != len(p.batch.valid) {
		return p.batch.compress(part)
	}
	if p.whole == nil {
		p.whole = p.batch.wire
		if p.whole == nil {
			p.whole = p.batch.compress(part)
		}
	}
	return p.whole
}

// compress returns the request that holds the series at the given positions. Not
// safe for concurrent use.
func (b *Batch) compress(part []uint32) []byte {
	b.concat = b.appendRequest(b.concat[:0], part)
	return b.owned(func(buf []byte) []byte {
		// Encode uses the capacity of buf when it is enough.
		return snappy.Encode(buf[:cap(buf)], b.concat)
	})
}
