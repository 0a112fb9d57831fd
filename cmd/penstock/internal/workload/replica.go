// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// Samples per request, as Prometheus sends them by default.
	replicaBatch = 2000

	// Requests that wait while receivers are away. Prometheus keeps about two
	// hours in its WAL; a replica of the demo keeps as much memory as that is
	// worth, and counts what it drops beyond.
	replicaQueue = 2000

	// How often the 1.0 protocol sends its metadata, as Prometheus does.
	metadataInterval = time.Minute
)

// ReplicaConfig describes one server of an HA pair.
type ReplicaConfig struct {
	Fleet    *Fleet
	Protocol Protocol
	Sender   *Sender
	// Interval is the time from one scrape to the next.
	Interval time.Duration
	// Offset is when within the interval this server scrapes. The two servers of
	// a pair are never in step, which is why their samples differ.
	Offset time.Duration
}

// Replica stands for one Prometheus of an HA pair: it scrapes a fleet on
// schedule and sends what it got, in order, one request at a time.
type Replica struct {
	cfg     ReplicaConfig
	queue   chan Request
	dropped atomic.Uint64
}

// NewReplica returns a replica at rest.
func NewReplica(cfg ReplicaConfig) *Replica {
	return &Replica{cfg: cfg, queue: make(chan Request, replicaQueue)}
}

// Stats returns what the replica has sent. Samples that found the queue full
// count as failed.
func (r *Replica) Stats() Stats {
	s := r.cfg.Sender.Stats()
	if n := r.dropped.Load(); n > 0 {
		s.Failed += n
		s.LastRefusal = "the queue of the sender was full"
	}
	return s
}

// Run scrapes and sends until ctx ends, and then returns nil. What is still
// queued at that moment is not sent.
func (r *Replica) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	g.Go(func() error { return r.scrape(running) })
	g.Go(func() error { return r.send(running) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

func (r *Replica) scrape(ctx context.Context) error {
	enc := NewEncoder(r.cfg.Protocol)
	var samples []Sample
	var at, described time.Time
	for {
		now := time.Now()
		if now.Before(at) {
			now = at // the clock was set back; no moment is scraped twice
		}
		at = nextScrape(now, r.cfg.Interval, r.cfg.Offset)
		if err := sleep(ctx, time.Until(at)); err != nil {
			return err
		}
		if at.Sub(described) >= metadataInterval {
			if err := r.describe(enc); err != nil {
				return err
			}
			described = at
		}
		samples = r.cfg.Fleet.Scrape(samples[:0], at)
		for rest := samples; len(rest) > 0; {
			n := min(replicaBatch, len(rest))
			request, err := enc.Encode(rest[:n])
			if err != nil {
				return fmt.Errorf("scrape: %w", err)
			}
			r.enqueue(request)
			rest = rest[n:]
		}
	}
}

func (r *Replica) describe(enc *Encoder) error {
	request, ok, err := enc.Metadata(r.cfg.Fleet.Families())
	if err == nil && ok {
		r.enqueue(request)
	}
	return err
}

func (r *Replica) enqueue(request Request) {
	select {
	case r.queue <- request:
	default:
		r.dropped.Add(uint64(request.Samples))
	}
}

// send delivers the queue. A refused request is counted by the Sender and
// skipped, as Prometheus skips it.
func (r *Replica) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case request := <-r.queue:
			var refused *RefusedError
			if err := r.cfg.Sender.Send(ctx, request); err != nil && !errors.As(err, &refused) {
				return err
			}
		}
	}
}

// nextScrape is the first moment after now that is offset into an interval.
// Intervals are counted from a fixed moment, so that a restart changes no offset.
func nextScrape(now time.Time, interval, offset time.Duration) time.Time {
	at := now.Truncate(interval).Add(offset % interval)
	if !at.After(now) {
		at = at.Add(interval)
	}
	return at
}
