// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// joinConcurrency bounds push/pulls at once: dead addresses cost a timeout
	// each, and should not do so one after the other.
	joinConcurrency = 8
	// hangUps is how often a connection must be closed unanswered to count as a
	// refusal: often enough to outlast a peer that is stopping.
	hangUps = 3
	// hangUpPause is the time between such attempts.
	hangUpPause = 300 * time.Millisecond
)

// Join contacts the seeds and the last-known members once, and writes down whom
// it found. That none can be reached is no error: the loop in Run goes on trying.
// It is an error if one refused us and no other took us: a *RefusedError. So it is when a
// living member has our name; as that may be one whose death nobody noticed yet, it
// takes some 15 s to tell. For as long it may wait until the others know a new address.
func (c *Cluster) Join(ctx context.Context) error {
	result, err := c.settleName(ctx, c.contact(ctx))
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	others := c.View().Alive() - 1
	if others == 0 && len(result.refused) > 0 {
		return result.refused[0]
	}
	for _, err := range result.refused {
		c.logger.Error("join refused", "err", err)
	}
	if err := c.persist(); err != nil {
		return err
	}
	if others == 0 && len(result.unreachable) > 0 {
		c.logger.Warn("no other member reached yet; trying on", "interval", c.cfg.RejoinInterval, "err", errors.Join(result.unreachable...))
		return nil
	}
	c.logger.Info("joined the cluster", "members_alive", others+1, "unreachable", len(result.unreachable), "ring_version", c.View().VersionHex())
	return nil
}

// rejoin is one turn of the re-join loop.
func (c *Cluster) rejoin(ctx context.Context) {
	result := c.contact(ctx)
	c.metrics.rejoins.Add(float64(result.reached))
	for _, err := range result.refused {
		if c.quiet.allow("join" + err.Addr + string(err.Reason)) {
			c.logger.Error("join refused", "err", err)
		}
	}
	for _, err := range result.unreachable {
		c.logger.Debug("peer not reached", "err", err)
	}
}

// contacts is the result of one round of push/pulls.
type contacts struct {
	reached     int
	refused     []*RefusedError // by address
	unreachable []error
}

// contact does a push/pull with every address where a member may be with which there was
// none since it was last dead.
func (c *Cluster) contact(ctx context.Context) contacts {
	targets, unresolved := c.targets(ctx)
	result := contacts{unreachable: unresolved}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(joinConcurrency)
	for _, addr := range targets {
		group.Go(func() error {
			err := c.joinOne(ctx, addr)
			mu.Lock()
			defer mu.Unlock()
			var refused *RefusedError
			switch {
			case err == nil:
				result.reached++
			case errors.As(err, &refused):
				result.refused = append(result.refused, refused)
			default:
				result.unreachable = append(result.unreachable, err)
			}
			return nil
		})
	}
	_ = group.Wait() // The functions return no error.
	slices.SortFunc(result.refused, func(a, b *RefusedError) int { return strings.Compare(a.Addr, b.Addr) })
	return result
}

// targets returns the addresses of the seeds and the last-known members, without
// our own. Members that are alive are left out, unless they were not a moment ago, or
// one of them still had us at a former address.
func (c *Cluster) targets(ctx context.Context) ([]string, []error) {
	addrs, errs := resolvePeers(ctx, c.cfg.dns, c.peers)
	c.mu.Lock()
	defer c.mu.Unlock()
	absent, present := c.history.addrs()
	addrs = append(addrs, absent...)
	skip := map[string]bool{c.addr: true}
	for name, addr := range present {
		if c.contested || c.reunited[name] {
			addrs = append(addrs, addr)
		} else {
			skip[addr] = true
		}
	}
	clear(c.reunited)
	if c.contested {
		clear(c.opinions)
		if r, ok := c.rivals[c.self.Name]; ok {
			addrs = append(addrs, r.addr) // So that it hears of us, too.
		}
	}
	c.contested = false
	slices.Sort(addrs)
	return slices.DeleteFunc(slices.Compact(addrs), func(a string) bool { return skip[a] }), errs
}

// joinOne does a push/pull with one address. The error is a *RefusedError if
// trying again is of no use.
func (c *Cluster) joinOne(ctx context.Context, addr string) error {
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, err := c.list.Join([]string{addr})
		if err == nil {
			return nil
		}
		text := innermost(err, addr)
		if reason, ok := classify(text); ok {
			return c.refuse(addr, reason, text)
		}
		if !hungUp(text) {
			return err
		}
		if attempt == hangUps {
			return c.refuse(addr, RefusedLabel, text)
		}
		select {
		case <-ctx.Done():
		case <-time.After(hangUpPause):
		}
	}
}

// refuse makes the error of a refused join, and counts it unless check did.
func (c *Cluster) refuse(addr string, reason RefusalReason, text string) *RefusedError {
	if !reason.byMeta() {
		c.metrics.refused.WithLabelValues(string(reason)).Inc()
	}
	return refusal(addr, reason, text, c.cfg.Label, len(c.cfg.Key) > 0)
}
