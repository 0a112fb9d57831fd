// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// openAttemptsMax is enough for each thing that an open can mend by itself, a block,
// a log and what the other log then shows, to be mended once, and for the head to be
// begun anew after that.
const openAttemptsMax = 6

// openMended opens the TSDB and sees to it that its logs are whole and fully loaded.
// What cannot be read is set aside first, and a loss of it is on record before this
// returns:
//
//	look at meta.json of blocks, snapshot, checkpoint, WAL, WBL
//	  |  damaged: loss, copy to quarantine, keep the good records, mark the head
//	  v
//	take markers without a chunk out of the WBL
//	  v
//	open --error--> a bad block: loss, quarantine, again
//	  |             else the head: loss, quarantine, again without
//	  |--the TSDB cut a log--> again, as it stopped loading there
//	  |--the head is marked--> make blocks of it, begin a new one, again
//	  v
//	done
func (t *tenant) openMended() (*instance, error) {
	if err := t.store.disk.checkOpen(); err != nil {
		return nil, err
	}
	if err := t.makeDir(); err != nil {
		return nil, err
	}
	if err := t.horizon.load(); err != nil {
		return nil, err
	}
	if err := t.syncLogs(); err != nil {
		return nil, err
	}
	for range openAttemptsMax {
		if err := t.prepareDir(); err != nil {
			return nil, err
		}
		if err := t.examineBlocks(); err != nil {
			return nil, err
		}
		if err := t.examine(); err != nil {
			if isEnvironment(err) {
				return nil, err
			}
			if err := t.headUnreadable(err); err != nil {
				return nil, err
			}
			continue
		}
		if err := t.dropMarkers(); err != nil {
			return nil, err
		}
		fromSnapshot := t.hasSnapshot()
		inst, err := t.openInstance()
		if err != nil {
			if err := t.mendUnopenable(err); err != nil {
				return nil, err
			}
			continue
		}
		if fromSnapshot && inst.watch.skipped() {
			if err := t.discardSnapshot(inst); err != nil {
				return nil, err
			}
			continue
		}
		done, err := t.settle(inst)
		if err != nil {
			return nil, err
		}
		if done {
			return inst, nil
		}
	}
	return nil, fmt.Errorf("still damaged after %d attempts to mend it", openAttemptsMax)
}

// makeDir makes the directory, and its name durable: what is acknowledged in it must
// not go with it.
func (t *tenant) makeDir() error {
	if err := os.MkdirAll(t.dir, 0o777); err != nil {
		return fmt.Errorf("make tenant directory: %w", err)
	}
	if err := syncPath(t.store.cfg.Dir); err != nil {
		return fmt.Errorf("sync storage directory: %w", err)
	}
	return nil
}

// syncLogs makes durable what a process that was killed had acknowledged. Nobody would
// later: the TSDB goes on with new segments.
func (t *tenant) syncLogs() error {
	if t.store.last.Clean || t.everOpen.Load() {
		return nil
	}
	for _, log := range []string{"wal", "wbl"} {
		dir := filepath.Join(t.dir, log)
		found, err := segments(dir)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		for _, n := range found {
			err = errors.Join(err, syncPath(segmentPath(dir, n)))
		}
		if err = errors.Join(err, syncPath(dir)); err != nil {
			return fmt.Errorf("sync logs of the last process: %w", err)
		}
	}
	return nil
}

// mendUnopenable sets aside what keeps the TSDB from opening, or returns why it cannot.
func (t *tenant) mendUnopenable(cause error) error {
	if isEnvironment(cause) {
		return cause
	}
	moved, err := t.quarantineUnopenable()
	if err != nil {
		return errors.Join(cause, err)
	}
	if moved > 0 {
		return nil
	}
	if moved, err := t.mmappedUnreadable(cause); moved || err != nil {
		return err
	}
	if err := t.headUnreadable(cause); err != nil {
		return errors.Join(cause, err)
	}
	return nil
}

// settle looks at what an open found out, and tells whether the TSDB may be used. If
// not it is closed, and is to be opened again.
func (t *tenant) settle(inst *instance) (done bool, err error) {
	if err := t.keepDropped(inst); err != nil {
		return false, errors.Join(err, inst.close())
	}
	if inst.watch.repaired() {
		// The TSDB stops loading where it repaired: after a repair of the WAL
		// it has read nothing of the WBL, and would delete it unread when it
		// next cuts a block. The logs are whole now, so load them again.
		t.store.metrics.walRepairs.Inc()
		t.logger.Warn("cut a damaged write log, loading it again")
		if err := errors.Join(t.markRepaired(inst), inst.close()); err != nil {
			return false, err
		}
		t.store.metrics.reopens.WithLabelValues(reopenWALRepaired).Inc()
		return false, nil
	}
	damaged, err := t.damagedHead()
	if err != nil {
		return false, errors.Join(err, inst.close())
	}
	if damaged {
		t.store.metrics.reopens.WithLabelValues(reopenWALRepaired).Inc()
		if err := t.unstage(); err != nil {
			return false, errors.Join(err, inst.close())
		}
		return false, t.renewHead(context.Background(), inst)
	}
	if err := errors.Join(unmark(t.dir, failedMark), t.unstage()); err != nil {
		return false, errors.Join(err, inst.close())
	}
	return true, nil
}

// markRepaired makes the next open delete the snapshot that closing this one writes. A
// mark that is there tells what a failed write left, maybe in the other log, and stays.
func (t *tenant) markRepaired(inst *instance) error {
	_, err := os.Stat(filepath.Join(t.dir, failedMark))
	if errors.Is(err, os.ErrNotExist) {
		return markFailed(t.dir, inst.wrote)
	}
	return err
}

// keepDropped keeps what the TSDB dropped while it opened. That it repairs a log in
// which nothing was found, and no end was left to it to cut, is a loss. Head chunks are
// none: the logs have their samples.
func (t *tenant) keepDropped(inst *instance) error {
	if inst.watch.repaired() {
		gone, err := t.leftover("wal", "wbl")
		if err != nil {
			return err
		}
		if gone {
			return t.headLost("the TSDB could not read a record of a write log", nil)
		}
	}
	if inst.watch.value(mmapCorruptions) > 0 || inst.watch.value(snapshotErrors) > 0 {
		// It was not loaded now, and must not be at the next start: it refers to head
		// chunks that are gone, and hides the part of the logs that has their samples.
		if err := t.deleteSnapshots(); err != nil {
			return err
		}
	}
	if inst.watch.value(mmapCorruptions) > 0 {
		staged := filepath.Join(t.stagePath(), "chunks_head")
		if _, err := os.Stat(staged); err == nil {
			to, err := t.setAside(kindMmapped, staged, entryName(kindMmapped))
			if err != nil {
				return fmt.Errorf("put damaged head chunks aside: %w", err)
			}
			t.logger.Warn("head chunks were damaged and are made again from the write logs", "kept_as", to)
		}
	}
	if inst.watch.value(snapshotErrors) > 0 {
		t.store.metrics.quarantined.WithLabelValues(kindSnapshot).Inc()
		t.logger.Warn("the snapshot could not be loaded, replayed the write logs instead")
	}
	return nil
}
