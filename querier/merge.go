// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// seriesSource is a sorted set of merged series, to be seen as samples or as chunks.
type seriesSource interface {
	Next() bool
	At() *series
	Err() error
	Warnings() annotations.Annotations
}

// series is one label set and every copy of it.
type series struct {
	lset   labels.Labels
	copies []storage.ChunkSeries
	env    *mergeEnv
}

// mergeEnv is what all series of one set share.
type mergeEnv struct {
	trim      span // Samples outside are not returned.
	conflicts prometheus.Counter
}

// copySet merges sorted sets, each of one holder's copies, by labels. It looks at each series of each set
// once: At of a TSDB's set allocates.
type copySet struct {
	sets  []storage.ChunkSeriesSet
	heads []storage.ChunkSeries // The current series of each set; nil when it must be advanced or has ended.
	ended []bool
	env   *mergeEnv
	limit int // 0: none.
	count int
	cur   *series
	arena []storage.ChunkSeries // Where copies of many series live, so that they need not be allocated one by one.
}

func newCopySet(sets []storage.ChunkSeriesSet, env *mergeEnv, limit int) *copySet {
	return &copySet{
		sets: sets, env: env, limit: limit,
		heads: make([]storage.ChunkSeries, len(sets)), ended: make([]bool, len(sets)),
	}
}

// Next moves to the next label set.
func (c *copySet) Next() bool {
	if c.limit > 0 && c.count >= c.limit || !c.advance() {
		return false
	}
	least := -1
	var lset labels.Labels
	for i, head := range c.heads {
		if head == nil {
			continue
		}
		if l := head.Labels(); least < 0 || labels.Compare(l, lset) < 0 {
			least, lset = i, l
		}
	}
	if least < 0 {
		return false
	}
	copies := c.room()
	for i, head := range c.heads {
		if head != nil && (i == least || labels.Equal(head.Labels(), lset)) {
			copies = append(copies, head)
			c.heads[i] = nil
		}
	}
	c.arena = c.arena[:len(c.arena)+len(copies)]
	c.cur = &series{lset: lset, copies: slices.Clip(copies), env: c.env}
	c.count++
	return true
}

// advance moves every set whose series was used. It returns false when one has failed: a merge without it
// would be short.
func (c *copySet) advance() bool {
	for i, set := range c.sets {
		if c.heads[i] != nil || c.ended[i] {
			continue
		}
		if set.Next() {
			c.heads[i] = set.At()
			continue
		}
		c.ended[i] = true
		if set.Err() != nil {
			return false
		}
	}
	return true
}

// room returns an empty slice at the end of the arena with capacity for a copy from every set.
func (c *copySet) room() []storage.ChunkSeries {
	const seriesPerArena = 256
	if cap(c.arena)-len(c.arena) < len(c.sets) {
		c.arena = make([]storage.ChunkSeries, 0, seriesPerArena*len(c.sets))
	}
	n := len(c.arena)
	return c.arena[n:n:cap(c.arena)]
}

// At returns the current series. It stays valid.
func (c *copySet) At() *series { return c.cur }

// Err returns the first failure of a set.
func (c *copySet) Err() error { return errOf(c.sets) }

func errOf(sets []storage.ChunkSeriesSet) error {
	var errs []error
	for _, set := range sets {
		errs = append(errs, set.Err())
	}
	return errors.Join(errs...)
}

// Warnings returns those of all sets.
func (c *copySet) Warnings() annotations.Annotations { return warningsOf(c.sets) }

func warningsOf(sets []storage.ChunkSeriesSet) annotations.Annotations {
	var all annotations.Annotations
	for _, set := range sets {
		all.Merge(set.Warnings())
	}
	return all
}

// labelSet is a set of series without samples.
type labelSet struct {
	labels []labels.Labels
	next   int
}

// newLabelSet merges lists of label sets.
func newLabelSet(lists [][]labels.Labels, limit int) *labelSet {
	all := slices.Concat(lists...)
	slices.SortFunc(all, labels.Compare)
	all = slices.CompactFunc(all, labels.Equal)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return &labelSet{labels: all, next: -1}
}

// Next moves to the next series.
func (l *labelSet) Next() bool {
	l.next++
	return l.next < len(l.labels)
}

// At returns the current series.
func (l *labelSet) At() *series { return &series{lset: l.labels[l.next]} }

// Err returns nil.
func (*labelSet) Err() error { return nil }

// Warnings returns nil.
func (*labelSet) Warnings() annotations.Annotations { return nil }

// peekedSet is a set whose first step was taken already, to see whether it fails.
type peekedSet struct {
	storage.ChunkSeriesSet
	first  bool // What Next said.
	peeked bool // And it was not told yet.
}

// peek takes the first step of a set and returns its error if it fails at once, as most failures do.
func peek(set storage.ChunkSeriesSet) (storage.ChunkSeriesSet, error) {
	first := set.Next()
	if !first && set.Err() != nil {
		return nil, set.Err()
	}
	return &peekedSet{ChunkSeriesSet: set, first: first, peeked: true}, nil
}

// Next moves to the next series.
func (p *peekedSet) Next() bool {
	if p.peeked {
		p.peeked = false
		return p.first
	}
	return p.ChunkSeriesSet.Next()
}
