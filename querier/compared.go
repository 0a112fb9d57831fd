// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// compared tells of the series of one set which have the very chunks that a peer's copy has: they add nothing, and are left out. Most do.
//
// The answer is put in the order of labels afterwards, but this member's samples lie in memory in the order in which its set gives
// them. In another order to read them takes twice as long.
type compared struct {
	on bool
	it chunks.Iterator
	// equal and differ count. A member that was away for a while has other chunks for two hours, and all of them are read again.
	equal, differ int
}

// differBegin is how many more copies may differ than are equal before no more are looked at.
const differBegin = 64

// atHand tells whether the chunks of a set are in memory, or mapped: those of a peer's answer and of this member.
func atHand(set storage.ChunkSeriesSet) bool {
	switch set.(type) {
	case *bufferedSet, boundedChunks:
		return true
	default:
		return false
	}
}

// same tells whether a copy has the chunks that a peer's has.
func (c *compared) same(first, copied storage.ChunkSeries) bool {
	peers, ok := first.(*bufferedSeries)
	if !ok || !c.on || c.differ > differBegin+c.equal {
		return false
	}
	equal := false
	if other, ok := copied.(*bufferedSeries); ok {
		equal = sameChunks(peers.chunks, other.chunks)
	} else {
		equal = c.sameRead(peers.chunks, copied)
	}
	if equal {
		c.equal++
	} else {
		c.differ++
	}
	return equal
}

func sameChunks(a, b []chunks.Meta) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameChunk(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// sameRead reads a copy as far as it is the same. What fails is read again later, and fails then.
func (c *compared) sameRead(want []chunks.Meta, copied storage.ChunkSeries) bool {
	c.it = copied.Iterator(c.it)
	n := 0
	for ; c.it.Next(); n++ {
		meta := c.it.At()
		if n >= len(want) || !sameChunk(&want[n], &meta) {
			return false
		}
	}
	return n == len(want) && c.it.Err() == nil
}
