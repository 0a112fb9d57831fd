// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"maps"
	"strconv"
	"sync"
)

// Stats is what a sender has done so far.
type Stats struct {
	Samples  uint64 // delivered, floats and native histograms
	Requests uint64 // delivered
	Retries  uint64 // attempts that were repeated
	Failed   uint64 // samples in requests that were refused, lost for good
	Bytes    uint64 // bodies of the delivered requests
	Written  uint64 // samples stored, by the receivers' own account (2.0 only)

	// Statuses counts attempts by HTTP status; "error" stands for no answer.
	Statuses map[string]uint64
	// LastError says why the last attempt that was repeated did not succeed, and
	// LastRefusal why the last request that was given up was refused.
	LastError, LastRefusal string
}

// stats holds the counters of a Sender.
type stats struct {
	mtx      sync.Mutex
	total    Stats
	statuses map[string]uint64
}

// Stats returns a copy of the counters.
func (s *stats) Stats() Stats {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	out := s.total
	out.Statuses = maps.Clone(s.statuses)
	return out
}

func (s *stats) delivered(r Request, a attempt) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.total.Samples += uint64(r.Samples)
	s.total.Requests++
	s.total.Bytes += uint64(len(r.Body))
	s.total.Written += a.written
	s.count(a)
}

func (s *stats) refused(r Request, a attempt) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.total.Failed += uint64(r.Samples)
	s.total.LastRefusal = a.body
	s.count(a)
}

func (s *stats) retried(a attempt) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.total.Retries++
	s.total.LastError = a.body
	s.count(a)
}

// count must be called with the lock held.
func (s *stats) count(a attempt) {
	key := "error"
	if a.status != 0 {
		key = strconv.Itoa(a.status)
	}
	s.statuses[key]++
}
