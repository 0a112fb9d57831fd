// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// cut turns what is ripe in the head into blocks: whole ranges while samples
// come in, and all of it once they stopped, because the head of a silent tenant
// would never grow ripe and its last hours never reach the bucket.
func (t *tenant) cut(ctx context.Context) error {
	t.work.Lock()
	defer t.work.Unlock()
	inst := t.inst.Load()
	if inst == nil || inst.failed.Load() {
		return nil
	}
	var err error
	if t.idle(inst) {
		t.store.metrics.idleFlushes.Inc()
		err = t.flush(ctx, inst)
	} else {
		err = t.counted(inst, func() error { return inst.db.Compact(ctx) })
	}
	if unreadableLog(err) && !inst.failed.Load() {
		return t.replaceHead(ctx, inst, err)
	}
	return err
}

// idle tells whether the head holds samples and nothing was appended for so long
// that nothing of it can still be waiting for a neighbour.
func (t *tenant) idle(inst *instance) bool {
	cfg := t.store.cfg
	silence := cfg.Now().Sub(time.UnixMilli(inst.lastAppend.Load()))
	return inst.db.Head().NumSeries() > 0 && silence > cfg.BlockDuration*3/2+cfg.OutOfOrderWindow
}

// flushHead cuts the whole head. Writes are refused as unavailable meanwhile.
func (t *tenant) flushHead(ctx context.Context) error {
	if t.inst.Load() == nil {
		return fmt.Errorf("flush head of tenant %q: %w", t.name, ErrReopening) // Whoever opens it works on it.
	}
	t.work.Lock()
	defer t.work.Unlock()
	inst := t.inst.Load()
	if inst == nil || inst.failed.Load() {
		return fmt.Errorf("flush head of tenant %q: %w", t.name, ErrReopening)
	}
	err := t.flush(ctx, inst)
	if unreadableLog(err) && !inst.failed.Load() {
		return t.replaceHead(ctx, inst, err)
	}
	return err
}

// flush keeps appends out while it cuts: the TSDB drops everything in memory
// that is older than the end of a block it wrote, read into the block or not.
func (t *tenant) flush(ctx context.Context, inst *instance) error {
	t.gate.refuseAppends(ErrFlushing)
	defer func() {
		if inst.failed.Load() {
			t.gate.refuseAppends(ErrReopening)
			return
		}
		t.gate.refuseAppends(nil)
	}()
	if err := t.gate.drainAppends(ctx); err != nil {
		return fmt.Errorf("wait for appends: %w", err)
	}
	return t.counted(inst, func() error {
		return flushDB(ctx, inst.db, t.store.cfg.BlockDuration.Milliseconds())
	})
}

// flushDB cuts the head in slices that end at multiples of width, the last one
// at the newest sample: a block that ended later would make the TSDB take every
// further sample of that range for an old one. An error that is unreadableLog means that all
// is cut, and the log is damaged.
func flushDB(ctx context.Context, db *tsdb.DB, width int64) error {
	head := db.Head()
	newest := head.MaxTime()
	var damage error
	for start := head.MinTime(); head.NumSeries() > 0 && start <= newest; {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min((start/width)*width+width, newest+1)
		// Nobody appends, so no isolation is needed.
		// The block is there before the log is looked at, so damage of that ends nothing.
		err := db.CompactHead(tsdb.NewRangeHeadWithIsolationDisabled(head, start, end-1))
		if unreadableLog(err) {
			damage = err
		} else if err != nil {
			return fmt.Errorf("cut head from %d to %d: %w", start, end, err)
		}
		// The head starts at its next sample now, which may be far ahead.
		start = max(end, head.MinTime())
	}
	if err := db.CompactOOOHead(ctx); err != nil {
		return fmt.Errorf("cut out-of-order head: %w", err)
	}
	return damage
}

// counted runs something that writes blocks and accounts for it. A panic fails
// the instance: the TSDB could not write a chunk, and has lost count of its file.
func (t *tenant) counted(inst *instance, write func() error) (err error) {
	if err := t.store.disk.checkOpen(); err != nil {
		return err
	}
	start := time.Now()
	before := blockIDs(inst.db)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
			t.fail(inst, err)
		}
		made := 0
		for id := range blockIDs(inst.db) {
			if _, old := before[id]; !old {
				made++
				t.sumBlock(id)
			}
		}
		m := t.store.metrics
		if err != nil && !errors.Is(err, context.Canceled) {
			m.cuts.Inc()
			m.cutFailures.Inc()
			err = fmt.Errorf("cut blocks of tenant %q: %w", t.name, err)
			return
		}
		if made > 0 {
			m.cuts.Inc()
			m.cutSeconds.Observe(time.Since(start).Seconds())
			t.logger.Info("cut blocks", "blocks", made, "series_left", inst.db.Head().NumSeries(), "seconds", time.Since(start).Seconds())
		}
	}()
	return write()
}

func blockIDs(db *tsdb.DB) map[ulid.ULID]struct{} {
	ids := make(map[ulid.ULID]struct{})
	for _, b := range db.Blocks() {
		ids[b.Meta().ULID] = struct{}{}
	}
	return ids
}
