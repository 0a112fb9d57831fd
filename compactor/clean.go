// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// clean does what is done without making a block: marks, and deletions when their time has come.
func (p *passing) clean(ctx context.Context, t todo) {
	do := func(err error) {
		if err != nil && ctx.Err() == nil {
			p.fail(err)
		}
	}
	for _, e := range t.expired {
		do(p.markAll(ctx, []bucket.Listed{e.Block}, markRetention, e.Details()))
	}
	for _, r := range t.plan.Covered {
		mark := bucket.NewSupersededMark(r.Block.Meta.ULID, p.cfg.Now(), r.By.Meta.ULID)
		do(p.mark(ctx, mark, markCovered))
		p.logger.Info("marked block for deletion", "block", mark.ID, "mark", mark.Details)
	}
	for _, b := range t.bereft {
		do(p.keep(ctx, b))
	}
	for _, b := range t.deletable {
		do(p.delete(ctx, b))
	}
	for _, partial := range t.partial {
		do(p.cleanPartial(ctx, partial))
	}
}

// markAll marks blocks for deletion, all for one reason.
func (c *Compactor) markAll(ctx context.Context, blocks []bucket.Listed, reason, details string) error {
	for _, b := range blocks {
		if err := c.mark(ctx, bucket.NewDeletionMark(b.Meta.ULID, c.cfg.Now(), details), reason); err != nil {
			return err
		}
	}
	c.logger.Info("marked blocks for deletion", "reason", reason, "blocks", len(blocks), "first", blocks[0].Meta.ULID, "details", details)
	return nil
}

// markSuperseded marks the inputs of what was made.
func (c *Compactor) markSuperseded(ctx context.Context, blocks []bucket.Listed, by ulid.ULID) error {
	for _, b := range blocks {
		if err := c.mark(ctx, bucket.NewSupersededMark(b.Meta.ULID, c.cfg.Now(), by), markCompacted); err != nil {
			return err
		}
	}
	return nil
}

func (c *Compactor) mark(ctx context.Context, m *bucket.DeletionMark, reason string) error {
	if err := c.cfg.Blocks.Mark(ctx, m); err != nil {
		return err
	}
	c.metrics.marked.WithLabelValues(reason).Inc()
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

// marked looks at the blocks of this member's groups that have a deletion mark. Deletable are those whose time has come.
// Bereft are those that were marked because another block had their samples, and of which none has them any more: whatever
// happened to the other one since, they are all that is left.
func (c *Compactor) marked(blocks []bucket.Listed, now time.Time) (deletable, bereft []bucket.Listed) {
	// By one that somebody marked by hand, too: it was meant to go with all that it has.
	covered := bucket.Covered(blocks)
	for _, b := range blocks {
		m := b.Marks.Deletion
		if m == nil {
			continue
		}
		if (groupOf(b.Meta).Foreign && !c.cfg.Foreign) || !c.cfg.ownsBlock(b.Meta) {
			continue
		}
		_, isCovered := covered[b.Meta.ULID]
		switch {
		case m.Superseded() && !isCovered && !c.isExpired(b):
			bereft = append(bereft, b)
		case now.Sub(time.Unix(m.DeletionTime, 0)) >= c.cfg.DeletionDelay:
			deletable = append(deletable, b)
		}
	}
	return deletable, bereft
}

// keep takes a deletion mark off.
func (c *Compactor) keep(ctx context.Context, b bucket.Listed) error {
	if err := c.cfg.Blocks.RemoveMark(ctx, b.Meta.ULID, bucket.MarkDeletion); err != nil {
		return err
	}
	c.metrics.bereft.Inc()
	c.logger.Error("block is kept: no other block has its samples any more, although it is marked as if", "block", b.Meta.ULID, "mark", b.Marks.Deletion.Details)
	return nil
}

// delete removes a block for good.
func (c *Compactor) delete(ctx context.Context, b bucket.Listed) error {
	if err := c.cfg.Blocks.Delete(ctx, b.Meta.ULID); err != nil {
		return err
	}
	c.metrics.deleted.Inc()
	c.logger.Info("deleted block", "block", b.Meta.ULID, "mark", b.Marks.Deletion.Details)
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
