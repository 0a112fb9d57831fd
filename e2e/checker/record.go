// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"fmt"
	"sync"
)

// Outcome is what is known of the samples of one request.
type Outcome uint8

const (
	// Unsent: no byte of it has left.
	Unsent Outcome = iota
	// Unknown: it was sent, and answered with a 5xx or not at all. It may be stored or not.
	Unknown
	// Acked: answered with a 2xx.
	Acked
	// Refused: answered with a 4xx.
	Refused
)

// Record keeps the outcome of every request of a load, which is the outcome of each sample in it: one byte for a shard
// and tick. It is safe for concurrent use.
type Record struct {
	maxTicks int
	mtx      sync.RWMutex
	shards   [][]Outcome // by tick
}

// NewRecord has room for so many ticks.
func NewRecord(shards, maxTicks int) *Record {
	return &Record{maxTicks: maxTicks, shards: make([][]Outcome, shards)}
}

// Set notes the outcome of a shard's request for a tick. Beyond the bound it is an error: what cannot be recorded must
// not be sent.
func (r *Record) Set(shard, tick int, o Outcome) error {
	if tick >= r.maxTicks {
		return fmt.Errorf("the record is full: it has room for %d ticks", r.maxTicks)
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	for len(r.shards[shard]) <= tick {
		r.shards[shard] = append(r.shards[shard], Unsent)
	}
	r.shards[shard][tick] = o
	return nil
}

// Shard is a copy of the outcomes of a shard in the ticks [from, to).
func (r *Record) Shard(shard, from, to int) []Outcome {
	r.mtx.RLock()
	defer r.mtx.RUnlock()
	out := make([]Outcome, to-from)
	if all := r.shards[shard]; from < len(all) {
		copy(out, all[from:min(to, len(all))])
	}
	return out
}

// Ticks is how many ticks were begun by any shard.
func (r *Record) Ticks() int {
	r.mtx.RLock()
	defer r.mtx.RUnlock()
	n := 0
	for _, s := range r.shards {
		n = max(n, len(s))
	}
	return n
}

// Count is how many requests have an outcome.
func (r *Record) Count(o Outcome) int {
	r.mtx.RLock()
	defer r.mtx.RUnlock()
	n := 0
	for _, s := range r.shards {
		for _, have := range s {
			if have == o {
				n++
			}
		}
	}
	return n
}
