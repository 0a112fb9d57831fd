// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// admittedTenantsMax bounds the tenants that are kept account of: names come from
	// requests, and anyone can make them up.
	admittedTenantsMax = 10_000
	// admittedIdle is after how long a tenant that sends nothing makes room for
	// another one. A bucket that is forgotten is full when the tenant is back.
	admittedIdle = time.Minute
)

// tenantLoad is what one tenant has under way on this node, and what is left of its
// rate.
type tenantLoad struct {
	inflight gate
	rate     rateBucket
	lastUsed atomic.Int64 // Unix seconds
}

// tenantLoads are the tenants that send. Safe for concurrent use.
type tenantLoads struct {
	byName sync.Map // string -> *tenantLoad
	mu     sync.Mutex
	count  int
}

// get returns the load of a tenant, or nil when there are too many of them.
func (t *tenantLoads) get(name string, now time.Time) *tenantLoad {
	found, ok := t.byName.Load(name)
	if !ok {
		if found = t.add(name, now); found == nil {
			return nil
		}
	}
	load := found.(*tenantLoad)
	if sec := now.Unix(); load.lastUsed.Load() != sec {
		load.lastUsed.Store(sec)
	}
	return load
}

// add returns the load of a tenant that was not there a moment ago.
func (t *tenantLoads) add(name string, now time.Time) any {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.byName.Load(name); ok {
		return found
	}
	if t.count >= admittedTenantsMax {
		t.dropIdle(now)
	}
	if t.count >= admittedTenantsMax {
		return nil
	}
	t.count++
	load := &tenantLoad{}
	t.byName.Store(name, load)
	return load
}

func (t *tenantLoads) dropIdle(now time.Time) {
	before := now.Add(-admittedIdle).Unix()
	t.byName.Range(func(name, load any) bool {
		if l := load.(*tenantLoad); l.inflight.used.Load() == 0 && l.lastUsed.Load() < before {
			t.byName.Delete(name)
			t.count--
		}
		return true
	})
}

// admission is the room that one request takes up: of the node's bytes in flight and
// of its tenant's. Not safe for concurrent use.
type admission struct {
	node *gate
	// load, limits and tenant are of the tenant; nil between members, where the
	// coordinator has applied them.
	load   *tenantLoad
	limits *Limits
	tenant string

	held int64
	paid int // tokens of the tenant's rate
}

// take takes up n more bytes.
func (a *admission) take(n int) error {
	if a == nil || n == 0 {
		return nil
	}
	if !a.node.reserve(a.node.limit, int64(n), a.held) {
		return refuseRequest(http.StatusServiceUnavailable, "too many bytes in flight; try again")
	}
	if a.load != nil && !a.load.inflight.reserve(a.limits.InflightBytes, int64(n), a.held) {
		a.node.leave(n)
		return &limitError{
			limit:  LimitInflightBytes,
			status: http.StatusServiceUnavailable,
			text:   fmt.Sprintf("too many bytes in flight of tenant %q, limit %d; try again", a.tenant, a.limits.InflightBytes),
		}
	}
	a.held += int64(n)
	return nil
}

// pay takes the samples of a request from the rate of the tenant.
func (a *admission) pay(now time.Time, c Counts) error {
	n := c.Samples + c.Histograms
	if a.limits.SamplesPerSecond <= 0 || n == 0 {
		return nil
	}
	wait, ok := a.load.rate.take(now, n, a.limits)
	if !ok {
		return rateError(a.tenant, n, wait, a.limits)
	}
	a.paid = n
	return nil
}

// giveBack returns what was paid for a request that will be sent again.
func (a *admission) giveBack() { a.refund(a.paid) }

// refund returns what was paid for n samples, of what was paid.
func (a *admission) refund(n int) {
	if n = min(n, a.paid); n > 0 {
		a.load.rate.giveBack(n)
		a.paid -= n
	}
}

// leave gives the bytes back.
func (a *admission) leave() {
	a.node.leave(int(a.held))
	if a.load != nil {
		a.load.inflight.leave(int(a.held))
	}
	a.held = 0
}
