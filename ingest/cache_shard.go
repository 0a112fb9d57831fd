// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math/bits"
	"sync"
)

// cacheEntry is one cached series in 32 bytes. A zero hash marks a free place; a
// series whose label bytes really hash to zero is never cached.
type cacheEntry struct {
	hash labelHash
	// ref is the reference in the TSDB that was opened as generation; 0 is none.
	ref        uint64
	generation uint32
	slot       uint16 // 12 bits, and flags above
	age        uint8  // epoch of the last use, modulo 256
	below      uint8  // as in Series
}

// entryStrict is set in slot when the labels have passed the public limits.
const entryStrict = 1 << 15

func (e *cacheEntry) strict() bool     { return e.slot&entryStrict != 0 }
func (e *cacheEntry) slotOnly() uint16 { return e.slot &^ entryStrict }

const (
	shardEntriesMin = 64
	// The table grows when it is seven eighths full and by a quarter, so that an
	// entry takes 37 to 46 bytes. Linear probing over 32-byte entries stays within
	// two cache lines at that load.
	shardLoadNum, shardLoadDen = 7, 8
	shardGrowDen               = 4
)

// cacheShard is an open-addressed table with linear probing. Entries are not removed
// one by one: a sweep builds the table anew, so that there are no tombstones. All
// methods but lookUp and sweep are called with mu held.
type cacheShard struct {
	mu    sync.Mutex
	owner *SeriesCache
	table []cacheEntry
	used  int
	// dropped is set when the tenant has another cache now; who still holds this one
	// adds nothing to it.
	dropped bool
	// touched keeps the compiler from dropping loads that are made for their effect on
	// the cache of the processor.
	touched uint8
}

// home is where the search for h begins: h.lo scaled to the size of the table, which
// need not be a power of two.
func (s *cacheShard) home(h labelHash) int {
	i, _ := bits.Mul64(h.lo, uint64(len(s.table)))
	return int(i)
}

// lookUp tells the series at the given positions what is known of them.
func (s *cacheShard) lookUp(series []Series, positions []uint32, epoch uint8, strict bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.table) == 0 {
		return
	}
	// A search branches on what it reads, so that it waits for each entry in turn. This
	// loop does not, and fetches them all at the same time.
	var touched uint8
	for _, i := range positions {
		touched += s.table[s.home(series[i].hash)].age
	}
	s.touched = touched
	for _, i := range positions {
		e := s.find(series[i].hash)
		if e == nil || strict && !e.strict() {
			continue
		}
		if e.age != epoch { // Writing would cost the line even when nothing changes.
			e.age = epoch
		}
		series[i].known, series[i].slot, series[i].below = true, e.slotOnly(), e.below
		series[i].ref, series[i].generation = e.ref, e.generation
	}
}

// find returns the entry of h, or nil.
func (s *cacheShard) find(h labelHash) *cacheEntry {
	if len(s.table) == 0 {
		return nil
	}
	for i := s.home(h); ; {
		e := &s.table[i]
		if e.hash == h {
			return e
		}
		if e.hash == (labelHash{}) {
			return nil
		}
		if i++; i == len(s.table) {
			i = 0
		}
	}
}

// add returns a new entry for h, which must not be there, or nil when the cache is
// full.
func (s *cacheShard) add(h labelHash) *cacheEntry {
	if h == (labelHash{}) || s.dropped {
		return nil
	}
	if s.owner.entries.Add(1) > s.owner.max {
		s.owner.entries.Add(-1)
		s.owner.metrics.full.Inc()
		return nil
	}
	if (s.used+1)*shardLoadDen > len(s.table)*shardLoadNum {
		s.rebuild(max(shardEntriesMin, len(s.table)+len(s.table)/shardGrowDen), func(*cacheEntry) bool { return true })
	}
	e := s.place(h)
	e.hash = h
	s.used++
	return e
}

// place returns the free place for h.
func (s *cacheShard) place(h labelHash) *cacheEntry {
	i := s.home(h)
	for s.table[i].hash != (labelHash{}) {
		if i++; i == len(s.table) {
			i = 0
		}
	}
	return &s.table[i]
}

// rebuild moves the entries that keep wants to a table of the given size.
func (s *cacheShard) rebuild(size int, keep func(*cacheEntry) bool) {
	old := s.table
	s.table, s.used = make([]cacheEntry, size), 0
	for i := range old {
		if e := &old[i]; e.hash != (labelHash{}) && keep(e) {
			*s.place(e.hash) = *e
			s.used++
		}
	}
}

// drop empties the shard for good.
func (s *cacheShard) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner.entries.Add(-int64(s.used))
	s.table, s.used, s.dropped = nil, 0, true
}

// sweep drops the entries whose last use is not in the epoch before now, or later.
// The table shrinks to what is left, the number of which it returns.
func (s *cacheShard) sweep(now uint8) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := func(e *cacheEntry) bool { return now-e.age <= 1 }
	left := 0
	for i := range s.table {
		if e := &s.table[i]; e.hash != (labelHash{}) && recent(e) {
			left++
		}
	}
	if left == s.used {
		return left
	}
	before := s.used
	s.rebuild(max(shardEntriesMin, left*shardLoadDen/shardLoadNum+left/shardGrowDen/2+1), recent)
	s.owner.entries.Add(int64(s.used - before))
	s.owner.metrics.evicted.Add(float64(before - s.used))
	return left
}
