// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"container/list"
	"sync"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	// entryBytes is what an entry takes beside its series: the structs, and its places in the map and the list.
	entryBytes = 400
	// entryShare is which part of the store one entry may take at most: an answer of very many series must not put
	// out everything else.
	entryShare = 4
)

// key names a piece of a query's answer.
type key struct {
	scope string // See Config.Scope.
	text  string // The expression as the parser writes it, which is one for all ways to write it.
	step  int64  // In milliseconds.
	phase int64  // Of the steps: see steps.phase.
	// lookback is how old a sample may be that a step shows, to the nanosecond: one of less than a millisecond is not the default.
	lookback time.Duration
	piece    int64
}

// entry is what is known of a piece. It never changes: more knowledge is another entry.
type entry struct {
	key     key
	version string // Of the data: see Config.Version.
	steps   steps  // For which the matrix has the answer.
	matrix  promql.Matrix
	notes   annotations.Annotations
	query   string // The text that the positions in notes are about.
	bytes   int64
}

func (e *entry) size() int64 {
	n := entryBytes + bytesOf(e.matrix) + int64(len(e.key.scope)+len(e.key.text)+len(e.query)+len(e.version))
	for name, err := range e.notes {
		n += int64(len(name) + len(err.Error()))
	}
	return n
}

// store keeps entries up to a number of bytes, and puts out the one that was used the longest ago. It is safe for concurrent use.
type store struct {
	maxBytes int64
	metrics  *metrics

	mu      sync.Mutex
	entries map[key]*list.Element // Of *entry.
	recent  *list.List            // The last used first.
	bytes   int64
}

func newStore(maxBytes int64, m *metrics) *store {
	return &store{maxBytes: maxBytes, metrics: m, entries: map[key]*list.Element{}, recent: list.New()}
}

// get returns what is known of a piece, or nil. What is of other data is forgotten.
func (s *store) get(k key, version, query string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	element, ok := s.entries[k]
	if !ok {
		return nil
	}
	e := element.Value.(*entry)
	switch {
	case e.version != version:
		s.remove(element)
		return nil
	case len(e.notes) > 0 && e.query != query:
		return nil
	}
	s.recent.MoveToFront(element)
	return e
}

// put keeps an entry in place of the one before.
func (s *store) put(e *entry) {
	e.bytes = e.size()
	if e.bytes > s.maxBytes/entryShare {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if former, ok := s.entries[e.key]; ok {
		s.remove(former)
	}
	s.entries[e.key] = s.recent.PushFront(e)
	s.bytes += e.bytes
	for s.bytes > s.maxBytes {
		s.remove(s.recent.Back())
		s.metrics.evictions.Inc()
	}
	s.tell()
}

func (s *store) remove(element *list.Element) {
	e := s.recent.Remove(element).(*entry)
	delete(s.entries, e.key)
	s.bytes -= e.bytes
	s.tell()
}

func (s *store) tell() {
	s.metrics.bytes.Set(float64(s.bytes))
	s.metrics.entries.Set(float64(len(s.entries)))
}
