// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// damagedMark is a file in a tenant's directory which says that records of the head
// were lost. What is left of the head must become blocks and a new head begin: the
// numbers of the series whose records are gone would be given to new series, and what
// the WBL and the head chunks have under these numbers would become theirs.
const damagedMark = "penstock.head-damaged"

// finding is damage of one file of the head.
type finding struct {
	what string // For people.
	// mend makes the file, or its place, readable without what is lost.
	mend func() error
}

// examine looks for damage in what the TSDB is about to replay, before it does. All
// records that can be read are kept, where the TSDB would drop all behind the first
// damage, or not see it. It leaves alone what was never acknowledged: a torn end, and what
// a failed write left; the TSDB cuts the log there.
func (t *tenant) examine() error {
	if err := t.dropHalfSnapshots(); err != nil {
		return err
	}
	// Deleted head chunks are in the logs, but a snapshot hides these.
	gone, err := t.leftover("chunks_head")
	if err == nil && gone {
		err = t.deleteSnapshots()
	}
	if err != nil {
		return err
	}
	gone, err = t.leftover("wal", "wbl")
	if err != nil {
		return err
	}
	if gone {
		if err := t.headLost("an earlier start that did not end deleted damaged segments", nil); err != nil {
			return err
		}
	}
	if err := t.examineSnapshot(); err != nil {
		return err
	}
	if err := t.examineHeadChunks(); err != nil {
		return err
	}
	if err := t.stage(); err != nil {
		return err
	}
	mark, err := readFailedMark(t.dir)
	if err != nil {
		return err
	}
	wal, toleratedWAL, err := t.examineWAL(mark.wal)
	if err != nil {
		return err
	}
	wbl, toleratedWBL, err := t.examineSegments("wbl", 0, mark.wbl)
	if err != nil {
		return err
	}
	t.examined = true
	if found := slices.Concat(wal, wbl); len(found) > 0 {
		if err := t.headLost(describe(found), found); err != nil {
			return err
		}
		return t.noteSnapshot()
	}
	if toleratedWAL || toleratedWBL {
		// The TSDB will drop an end that is worth nothing.
		return t.unstage("wal", "wbl")
	}
	return nil
}

// describe says what was found, of many only the first.
func describe(found []finding) string {
	const shown = 3
	var parts []string
	for _, f := range found[:min(shown, len(found))] {
		parts = append(parts, f.what)
	}
	if more := len(found) - shown; more > 0 {
		parts = append(parts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(parts, ", ")
}

// headLost makes it durable that records of the head are lost, then puts a copy of the
// head aside, and then mends what was found.
func (t *tenant) headLost(why string, found []finding) error {
	if err := t.recordHeadLoss(why); err != nil {
		return err
	}
	if err := t.copyHead(); err != nil {
		return fmt.Errorf("copy a damaged head: %w", err)
	}
	if _, err := t.setAside(kindHead, t.stagePath(), entryName(kindHead)); err != nil {
		return fmt.Errorf("put a damaged head aside: %w", err)
	}
	for _, f := range found {
		if err := f.mend(); err != nil {
			return fmt.Errorf("mend %s: %w", f.what, err)
		}
	}
	return nil
}

// recordHeadLoss puts it on record, and marks the head.
func (t *tenant) recordHeadLoss(why string) error {
	from, to, err := t.headRange()
	if err != nil {
		return err
	}
	var bytes int64
	for _, dir := range headDirs {
		bytes += dirBytes(filepath.Join(t.dir, dir))
	}
	reason := fmt.Sprintf("%s; the head of %d bytes is kept in %s", why, bytes, filepath.Join(t.dir, quarantineDir))
	if _, err := t.store.AddLoss(Loss{Tenant: t.name, MinTime: from, MaxTime: to, Reason: reason}); err != nil {
		return fmt.Errorf("record a damaged head: %w", err)
	}
	if err := touch(filepath.Join(t.dir, damagedMark)); err != nil {
		return fmt.Errorf("mark a damaged head: %w", err)
	}
	return nil
}

// copyHead copies to the stage what of the head has no second names there.
func (t *tenant) copyHead() error {
	to := t.stagePath()
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	for _, dir := range headDirs {
		if _, err := os.Stat(filepath.Join(to, dir)); !errors.Is(err, os.ErrNotExist) {
			continue // As it was before it was opened.
		}
		err := os.CopyFS(filepath.Join(to, dir), os.DirFS(filepath.Join(t.dir, dir)))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(err, os.RemoveAll(to))
		}
	}
	return nil
}

// examineSnapshot sets a damaged snapshot aside. It is no loss: the logs have it all.
func (t *tenant) examineSnapshot() error {
	dir, _, _, err := tsdb.LastChunkSnapshot(t.dir)
	if errors.Is(err, record.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for snapshot: %w", err)
	}
	found, _, err := t.examineDir(dir, 0, math.MaxInt, false)
	if err != nil || len(found) == 0 {
		return err
	}
	to, err := t.setAside(kindSnapshot, dir, entryName(kindSnapshot))
	if err != nil {
		return fmt.Errorf("put a damaged snapshot aside: %w", err)
	}
	t.logger.Warn("set a damaged snapshot aside, replaying the logs instead", "damage", describe(found), "kept_as", to)
	return nil
}

// examineWAL looks at what of the WAL will be replayed: the newest checkpoint and the
// segments behind it, or those since the snapshot.
func (t *tenant) examineWAL(failedFrom int) (found []finding, tolerated bool, err error) {
	dir := filepath.Join(t.dir, "wal")
	_, snapshot, _, err := tsdb.LastChunkSnapshot(t.dir)
	if errors.Is(err, record.ErrNotFound) {
		snapshot, err = -1, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for snapshot: %w", err)
	}
	first := 0
	checkpoint, index, err := wlog.LastCheckpoint(dir)
	switch {
	case errors.Is(err, record.ErrNotFound), errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, false, fmt.Errorf("look for checkpoint: %w", err)
	default:
		first = index + 1
		if index >= snapshot {
			if found, _, err = t.examineDir(checkpoint, 0, math.MaxInt, false); err != nil {
				return nil, false, err
			}
		}
	}
	more, tolerated, err := t.examineSegments("wal", max(first, snapshot), failedFrom)
	return append(found, more...), tolerated, err
}

// examineSegments looks at the segments of a log of this tenant.
func (t *tenant) examineSegments(log string, first, failedFrom int) ([]finding, bool, error) {
	return t.examineDir(filepath.Join(t.dir, log), first, failedFrom, t.tornIsLegal())
}

// examineDir looks at the segments in a directory from a number on. Damage in those
// from failedFrom on, and a torn end if that is legal, is tolerated and not found.
func (t *tenant) examineDir(dir string, first, failedFrom int, tornIsLegal bool) (found []finding, tolerated bool, err error) {
	have, err := segments(dir)
	if errors.Is(err, os.ErrNotExist) {
		have, err = nil, nil
	}
	if err != nil {
		return nil, false, err
	}
	missing, err := t.missingSegments(dir, have, first)
	if err != nil {
		return nil, false, err
	}
	found = missing
	last := lastWithData(dir, have)
	for _, n := range have {
		if n < first {
			continue
		}
		path := segmentPath(dir, n)
		scan, err := scanLog(path)
		if err != nil {
			return nil, false, err
		}
		switch {
		case !scan.damaged:
		case n >= failedFrom, scan.torn && tornIsLegal && n == last:
			tolerated = true
		default:
			found = append(found, finding{
				what: "damaged " + t.short(path),
				mend: func() error { return rewriteLog(path, scan.keep) },
			})
		}
	}
	return found, tolerated, nil
}

// missingSegments finds gaps in the numbers, and segments that are not what they were
// when the store was closed. An empty file is as good as none, and opens.
func (t *tenant) missingSegments(dir string, have []int, first int) (found []finding, err error) {
	sizes := t.closedSizes(dir)
	exists := make(map[int]bool, len(have))
	for _, n := range have {
		exists[n] = true
		path := segmentPath(dir, n)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if want := sizes[filepath.Base(path)]; info.Size() < want {
			found = append(found, finding{
				what: fmt.Sprintf("%s has %d bytes of %d", t.short(path), info.Size(), want),
				mend: func() error { return nil },
			})
		}
	}
	expect := func(n int) {
		if exists[n] {
			return
		}
		exists[n] = true
		path := segmentPath(dir, n)
		found = append(found, finding{what: "missing " + t.short(path), mend: func() error {
			if err := os.MkdirAll(dir, 0o777); err != nil {
				return err
			}
			return touch(path)
		}})
	}
	if len(have) > 0 {
		// Replay of the WAL begins at first, that of other logs at what there is.
		from := have[0]
		if filepath.Base(dir) == "wal" {
			from = min(from, first)
		}
		for n := from; n < have[len(have)-1]; n++ {
			expect(n)
		}
	}
	for name := range sizes {
		if n, err := strconv.Atoi(name); err == nil {
			expect(n)
		}
	}
	return found, nil
}

// short is a path below the directory of the tenant.
func (t *tenant) short(path string) string {
	if rel, err := filepath.Rel(t.dir, path); err == nil {
		return rel
	}
	return path
}

func segmentPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%08d", n)) }

// lastWithData is the newest segment that is not empty; each open begins a new one.
func lastWithData(dir string, have []int) int {
	for i := len(have) - 1; i >= 0; i-- {
		if info, err := os.Stat(segmentPath(dir, have[i])); err != nil || info.Size() > 0 {
			return have[i]
		}
	}
	return -1
}

func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// failedFrom tells from which segment on damage is what a failed write left.
type failedFrom struct{ wal, wbl int }

// readFailedMark reads failedMark: two numbers of segments. Without a mark no write
// failed; what cannot be read is of an earlier build, and says nothing about where.
func readFailedMark(dir string) (failedFrom, error) {
	raw, err := os.ReadFile(filepath.Join(dir, failedMark))
	if errors.Is(err, os.ErrNotExist) {
		return failedFrom{wal: math.MaxInt, wbl: math.MaxInt}, nil
	}
	if err != nil {
		return failedFrom{}, fmt.Errorf("read failure mark: %w", err)
	}
	fields := strings.Fields(string(raw))
	if len(fields) == 2 {
		wal, err1 := strconv.Atoi(fields[0])
		wbl, err2 := strconv.Atoi(fields[1])
		if err1 == nil && err2 == nil {
			return failedFrom{wal: wal, wbl: wbl}, nil
		}
	}
	return failedFrom{}, nil
}
