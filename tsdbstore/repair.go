// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	// failedMark is a file in a tenant's directory which says that the TSDB
	// there failed and was, or may have been, closed: its snapshot must not be
	// used, because it would hide the damaged place of the WAL from the repair
	// and leave it as a trap for a later replay.
	failedMark = "penstock.wal-failed"
	// quarantineDir is where blocks go that cannot be opened.
	quarantineDir = "quarantine"
	// repairSuffix is what the TSDB calls a damaged segment while it copies the
	// good part of it.
	repairSuffix = ".repair"
)

// markFailed writes the mark; idempotent.
func markFailed(dir string) error {
	f, err := os.Create(filepath.Join(dir, failedMark))
	if err != nil {
		return fmt.Errorf("mark failed TSDB: %w", err)
	}
	return f.Close()
}

func unmarkFailed(dir string) error {
	err := os.Remove(filepath.Join(dir, failedMark))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unmark failed TSDB: %w", err)
	}
	return nil
}

// prepareDir undoes what an earlier failure or crash left half done. It runs
// before each open, and running it again changes nothing.
func (t *tenant) prepareDir() error {
	for _, log := range []string{"wal", "wbl"} {
		if err := t.undoRepair(filepath.Join(t.dir, log)); err != nil {
			return fmt.Errorf("undo unfinished repair: %w", err)
		}
	}
	_, err := os.Stat(filepath.Join(t.dir, failedMark))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for failure mark: %w", err)
	}
	if err := tsdb.DeleteChunkSnapshots(t.dir, math.MaxInt, math.MaxInt); err != nil {
		return fmt.Errorf("delete snapshot of failed TSDB: %w", err)
	}
	return nil
}

// undoRepair puts a segment back that the TSDB was repairing when it died or ran
// out of space. The TSDB renames the damaged segment, copies its good records to
// a new one of the same name, and removes the renamed one; it never looks at a
// renamed one again, so without this the rest of its records would be lost.
func (t *tenant) undoRepair(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, isRepair := strings.CutSuffix(entry.Name(), repairSuffix)
		segment, err := strconv.Atoi(name)
		if !isRepair || err != nil {
			continue
		}
		newer, err := newerData(dir, segment)
		if err != nil {
			return err
		}
		if newer {
			// Somebody opened it since and wrote on: both cannot be kept in order.
			t.logger.Error("found an unfinished repair of a write log with newer segments, left as it is", "dir", dir, "segment", segment)
			continue
		}
		t.logger.Warn("undoing an unfinished repair of a write log", "dir", dir, "segment", segment)
		if err := os.Rename(filepath.Join(dir, entry.Name()), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// newerData tells whether a segment after n holds anything.
func newerData(dir string, n int) (bool, error) {
	found, err := segments(dir)
	if err != nil {
		return false, err
	}
	for _, s := range found {
		if s <= n {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%08d", s)))
		if err != nil {
			return false, err
		}
		if info.Size() > 0 {
			return true, nil
		}
	}
	return false, nil
}

// quarantineBlocks sets blocks aside that cannot be opened, and returns how many
// it did. One such block keeps a TSDB from opening at all; without it the node
// serves the rest, and other copies or the bucket have the range.
func (t *tenant) quarantineBlocks() (int, error) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return 0, fmt.Errorf("list blocks: %w", err)
	}
	moved := 0
	for _, entry := range entries {
		id, err := ulid.ParseStrict(entry.Name())
		if err != nil || !entry.IsDir() {
			continue
		}
		dir := filepath.Join(t.dir, entry.Name())
		block, openErr := tsdb.OpenBlock(quiet(t.logger), dir, nil, nil)
		if openErr == nil {
			if err := block.Close(); err != nil {
				return moved, fmt.Errorf("close block %s: %w", id, err)
			}
			continue
		}
		// What it covered is not local any more.
		if err := t.horizon.raise(blockMaxTime(dir)); err != nil {
			return moved, fmt.Errorf("quarantine block %s: %w", id, err)
		}
		if err := os.MkdirAll(filepath.Join(t.dir, quarantineDir), 0o777); err != nil {
			return moved, fmt.Errorf("quarantine block %s: %w", id, err)
		}
		if err := os.Rename(dir, filepath.Join(t.dir, quarantineDir, entry.Name())); err != nil {
			return moved, fmt.Errorf("quarantine block %s: %w", id, err)
		}
		moved++
		t.store.metrics.quarantined.Inc()
		t.logger.Error("set aside a block that cannot be read", "block", id, "dir", filepath.Join(t.dir, quarantineDir), "err", openErr)
	}
	return moved, nil
}
