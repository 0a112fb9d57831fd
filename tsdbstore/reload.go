// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// reloader is the TSDB's own compactor, and a way to make the TSDB look at its
// directory now. The TSDB does so after each compaction and has no call for it, so when
// one is wanted there is a compaction of nothing.
type reloader struct {
	tsdb.Compactor
	// wanted makes the next plan one of nothing.
	wanted atomic.Bool
}

const (
	// planReload stands for blocks to compact; no block has such a name.
	planReload = "reload only"
	// ownReloadInterval keeps the TSDB from reloading by itself. With each reload it writes
	// head chunks, and panics in a goroutine of its own when it cannot, which ends the process;
	// so that is done here, where there is room for it.
	ownReloadInterval = 100 * 365 * 24 * time.Hour
)

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

// Write implements tsdb.Compactor. A range that ends before it begins has nothing to
// write, and is what reload asks for.
func (r *reloader) Write(dest string, b tsdb.BlockReader, mint, maxt int64, base *tsdb.BlockMeta) ([]ulid.ULID, error) {
	if mint == math.MaxInt64 && maxt == math.MinInt64 {
		return nil, nil
	}
	return r.Compactor.Write(dest, b, mint, maxt, base)
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
// those that may go. It needs no room on the disk. The tenant's work is held.
func (t *tenant) reload(ctx context.Context, inst *instance) error {
	head := inst.db.Head()
	if head.MinTime() == math.MaxInt64 {
		// A head without samples would take the range below for its own. There is
		// nothing to cut in it.
		inst.reloader.wanted.Store(true)
		if err := inst.db.Compact(ctx); err != nil {
			return fmt.Errorf("reload blocks: %w", err)
		}
		return nil
	}
	// One more than the end of this range is the beginning of time, before which nothing
	// of the head is cut off.
	if err := inst.db.CompactHead(tsdb.NewRangeHeadWithIsolationDisabled(head, math.MaxInt64, math.MaxInt64)); err != nil {
		return fmt.Errorf("reload blocks: %w", err)
	}
	return nil
}

// tend does what the TSDB would do by itself: it reloads blocks, which deletes those
// past retention, and writes full head chunks out of memory.
func (t *tenant) tend(ctx context.Context) error {
	t.work.Lock()
	defer t.work.Unlock()
	inst := t.inst.Load()
	if inst == nil || inst.failed.Load() {
		return nil
	}
	if err := t.reload(ctx, inst); err != nil {
		return err
	}
	if t.store.disk.checkOpen() == nil { // Else they stay in memory; writes are refused, so they do not grow.
		return t.mmapHead(inst)
	}
	return nil
}

// mmapHead writes full head chunks. A TSDB that cannot panics, with its locks held.
func (t *tenant) mmapHead(inst *instance) (err error) {
	defer func() {
		if r := recover(); r != nil {
			inst.wedged.Store(true)
			err = fmt.Errorf("%w (panic: %v)", errWedged, r)
			t.fail(inst, err)
		}
	}()
	inst.db.ForceHeadMMap()
	return nil
}
