// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"sync"
	"time"
)

const (
	// circuitFailures is how many requests in a row must fail before a peer is left
	// alone: one lost connection is not an outage.
	circuitFailures = 3
	// circuitRest is how long it is left alone before one request probes it. Short,
	// because a hint for each write meanwhile costs more than a probe.
	circuitRest = time.Second
)

// circuit keeps requests from a peer that does not answer. It is closed, open after
// circuitFailures in a row, and after circuitRest lets one probe through, whose
// result closes it or opens it again. Safe for concurrent use.
type circuit struct {
	mu       sync.Mutex
	failures int
	until    time.Time
	probing  bool
}

// allow tells whether a request may be sent. Who gets true must report done.
func (c *circuit) allow(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures < circuitFailures {
		return true
	}
	if c.probing || now.Before(c.until) {
		return false
	}
	c.probing = true
	return true
}

// done reports how a request that was allowed ended. It returns true when that opened
// the circuit.
func (c *circuit) done(now time.Time, ok bool) (opened bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probing = false
	if ok {
		c.failures = 0
		return false
	}
	c.failures++
	c.until = now.Add(circuitRest)
	return c.failures == circuitFailures
}

// open tells whether requests are being kept back.
func (c *circuit) open() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures >= circuitFailures
}
