// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// reloader is the TSDB's own compactor, and a way to make the TSDB look at its
// directory now. The TSDB does so after each compaction of blocks and has no call
// for it, so when one is wanted the plan is to compact nothing.
type reloader struct {
	tsdb.Compactor
	wanted atomic.Bool
}

// planReload stands for blocks to compact; no block has such a name.
const planReload = "reload only"

// newReloader makes the compactor that the TSDB would make by itself.
func newReloader(ctx context.Context, r prometheus.Registerer, l *slog.Logger, ranges []int64, pool chunkenc.Pool, opts *tsdb.Options) (*reloader, error) {
	c, err := tsdb.NewLeveledCompactorWithOptions(ctx, r, l, ranges, pool, tsdb.LeveledCompactorOptions{
		MaxBlockChunkSegmentSize:    opts.MaxBlockChunkSegmentSize,
		EnableOverlappingCompaction: opts.EnableOverlappingCompaction,
		PD:                          opts.PostingsDecoderFactory,
		UseUncachedIO:               opts.UseUncachedIO,
		BlockExcludeFilter:          opts.BlockCompactionExcludeFunc,
		FloatChunkEncoding:          func() chunkenc.Encoding { return opts.FloatChunkEncoding },
	})
	if err != nil {
		return nil, err
	}
	return &reloader{Compactor: c}, nil
}

// Plan implements tsdb.Compactor.
func (r *reloader) Plan(dir string) ([]string, error) {
	if r.wanted.Swap(false) {
		return []string{planReload}, nil
	}
	return r.Compactor.Plan(dir)
}

// Compact implements tsdb.Compactor.
func (r *reloader) Compact(dest string, dirs []string, open []*tsdb.Block) ([]ulid.ULID, error) {
	if slices.Equal(dirs, []string{planReload}) {
		return nil, nil
	}
	return r.Compactor.Compact(dest, dirs, open)
}

// reload makes the TSDB load the blocks that are new in its directory, and drop
// those that may go. What is ripe in the head is cut on the way. The tenant's work
// is held.
func (t *tenant) reload(ctx context.Context, inst *instance) error {
	inst.reloader.wanted.Store(true)
	return t.counted(inst, func() error { return inst.db.Compact(ctx) })
}
