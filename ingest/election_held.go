// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/golang/snappy"
)

// heldRequest is a dropped request, as it came. It is kept until the elected replica has
// covered its time, and stored if that does not happen. It is in memory only: a member
// that is killed takes it along.
type heldRequest struct {
	cluster *haCluster
	replica *haReplica
	proto   protocol
	body    []byte // compressed; read by all that are of one request
	at      int64
	since   time.Time
	// booked is where the ledger has the samples as not stored.
	booked ledgerEntry
}

// compressed returns a copy of the request in the way that requests come.
func (b *Batch) compressed() []byte {
	if len(b.wireBuf) == 0 { // OTLP, which is translated here.
		return snappy.Encode(nil, b.body)
	}
	return slices.Clone(b.wireBuf)
}

// keep holds the dropped parts of a request. The ledger knows it by its fingerprint; whole
// is set when it has nothing but the one part.
func (e *Election) keep(parts []heldRequest, booked ledgerEntry, f fingerprint, whole bool) {
	for i, h := range parts {
		if h.booked = booked; whole {
			h.booked.fingerprint = f
		} else {
			h.booked.fingerprint = f.part(h.cluster.key.cluster, h.replica.name, i)
		}
		e.hold(h)
	}
}

// hold keeps a dropped request. When all memory for that is taken, the oldest of the
// cluster are given up for it, or else the request itself.
func (e *Election) hold(h heldRequest) {
	c := h.cluster
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
			if !e.store(ctx, h) {
				c.putBack(h)
				break // Nothing can be stored now; there is another round.
			}
			e.heldBytes.Add(-int64(len(h.body)))
		}
	}
}

// StoreHeld admits every replica from now on, until Resume, and stores all that is held,
// until nothing is or the context ends; what is left then is lost with this process. It
// is for a member that stops: once while the other members still take its writes, and again
// when no request can come any more, for those that were under way at the first time.
func (e *Election) StoreHeld(ctx context.Context) error {
	e.stopping.Store(true)
	for {
		for _, c := range e.list(e.cfg.Now()) {
			c.endLease()
		}
		e.storeHeld(ctx)
		if e.heldBytes.Load() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("store what is held of HA replicas that were not elected: %d bytes of requests are left: %w", e.heldBytes.Load(), ctx.Err())
		case <-time.After(heldStorePause):
		}
	}
}

// Resume undoes what StoreHeld does to replicas that come.
func (e *Election) Resume() { e.stopping.Store(false) }

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

// store writes what a replica had in a request that was held. It returns false if it has
// to be tried again.
func (e *Election) store(ctx context.Context, h heldRequest) bool {
	c := h.cluster
	if e.cfg.Admit() != nil {
		return false
	}
	b := e.batches.getUnder(c.key.tenant, e.cfg.LimitsOf(c.key.tenant))
	defer b.release()
	now := e.cfg.Now()
	if err := e.readHeld(b, h, boundsAround(now, DefaultMaxPast, DefaultMaxFuture)); err != nil {
		noteDefect(e.logger, err)
		e.metrics.heldLost.Inc()
		return true // It will not become better.
	}
	o := e.cfg.Writer.Write(ctx, b)
	if o.Unavailable > 0 {
		return false
	}
	if len(b.refused)+len(o.Rejected) > 0 {
		// Its sender was told that it is written, and cannot be told otherwise now.
		e.metrics.heldRefused.Add(float64(len(b.refused) + len(o.Rejected)))
	}
	e.metrics.heldStored.add(o.Written)
	h.booked.restore(o.Written.stored(), now)
	if o.Written.Samples+o.Written.Histograms > 0 {
		c.mu.Lock()
		h.replica.stored, h.replica.storedAt = now, max(h.at, h.replica.storedAt)
		c.mu.Unlock()
	}
	return true
}

// readHeld fills the batch with what the replica of a held request had in it. It is the
// first time that this is validated.
func (e *Election) readHeld(b *Batch, h heldRequest, bounds timeBounds) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &defectError{value: v, stack: debug.Stack()}
		}
	}()
	n, err := decodedSize(h.body, b.limits.DecodedBytes)
	if err != nil {
		return err
	}
	if b.bodyBuf, err = decompress(h.body, b.bodyBuf, n); err != nil {
		return err
	}
	if err := b.scan(h.proto); err != nil {
		return err
	}
	for i := range b.series {
		s := &b.series[i]
		if s.refused {
			continue
		}
		n := b.shareOf(s, e)
		if n == 0 || !b.ha.shares[n-1].pair.named(h.cluster.key.cluster, h.replica.name) {
			b.drop(s)
		}
	}
	if err := b.validate(bounds); err != nil {
		return err
	}
	if len(b.refused) == 0 && b.ha.series == 0 {
		b.wire, b.proto = h.body, h.proto
	}
	return nil
}
