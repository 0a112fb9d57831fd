// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// compactedInto begins the details of the deletion mark on a block that was merged, or that is covered. The name of the
// other block follows.
const compactedInto = "compacted into "

// clean does what is done without making a block: marks, and deletions when their time has come.
func (p *passing) clean(ctx context.Context, l bucket.Listing, t todo) {
	do := func(err error) {
		if err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	}
	for _, e := range t.expired {
		do(p.markAll(ctx, []bucket.Listed{e.Block}, markRetention, e.Details()))
	}
	for _, r := range t.plan.Covered {
		do(p.markAll(ctx, []bucket.Listed{r.Block}, markCovered, compactedInto+r.By.Meta.ULID.String()))
	}
	covered := bucket.Covered(l.Blocks)
	broken := map[ulid.ULID]bool{}
	for _, b := range l.Blocks {
		broken[b.Meta.ULID] = isBroken(b.Marks)
	}
	for _, b := range t.deletable {
		by, ok := covered[b.Meta.ULID]
		do(p.delete(ctx, b, ok && !broken[by]))
	}
	for _, partial := range t.partial {
		do(p.cleanPartial(ctx, partial))
	}
}

// markAll marks blocks for deletion, all for one reason.
func (c *Compactor) markAll(ctx context.Context, blocks []bucket.Listed, reason, details string) error {
	for _, b := range blocks {
		if err := c.cfg.Blocks.Mark(ctx, bucket.NewDeletionMark(b.Meta.ULID, c.cfg.Now(), details)); err != nil {
			return err
		}
		c.metrics.marked.WithLabelValues(reason).Inc()
	}
	if reason != markCompacted {
		c.logger.Info("marked blocks for deletion", "reason", reason, "blocks", len(blocks), "first", blocks[0].Meta.ULID, "details", details)
	}
	return nil
}

// quarantine keeps a block out of compaction from now on. It always returns an error.
func (c *Compactor) quarantine(ctx context.Context, q Quarantine) error {
	id := q.Block.Meta.ULID
	if err := c.cfg.Blocks.Mark(ctx, bucket.NewNoCompactMark(id, c.cfg.Now(), q.Reason, q.Details)); err != nil {
		return err
	}
	c.metrics.quarantined.WithLabelValues(q.Reason).Inc()
	c.logger.Error("block is left out of compaction from now on", "block", id, "reason", q.Reason, "details", q.Details)
	return &quarantinedError{id}
}

// deletable returns the blocks of this member's groups that were marked long enough ago.
func (c *Compactor) deletable(blocks []bucket.Listed, now time.Time) []bucket.Listed {
	var found []bucket.Listed
	for _, b := range blocks {
		m := b.Marks.Deletion
		if m == nil || now.Sub(time.Unix(m.DeletionTime, 0)) < c.cfg.DeletionDelay {
			continue
		}
		if g := groupOf(b.Meta); (!g.Foreign || c.cfg.Foreign) && c.cfg.ownsGroup(g) {
			found = append(found, b)
		}
	}
	return found
}

// delete removes a block for good. One that was marked because another one has its samples is only removed while that is
// so: whatever happened to the other one since, this one is then all that is left.
func (c *Compactor) delete(ctx context.Context, b bucket.Listed, covered bool) error {
	id := b.Meta.ULID
	superseded := strings.HasPrefix(b.Marks.Deletion.Details, compactedInto)
	if superseded && !covered && !c.isExpired(b) {
		if err := c.cfg.Blocks.RemoveDeletionMark(ctx, id); err != nil {
			return err
		}
		c.metrics.uncovered.Inc()
		c.logger.Error("block is kept: no other block has its samples, although it was marked as if", "block", id, "mark", b.Marks.Deletion.Details)
		return nil
	}
	if err := c.cfg.Blocks.Delete(ctx, id); err != nil {
		return err
	}
	c.metrics.deleted.Inc()
	c.logger.Info("deleted block", "block", id, "mark", b.Marks.Deletion.Details)
	return nil
}

func (c *Compactor) isExpired(b bucket.Listed) bool {
	b.Marks.Deletion = nil
	return len(Expired([]bucket.Listed{b}, c.retentionRules())) > 0
}

// givenUp says whether what is there of a block will not become one, and is not one that only another version can read.
func (c *Compactor) givenUp(p bucket.Partial, now time.Time) bool {
	if p.HasMeta {
		return false
	}
	return p.Marks.Deletion != nil || now.Sub(p.LastModified) > c.cfg.PartialDelay
}

func (c *Compactor) cleanPartial(ctx context.Context, p bucket.Partial) error {
	removed, err := c.cfg.Blocks.DeletePartial(ctx, p.ID, p.LastModified)
	if err != nil {
		return err
	}
	if removed {
		c.metrics.cleaned.Inc()
		c.logger.Info("removed what an upload or a delete has left", "block", p.ID, "objects", p.Objects, "bytes", p.Bytes, "last_modified", p.LastModified)
	}
	return nil
}
