// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// housekeepInterval is how often members are checked for being forgotten, and
	// how far the file of last-known members may be behind after a crash.
	housekeepInterval = time.Second
	// refreshInterval is how often the file is written although nothing happened,
	// so that the times in it are near the truth.
	refreshInterval = time.Minute
)

// Run keeps the cluster whole until ctx ends: it tries to reach members that are
// missing, forgets those that are dead too long, and keeps the file of last-known
// members. Call it once. It ends with a *RefusedError if another node under the name of this
// member has taken its place.
func (c *Cluster) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return every(ctx, c.cfg.RejoinInterval, func() error {
			c.rejoin(ctx)
			return c.deposed()
		})
	})
	group.Go(func() error {
		written := c.now()
		return every(ctx, housekeepInterval, func() error {
			written = c.housekeep(written)
			return nil
		})
	})
	return group.Wait()
}

// every calls do until ctx ends or do fails.
func every(ctx context.Context, interval time.Duration, do func() error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// housekeep forgets, expires and persists. written is when the file was last
// written; it returns the new such time.
func (c *Cluster) housekeep(written time.Time) time.Time {
	now := c.now()
	c.mu.Lock()
	c.awake(now)
	forgotten := c.history.Forget(c.cfg.ForgetAfter, now)
	expired := c.history.Expire(now.Add(-c.cfg.ForgottenRetention), now)
	if len(forgotten)+len(expired) > 0 {
		c.publish()
	}
	due := c.dirty || now.Sub(written) >= refreshInterval
	c.mu.Unlock()

	for _, name := range forgotten {
		c.metrics.forgets.Inc()
		c.logger.Warn("member forgotten; its slots moved to others", "member", name, "dead_for_at_least", c.cfg.ForgetAfter)
	}
	for _, name := range expired {
		c.logger.Info("member dropped from the list; nothing needs it any more", "member", name)
	}
	if !due {
		return written
	}
	if err := c.persist(); err != nil {
		if c.quiet.allow("persist") {
			c.logger.Error("last-known members not written", "err", err)
		}
		return written
	}
	return now
}

// awake notes that this process runs at now. The caller holds mu, or is alone.
func (c *Cluster) awake(now time.Time) {
	if !c.turn.IsZero() && now.Sub(c.turn) > stallMax {
		c.history.Resume(c.turn, now)
	}
	c.turn = now
}

// Save puts what this member knows of the others on disk, which Run does within a second of a
// change.
func (c *Cluster) Save() error { return c.persist() }

// persist writes the file of last-known members. It is behind until that works.
func (c *Cluster) persist() (err error) {
	c.mu.Lock()
	records := c.history.Snapshot(c.now())
	c.dirty = false
	c.mu.Unlock()
	defer func() {
		if err == nil {
			return
		}
		c.metrics.writeFailures.Inc()
		c.mu.Lock()
		c.dirty = true
		c.mu.Unlock()
	}()
	data, err := encodeHistory(sender{}, records)
	if err != nil {
		return err
	}
	if err := replaceFile(c.historyPath(), data); err != nil {
		return fmt.Errorf("write last-known members: %w", err)
	}
	return nil
}
