// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// queuePerPlace bounds the queries that wait, for each that may run: more would only wait in vain.
const queuePerPlace = 10

// door lets queries in, first come first served but for those whose tenant has enough inside.
type door struct {
	most, queueMost int
	wait            time.Duration

	mu     sync.Mutex
	inside int
	of     map[string]int // Inside, by tenant.
	queue  list.List      // Of *visitor.
}

// visitor waits at a door.
type visitor struct {
	tenant string
	most   int64         // Of its tenant.
	in     chan struct{} // Closed when it is let in.
}

func newDoor(most int, wait time.Duration) *door {
	return &door{most: most, queueMost: most * queuePerPlace, wait: wait, of: map[string]int{}}
}

// enter waits until a query of the tenant, of which at most so many may be inside (0: any number), is let in.
// Whoever is let in leaves.
func (d *door) enter(ctx context.Context, tenant string, most int64) error {
	d.mu.Lock()
	v := &visitor{tenant: tenant, most: most}
	if d.room(v) && !d.before() {
		d.admit(v)
		d.mu.Unlock()
		return nil
	}
	if d.queue.Len() >= d.queueMost {
		err := d.refusal(v, "as many wait as may")
		d.mu.Unlock()
		return err
	}
	v.in = make(chan struct{})
	place := d.queue.PushBack(v)
	d.mu.Unlock()

	ctx, cancel := context.WithTimeoutCause(ctx, d.wait, errWaited)
	defer cancel()
	select {
	case <-v.in:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-v.in: // At the same moment.
		return nil
	default:
	}
	d.queue.Remove(place)
	if cause := context.Cause(ctx); !errors.Is(cause, errWaited) {
		return cause // The client has gone.
	}
	return d.refusal(v, "it has waited for "+d.wait.String())
}

var errWaited = errors.New("waited long enough")

// room tells whether v could go in. The caller holds the lock, as for what follows.
func (d *door) room(v *visitor) bool {
	return d.inside < d.most && (v.most <= 0 || int64(d.of[v.tenant]) < v.most)
}

// before tells whether somebody waits who could go in as well.
func (d *door) before() bool {
	for e := d.queue.Front(); e != nil; e = e.Next() {
		if d.room(e.Value.(*visitor)) {
			return true
		}
	}
	return false
}

func (d *door) admit(v *visitor) {
	d.inside++
	d.of[v.tenant]++
}

// leave lets in those for whom there is room now.
func (d *door) leave(tenant string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside--
	if d.of[tenant]--; d.of[tenant] == 0 {
		delete(d.of, tenant)
	}
	for e := d.queue.Front(); e != nil && d.inside < d.most; {
		v := e.Value.(*visitor)
		next := e.Next()
		if d.room(v) {
			d.queue.Remove(e)
			d.admit(v)
			close(v.in)
		}
		e = next
	}
}

// refusal says which of the two limits there is no room for.
func (d *door) refusal(v *visitor, why string) *Error {
	if v.most > 0 && int64(d.of[v.tenant]) >= v.most {
		return overloaded(Concurrency, "%d queries of tenant %s run on this node already, which is the limit (%s), and %s: ask again later; "+
			"change it with %s in --limits.config-file", d.of[v.tenant], v.tenant, Concurrency, why, Concurrency)
	}
	return overloaded(Queue, "%d queries run on this node already, which is the limit, and %s: ask again later, or another node; "+
		"change it with %s, and the wait with --query.max-queue-wait", d.inside, why, Concurrency.Flag())
}

// counts returns how many are inside and how many wait.
func (d *door) counts() (inside, waiting int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inside, d.queue.Len()
}
