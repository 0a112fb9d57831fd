// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// unorderedSet merges sets of copies in any order: to sort the series of a head costs each member as much as a third of reading
// them. It reads all sets when it is first moved, and puts what they have together in order once.
type unorderedSet struct {
	sets []storage.ChunkSeriesSet
	env  *mergeEnv

	newest int64     // None of the sets has a sample after it.
	series []*series // Nil before the first move.
	next   int
}

func newUnorderedSet(sets []storage.ChunkSeriesSet, env *mergeEnv) *unorderedSet {
	return &unorderedSet{sets: sets, env: env, newest: newestIn(sets)}
}

// Next moves to the next label set.
func (u *unorderedSet) Next() bool {
	if u.series == nil {
		u.collect()
		u.next = -1
	}
	u.next++
	return u.next < len(u.series)
}

// collect finds the copies of each label set. When a set fails there are no series: a merge without it would be short.
//
// Answers of peers come first: their labels are at hand as they are in messages, so that nothing has to be kept to find the copies of others.
func (u *unorderedSet) collect() {
	u.series = []*series{}
	most := 0
	ordered := make([]storage.ChunkSeriesSet, 0, len(u.sets))
	for _, set := range u.sets {
		if b, ok := set.(*bufferedSet); ok {
			ordered, most = append(ordered, set), max(most, len(b.series))
		}
	}
	for _, set := range u.sets {
		if _, ok := set.(*bufferedSet); !ok {
			ordered = append(ordered, set)
		}
	}
	c := newCollector(u.env, len(u.sets), most)
	for _, set := range ordered {
		c.compared = compared{on: atHand(set)}
		for set.Next() {
			c.add(set.At())
		}
		if set.Err() != nil {
			return
		}
	}
	u.series = inOrder(c.done())
}

// collector is what collect has found. Series are told apart by their labels as they are in messages.
type collector struct {
	env    *mergeEnv
	sets   int
	series []*series
	wires  []string // By series: its labels.
	byWire map[string]int
	last   int // The series of which a copy was added last. Holders mostly have them in the same order.

	encoded  []byte // The labels of a copy that is not from a message.
	compared compared
	// Where many live, so that they need not be allocated one by one.
	slab  []series
	arena []storage.ChunkSeries
}

// newCollector returns one for the copies of so many sets, the largest of which is known to have most series.
func newCollector(env *mergeEnv, sets, most int) *collector {
	return &collector{
		env: env, sets: sets, last: -1,
		series: make([]*series, 0, most), wires: make([]string, 0, most), byWire: make(map[string]int, most),
	}
}

func (c *collector) add(copied storage.ChunkSeries) {
	var lset labels.Labels
	peers, _ := copied.(*bufferedSeries)
	fromPeer := peers != nil && peers.wire != nil
	var wire []byte
	if fromPeer {
		wire = peers.wire
	} else {
		lset = copied.Labels()
		c.encoded = appendLabels(c.encoded[:0], lset)
		wire = c.encoded
	}
	if i := c.find(wire); i >= 0 {
		s := c.series[i]
		if !c.compared.same(s.copies[0], copied) {
			s.copies = append(s.copies, copied)
		}
		if s.lset.IsEmpty() {
			s.lset = lset
		}
		c.last = i
		return
	}
	key := ""
	if fromPeer {
		key = text(wire) // Which lives as long as the series.
	} else {
		key = string(wire)
	}
	const perSlab = 256
	if len(c.slab) == cap(c.slab) {
		c.slab = make([]series, 0, perSlab)
		c.arena = make([]storage.ChunkSeries, perSlab*c.sets)
	}
	c.slab = append(c.slab, series{lset: lset, copies: append(c.arena[:0:c.sets], copied), env: c.env})
	c.arena = c.arena[c.sets:]
	c.last = len(c.series)
	c.byWire[key] = c.last
	c.series, c.wires = append(c.series, &c.slab[len(c.slab)-1]), append(c.wires, key)
}

// find returns the series with these labels, or -1.
func (c *collector) find(wire []byte) int {
	if i := c.last + 1; i < len(c.wires) && c.wires[i] == string(wire) {
		return i
	}
	if i, found := c.byWire[string(wire)]; found {
		return i
	}
	return -1
}

// done returns the series, and decodes the labels of those that only peers have.
func (c *collector) done() []*series {
	var builder labels.ScratchBuilder
	for _, s := range c.series {
		if peers, ok := s.copies[0].(*bufferedSeries); ok && s.lset.IsEmpty() && peers.wire != nil {
			s.lset = decodeLabels(peers.wire, &builder)
		}
	}
	return c.series
}

// At returns the current series. It stays valid.
func (u *unorderedSet) At() *series { return u.series[u.next] }

// Err returns the first failure of a set.
func (u *unorderedSet) Err() error { return errOf(u.sets) }

// Warnings returns those of all sets.
func (u *unorderedSet) Warnings() annotations.Annotations { return warningsOf(u.sets) }
