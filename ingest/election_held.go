// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"slices"
	"time"
)

// heldRequest is a dropped request, as it came. It is kept until the elected replica has
// covered its time, and stored if that does not happen.
type heldRequest struct {
	replica *haReplica
	proto   protocol
	body    []byte
	at      int64
	since   time.Time
}

// hold keeps a dropped request. When all memory for that is taken, the oldest of the
// cluster are given up for it, or else the request itself.
func (e *Election) hold(c *haCluster, h heldRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.replica.heard, h.replica.heardAt = h.since, h.at
	n := int64(len(h.body))
	used := e.heldBytes.Add(n)
	lost := 0
	for used > e.cfg.MaxHeldBytes && lost < len(c.held) {
		used = e.heldBytes.Add(-int64(len(c.held[lost].body)))
		lost++
	}
	c.held = slices.Delete(c.held, 0, lost)
	if used > e.cfg.MaxHeldBytes {
		e.heldBytes.Add(-n)
		lost++
	} else {
		c.held = append(c.held, h)
	}
	e.metrics.heldLost.Add(float64(lost))
}

// release gives up what is held of a cluster and covered by now, or too old for anyone.
func (e *Election) release(c *haCluster, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = slices.DeleteFunc(c.held, func(h heldRequest) bool {
		covered := !c.due(now, h) && h.at+coverMargin <= c.lease.To
		old := now.Sub(h.since) > heldAgeMax
		if old && !covered {
			e.metrics.heldLost.Inc()
		}
		if covered || old {
			e.heldBytes.Add(-int64(len(h.body)))
		}
		return covered || old
	})
}

// storeHeld stores what of the held has to be stored after all, oldest first.
func (e *Election) storeHeld(ctx context.Context) {
	for _, c := range e.list(e.cfg.Now()) {
		for ctx.Err() == nil {
			h, ok := c.takeDue(e.cfg.Now())
			if !ok {
				break
			}
			if !e.store(ctx, c, h) {
				c.putBack(h)
				break // Nothing can be stored now; there is another round.
			}
			e.heldBytes.Add(-int64(len(h.body)))
		}
	}
}

// due tells whether a request has to be stored after all: its replica is not dropped any
// more, or the elected one has left a hole there.
func (c *haCluster) due(now time.Time, h heldRequest) bool {
	return !c.drops(now, h.replica) || h.at < c.lease.From
}

func (c *haCluster) takeDue(now time.Time) (heldRequest, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.held, func(h heldRequest) bool { return c.due(now, h) })
	if i < 0 {
		return heldRequest{}, false
	}
	h := c.held[i]
	c.held = slices.Delete(c.held, i, i+1)
	return h, true
}

func (c *haCluster) putBack(h heldRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = slices.Insert(c.held, 0, h)
}

// store writes a request that was held back. It returns false if it has to be tried
// again. What is refused was answered as written; that it is dropped after all is the
// same to its sender as if it had stayed so.
func (e *Election) store(ctx context.Context, c *haCluster, h heldRequest) bool {
	b := e.batches.get(c.key.tenant)
	defer b.release()
	now := e.cfg.Now()
	n, err := decodedSize(h.body, e.cfg.Limits.DecodedBytes)
	if err != nil {
		return true // It was read once; this cannot be.
	}
	b.wireBuf = append(b.wireBuf[:0], h.body...)
	if b.bodyBuf, err = decompress(b.wireBuf, b.bodyBuf, n); err == nil {
		err = b.parse(h.proto, boundsAround(now, DefaultMaxPast, DefaultMaxFuture))
	}
	if err != nil {
		return true
	}
	o := e.cfg.Writer.Write(ctx, b)
	if o.Unavailable > 0 {
		return false
	}
	e.metrics.heldStored.add(o.Written)
	if o.Written.Samples+o.Written.Histograms > 0 {
		c.mu.Lock()
		h.replica.stored, h.replica.storedAt = now, max(h.at, h.replica.storedAt)
		c.mu.Unlock()
	}
	return true
}
