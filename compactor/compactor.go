// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Compactor works on the groups of a bucket that are its own. Run and Once must not be called at the same time.
type Compactor struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	merger  *merger

	foreign int // Blocks of foreign compactors that were told of.
	failing map[ulid.ULID]failing
}

// New returns a Compactor that does nothing until Run or Once is called. It makes Config.Dir and removes what a former
// process left there. A nil registerer is allowed.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Compactor, error) {
	cfg.setDefaults()
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if err := empty(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open scratch directory of compaction: %w", err)
	}
	levels := []string{levelDownsample}
	for i := range len(levelFactors) + 1 {
		levels = append(levels, cfg.levelName(i))
	}
	// TSDB tells of each block as if it were an event; what was done is told here.
	quiet := slog.New(slog.DiscardHandler)
	return &Compactor{cfg: cfg, logger: logger, metrics: newMetrics(reg, levels), merger: newMerger(cfg.MergeChunks, quiet), failing: map[ulid.ULID]failing{}}, nil
}

// empty makes dir, or removes what is in it.
func empty(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// Run does what there is to do, at once and then every Interval, until ctx is done. What fails is logged, counted and tried
// again; it returns nil.
func (c *Compactor) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.cfg.Interval)
	defer ticker.Stop()
	for {
		if err := c.Once(ctx); err != nil && ctx.Err() == nil {
			c.logger.Warn("work on the bucket is incomplete and will be tried again", "bucket", c.cfg.Blocks.Name(), "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Once does all that there is to do now. One thing that fails does not keep the others from being done.
func (c *Compactor) Once(ctx context.Context) error {
	c.metrics.runs.Inc()
	err := c.once(ctx)
	if err != nil {
		if ctx.Err() == nil {
			c.metrics.runFailures.Inc()
		}
		return err
	}
	c.metrics.lastSuccess.Set(float64(c.cfg.Now().UnixMilli()) / 1000)
	return nil
}

func (c *Compactor) once(ctx context.Context) error {
	listing, err := c.look(ctx)
	if err != nil {
		return err
	}
	c.tellForeign(listing.Blocks)
	if c.survey(listing).empty() {
		return nil
	}
	return c.work(ctx)
}

// look returns what is in the bucket, perhaps by the index. The owner of the index writes it first.
func (c *Compactor) look(ctx context.Context) (bucket.Listing, error) {
	if !c.cfg.Owns(KeyIndex) {
		return c.cfg.Index.Listing(ctx)
	}
	l, err := c.cfg.Index.Fresh(ctx)
	if err != nil {
		return bucket.Listing{}, err
	}
	if err := c.cfg.Index.Publish(ctx, l); err != nil {
		// The others list the bucket by themselves, and compaction does not depend on it.
		c.logger.Warn("cannot write the block index; every member lists the bucket meanwhile", "err", err)
	}
	return l, nil
}

// todo is what one listing shows to be done by this member.
type todo struct {
	plan       Plan
	expired    []Expiry
	downsample []DownsampleTask
	deletable  []bucket.Listed
	bereft     []bucket.Listed
	partial    []bucket.Partial
}

func (t todo) empty() bool {
	return len(t.plan.Tasks)+len(t.plan.Covered)+len(t.plan.Quarantine)+len(t.expired)+len(t.downsample)+len(t.deletable)+len(t.bereft)+len(t.partial) == 0
}

// survey finds out what is to be done. It also sets the gauges that say so.
func (c *Compactor) survey(l bucket.Listing) todo {
	now := c.cfg.Now()
	var t todo
	for _, e := range Expired(l.Blocks, c.retentionRules()) {
		if c.cfg.ownsBlock(e.Block.Meta) {
			t.expired = append(t.expired, e)
		}
	}
	rest := without(l.Blocks, t.expired)
	t.plan = NewPlan(rest, c.cfg.rules(), c.cfg.ownsPart)
	if c.cfg.Downsampler != nil {
		t.downsample = PlanDownsampling(rest, c.cfg.rules(), c.cfg.ownsPart)
	}
	t.deletable, t.bereft = c.marked(l.Blocks, now)
	for _, p := range l.Partial {
		if c.givenUp(p, now) && c.cfg.Owns(keyPartial+p.ID.String()) {
			t.partial = append(t.partial, p)
		}
	}
	c.measure(t)
	return t
}

func (c *Compactor) retentionRules() RetentionRules {
	return RetentionRules{Now: c.cfg.Now(), Of: c.cfg.Retention, DefaultTenant: c.cfg.DefaultTenant, Foreign: c.cfg.Foreign}
}

func without(blocks []bucket.Listed, expired []Expiry) []bucket.Listed {
	gone := map[string]bool{}
	for _, e := range expired {
		gone[e.Block.Meta.ULID.String()] = true
	}
	rest := make([]bucket.Listed, 0, len(blocks))
	for _, b := range blocks {
		if !gone[b.Meta.ULID.String()] {
			rest = append(rest, b)
		}
	}
	return rest
}

// measure tells how much there is to do.
func (c *Compactor) measure(t todo) {
	blocks := map[string]int{levelDownsample: len(t.downsample)}
	for _, task := range t.plan.Tasks {
		blocks[c.cfg.levelName(task.Level)] += len(task.Inputs)
	}
	for i := range len(levelFactors) + 1 {
		level := c.cfg.levelName(i)
		c.metrics.todo.WithLabelValues(level).Set(float64(blocks[level]))
	}
	c.metrics.todo.WithLabelValues(levelDownsample).Set(float64(blocks[levelDownsample]))
	c.metrics.oversized.Set(float64(t.plan.Oversized))
}

// tellForeign says when another compactor works on our groups: it would halt on the overlaps that are normal here, and both
// do the work of one.
func (c *Compactor) tellForeign(blocks []bucket.Listed) {
	n := 0
	for _, b := range blocks {
		if m := b.Meta.Thanos; ours(m.Labels) && m.Source == sourceCompactor && len(m.Extensions) == 0 && b.Marks.Deletion == nil {
			n++
		}
	}
	if n > c.foreign {
		c.logger.Warn("another compactor works on Penstock's blocks; let only one of them do it", "its_blocks", n)
	}
	c.foreign = n
	c.metrics.foreign.Set(float64(n))
}
