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

	series []*series // Nil before the first move.
	next   int
}

func newUnorderedSet(sets []storage.ChunkSeriesSet, env *mergeEnv) *unorderedSet {
	return &unorderedSet{sets: sets, env: env}
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
func (u *unorderedSet) collect() {
	u.series = []*series{}
	c := collector{env: u.env, sets: len(u.sets), latest: map[uint64]int{}}
	for _, set := range u.sets {
		for set.Next() {
			c.add(set.At())
		}
		if set.Err() != nil {
			return
		}
	}
	u.series = inOrder(c.series)
}

// collector is what collect has found.
type collector struct {
	env    *mergeEnv
	sets   int
	series []*series
	latest map[uint64]int // By hash: the last of the series that have it.
	before []int          // By series: the one before it with the same hash, or -1.

	// Where many live, so that they need not be allocated one by one.
	slab  []series
	arena []storage.ChunkSeries
}

func (c *collector) add(copied storage.ChunkSeries) {
	lset := copied.Labels()
	hash := lset.Hash()
	last, found := c.latest[hash]
	if !found {
		last = -1
	}
	for i := last; i >= 0; i = c.before[i] {
		if s := c.series[i]; labels.Equal(s.lset, lset) {
			s.copies = append(s.copies, copied)
			return
		}
	}
	const perSlab = 256
	if len(c.slab) == cap(c.slab) {
		c.slab = make([]series, 0, perSlab)
		c.arena = make([]storage.ChunkSeries, perSlab*c.sets)
	}
	c.slab = append(c.slab, series{lset: lset, copies: append(c.arena[:0:c.sets], copied), env: c.env})
	c.arena = c.arena[c.sets:]
	c.latest[hash] = len(c.series)
	c.series, c.before = append(c.series, &c.slab[len(c.slab)-1]), append(c.before, last)
}

// At returns the current series. It stays valid.
func (u *unorderedSet) At() *series { return u.series[u.next] }

// Err returns the first failure of a set.
func (u *unorderedSet) Err() error { return errOf(u.sets) }

// Warnings returns those of all sets.
func (u *unorderedSet) Warnings() annotations.Annotations { return warningsOf(u.sets) }
