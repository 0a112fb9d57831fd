// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// localBlock is what retention needs to know of a block.
type localBlock struct {
	Tenant  string
	ID      ulid.ULID
	MaxTime int64 // Unix ms, exclusive.
	Bytes   int64
	Held    bool // Safe elsewhere, or there is no elsewhere.
}

// retentionLimits are the bounds of the local blocks of all tenants together.
type retentionLimits struct {
	OlderThan int64 // Unix ms: blocks that end before it are past retention.
	Bytes     int64 // 0: no bound.
}

// deletable chooses blocks to delete: those past retention, and then the oldest
// until the rest fits the bytes. What is not held is never chosen; overdue are
// those which would have been but for that.
//
// It is pure, and the answer does not depend on the order of the blocks.
func deletable(blocks []localBlock, limits retentionLimits) (chosen, overdue []localBlock) {
	blocks = slices.Clone(blocks)
	slices.SortFunc(blocks, func(a, b localBlock) int {
		return cmp.Or(cmp.Compare(a.MaxTime, b.MaxTime), a.ID.Compare(b.ID))
	})
	var excess int64
	if limits.Bytes > 0 {
		excess = -limits.Bytes
		for _, b := range blocks {
			excess += b.Bytes
		}
	}
	for _, b := range blocks {
		if b.MaxTime > limits.OlderThan && excess <= 0 {
			continue
		}
		if !b.Held {
			overdue = append(overdue, b)
			continue
		}
		chosen = append(chosen, b)
		excess -= b.Bytes
	}
	return chosen, overdue
}

// blocksToDelete is called by the TSDB at each reload of its blocks. It answers
// for its own tenant, from the blocks of all.
func (t *tenant) blocksToDelete(loaded []*tsdb.Block) map[ulid.ULID]struct{} {
	own := make([]localBlock, 0, len(loaded))
	condemned := make(map[ulid.ULID]struct{})
	for _, b := range loaded {
		if id := b.Meta().ULID; t.condemned(id) {
			condemned[id] = struct{}{} // It is lost and in the quarantine.
			continue
		}
		own = append(own, t.local(b))
	}
	all := slices.Clone(own)
	for _, other := range t.store.all() {
		if other != t {
			all = append(all, other.localBlocks()...)
		}
	}
	cfg := t.store.cfg
	limits := retentionLimits{OlderThan: math.MinInt64, Bytes: cfg.RetentionBytes}
	if cfg.Retention > 0 {
		limits.OlderThan = cfg.Now().Add(-cfg.Retention).UnixMilli()
	}
	chosen, overdue := deletable(all, limits)
	t.overdue.Store(int64(len(ownedBy(t.name, overdue))))
	ids := t.commitDeletion(ownedBy(t.name, chosen))
	if ids == nil {
		return condemned
	}
	maps.Copy(ids, condemned)
	return ids
}

// commitDeletion records that the blocks go, and only then lets them go.
func (t *tenant) commitDeletion(blocks []localBlock) map[ulid.ULID]struct{} {
	if len(blocks) == 0 {
		return nil
	}
	ids := make(map[ulid.ULID]struct{}, len(blocks))
	until := int64(math.MinInt64)
	for _, b := range blocks {
		ids[b.ID] = struct{}{}
		until = max(until, b.MaxTime)
	}
	if err := t.horizon.raise(until); err != nil {
		t.store.metrics.retentionFailures.Inc()
		t.logger.Error("keeping blocks past retention", "blocks", len(blocks), "err", err)
		return nil
	}
	t.store.metrics.blocksDeleted.Add(float64(len(blocks)))
	t.logger.Info("deleting local blocks", "blocks", len(blocks), "until", time.UnixMilli(until).UTC())
	return ids
}

func ownedBy(tenant string, blocks []localBlock) []localBlock {
	return slices.DeleteFunc(slices.Clone(blocks), func(b localBlock) bool { return b.Tenant != tenant })
}

// localBlocks are the blocks of the open TSDB; none while it is reopened.
func (t *tenant) localBlocks() []localBlock {
	inst := t.inst.Load()
	if inst == nil {
		return nil
	}
	loaded := inst.db.Blocks()
	blocks := make([]localBlock, 0, len(loaded))
	for _, b := range loaded {
		blocks = append(blocks, t.local(b))
	}
	return blocks
}

func (t *tenant) local(b *tsdb.Block) localBlock {
	meta := b.Meta()
	held := t.store.cfg.Held
	return localBlock{
		Tenant:  t.name,
		ID:      meta.ULID,
		MaxTime: meta.MaxTime,
		Bytes:   b.Size(),
		Held:    held == nil || held(t.name, meta.ULID),
	}
}
