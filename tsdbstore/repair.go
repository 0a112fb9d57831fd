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

	"github.com/prometheus/prometheus/tsdb"
)

const (
	// failedMark is a file in a tenant's directory which says that the TSDB
	// there failed and was, or may have been, closed: its snapshot must not be
	// used, because it would hide the damaged place of the WAL from the repair
	// and leave it as a trap for a later replay. It holds the numbers of the first
	// segments of WAL and WBL that this TSDB wrote: what a failed write left is in
	// these or later ones, behind all that was acknowledged.
	failedMark = "penstock.wal-failed"
	// repairSuffix is what the TSDB calls a damaged segment while it copies the
	// good part of it.
	repairSuffix = ".repair"
)

// markFailed writes the mark; idempotent.
func markFailed(dir string, from failedFrom) error {
	content := fmt.Sprintf("%d %d\n", from.wal, from.wbl)
	if err := os.WriteFile(filepath.Join(dir, failedMark), []byte(content), 0o666); err != nil {
		return fmt.Errorf("mark failed TSDB: %w", err)
	}
	return nil
}

// unmark removes a mark; idempotent.
func unmark(dir, mark string) error {
	err := os.Remove(filepath.Join(dir, mark))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mark: %w", err)
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
