// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// headRange is from when to when samples can be that are in the head and nowhere
// else: since the end of the newest block. Late samples may be older by the
// out-of-order window, and a cut of these may have failed.
func (t *tenant) headRange() (from, to int64, err error) {
	cfg := t.store.cfg
	end, found, err := t.newestBlockEnd()
	if err != nil {
		return 0, 0, err
	}
	if !found {
		// Blocks may have been here before.
		end = t.horizon.get()
		found = end != math.MinInt64 && end != math.MaxInt64
	}
	to = futureEdge(cfg.Now())
	if !found {
		return min(t.store.retained(cfg.Now()), t.store.created-t.store.slack(), to-1), to, nil
	}
	return min(end-t.store.slack(), to-1), to, nil
}

// newestBlockEnd is the end of the newest block that was cut from the head.
func (t *tenant) newestBlockEnd() (end int64, found bool, err error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, false, fmt.Errorf("list blocks: %w", err)
	}
	end = math.MinInt64
	for _, entry := range entries {
		if _, err := ulid.ParseStrict(entry.Name()); err != nil {
			continue
		}
		meta, err := readBlockMeta(filepath.Join(t.dir, entry.Name()))
		if err != nil || meta.Compaction.FromOutOfOrder() {
			continue
		}
		end, found = max(end, meta.MaxTime), true
	}
	return end, found, nil
}

// slack is how much older (ms) than the end of the newest block a sample in the head
// can be.
func (s *Store) slack() int64 {
	return (s.cfg.OutOfOrderWindow + 2*s.cfg.BlockDuration).Milliseconds()
}

// retained is the oldest time (Unix ms) of which this store kept samples at some time.
func (s *Store) retained(at time.Time) int64 {
	return at.Add(-max(s.cfg.Retention, DefaultRetention)).UnixMilli() - s.slack()
}

// isEnvironment tells an error that says nothing about the data: the machine lacks
// something, and the same bytes can be read later.
func isEnvironment(err error) bool {
	for _, e := range []error{
		syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EACCES, syscall.EPERM,
		syscall.EROFS, syscall.EINTR, syscall.EAGAIN, syscall.ESTALE, syscall.ENODEV, syscall.ENXIO, syscall.ETIMEDOUT, context.Canceled, context.DeadlineExceeded, ErrDiskLow,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// mmappedUnreadable puts the head chunks aside, if there are any: the write logs have
// their samples.
func (t *tenant) mmappedUnreadable(cause error) (moved bool, err error) {
	dir := filepath.Join(t.dir, "chunks_head")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// A snapshot refers to them, and the logs are not replayed for what it covers.
	if err := t.deleteSnapshots(); err != nil {
		return false, err
	}
	to, err := t.setAside(kindMmapped, dir, entryName(kindMmapped))
	if err != nil {
		return false, fmt.Errorf("put head chunks aside: %w", err)
	}
	t.logger.Warn("set head chunks aside, making them again from the write logs", "kept_as", to, "err", cause)
	return true, nil
}

// headUnreadable puts a head aside that the TSDB does not open, for no reason that is
// known and none that will pass: the tenant goes on without.
func (t *tenant) headUnreadable(cause error) error {
	if err := t.recordHeadLoss(fmt.Sprintf("the head cannot be opened: %v", cause)); err != nil {
		return err
	}
	if err := os.MkdirAll(t.stagePath(), 0o777); err != nil {
		return fmt.Errorf("put a head aside: %w", err)
	}
	for _, dir := range headDirs {
		to := filepath.Join(t.stagePath(), dir)
		if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
			continue // As it was before it was opened.
		}
		// Not copied: it may be that nothing of it can be read.
		err := os.Rename(filepath.Join(t.dir, dir), to)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("put a head aside: %w", err)
		}
	}
	if _, err := t.setAside(kindHead, t.stagePath(), entryName(kindHead)); err != nil {
		return fmt.Errorf("put a head aside: %w", err)
	}
	return t.discardHead()
}

// renewHead makes blocks of all that is left in a damaged head and throws the head
// away. The next open begins a new one. What was put aside before it was mended stays.
func (t *tenant) renewHead(ctx context.Context, inst *instance) (err error) {
	defer recoverDamage(&err) // The TSDB panics when it cannot write.
	if err := flushDB(ctx, inst.db, t.store.cfg.BlockDuration.Milliseconds()); err != nil && !unreadableLog(err) {
		return errors.Join(fmt.Errorf("cut what is left of a damaged head: %w", err), inst.close())
	}
	if err := inst.close(); err != nil {
		return fmt.Errorf("close what is left of a damaged head: %w", err)
	}
	return t.discardHead()
}

// unreadableLog tells that blocks were cut, and that the part of the log that they make
// needless could not be read to keep the rest.
func unreadableLog(err error) bool {
	var damage *wlog.CorruptionErr
	return errors.As(err, &damage)
}

// replaceHead makes blocks of a head that is whole in memory and has a log that is not
// on disk: the start did not read that part, because of a snapshot. Nothing is lost. The
// tenant's work is held.
func (t *tenant) replaceHead(ctx context.Context, inst *instance, cause error) error {
	t.logger.Error("the write-ahead log is damaged where the last start did not read it: cutting all of the head and beginning a new one", "err", cause)
	t.gate.set(ErrReopening, ErrReopening)
	if err := t.gate.drainAll(ctx); err != nil {
		t.gate.set(nil, nil)
		return fmt.Errorf("wait for users: %w", err)
	}
	err := errors.Join(touch(filepath.Join(t.dir, damagedMark)), t.stage())
	if err == nil {
		_, err = t.setAside(kindHead, t.stagePath(), entryName(kindHead))
	}
	if err != nil {
		t.gate.set(nil, nil)
		return fmt.Errorf("put a copy of a damaged log aside: %w", err)
	}
	t.inst.Store(nil)
	if err := t.renewHead(ctx, inst); err != nil {
		t.gate.set(ErrReopening, ErrReopening)
		return err // Run opens it again, and renews it then.
	}
	t.store.metrics.reopens.WithLabelValues(reopenWALRepaired).Inc()
	return t.open()
}

// discardHead deletes the head. The mark goes last: a crash before it makes the next
// open cut what is left, which is nothing, and come here again.
func (t *tenant) discardHead() error {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return fmt.Errorf("discard head: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if !slices.Contains(headDirs, name) && !strings.HasPrefix(name, "chunk_snapshot.") {
			continue
		}
		// A directory that is deleted in part is found as damage.
		gone := filepath.Join(t.dir, quarantineDir, ".discarded")
		if err := errors.Join(os.RemoveAll(gone), os.MkdirAll(filepath.Dir(gone), 0o777)); err != nil {
			return fmt.Errorf("discard head: %w", err)
		}
		if err := os.Rename(filepath.Join(t.dir, name), gone); err != nil {
			return fmt.Errorf("discard head: %w", err)
		}
		if err := os.RemoveAll(gone); err != nil {
			return fmt.Errorf("discard head: %w", err)
		}
	}
	if err := syncPath(t.dir); err != nil {
		return fmt.Errorf("discard head: %w", err)
	}
	if err := errors.Join(unmark(t.dir, failedMark), unmark(t.dir, damagedMark)); err != nil {
		return err
	}
	return syncPath(t.dir)
}

// damagedHead tells whether the mark is there.
func (t *tenant) damagedHead() (bool, error) {
	_, err := os.Stat(filepath.Join(t.dir, damagedMark))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
