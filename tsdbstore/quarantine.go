// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/record"
)

const (
	// quarantineDir is where goes what cannot be read. Nothing reads it again; people
	// may, and may delete what is in it at any time.
	quarantineDir = "quarantine"
	// quarantineEntriesMax and quarantineBytesMax bound it for one tenant; the oldest
	// entries go first, and the newest stays whatever its size.
	quarantineEntriesMax = 20
	quarantineBytesMax   = 4 << 30

	// stageDir is in the quarantine while a TSDB is being opened: second names (hard
	// links) of all files of the head, because the TSDB deletes what it cannot read.
	stageDir = ".opening"
	// snapshotNote is a file in it.
	snapshotNote = "snapshot"
)

// Kinds of what is set aside, the label of metrics.quarantined.
const (
	kindHead     = "head" // WAL, its checkpoint and WBL, which are of use together only.
	kindMmapped  = "chunks_head"
	kindSnapshot = "snapshot"
	kindBlock    = "block"
)

// headDirs are where the head is.
var headDirs = []string{"wal", "wbl", "chunks_head"}

// stage gives second names to the files of the head. What an open that was cut short
// left there is looked at before: see leftover. On a file system without hard links
// there are none, and what the TSDB deletes is not kept.
func (t *tenant) stage() error {
	if err := t.unstage(); err != nil {
		return err
	}
	for _, dir := range headDirs {
		err := linkTree(filepath.Join(t.dir, dir), filepath.Join(t.stagePath(), dir))
		if cannotLink(err) {
			t.logger.Warn("no hard links here: damaged logs are not kept", "err", err)
			return errors.Join(t.unstage(headDirs...), t.noteSnapshot())
		}
		if err != nil {
			return fmt.Errorf("link files before they are opened: %w", err)
		}
	}
	return t.noteSnapshot()
}

// noteSnapshot keeps the name of the snapshot that the TSDB is about to load. A TSDB that
// does not open writes another one as it gives up, of what it had loaded until then, and
// the next open would take that for all.
func (t *tenant) noteSnapshot() error {
	dir, _, _, err := tsdb.LastChunkSnapshot(t.dir)
	if errors.Is(err, record.ErrNotFound) {
		dir, err = "none", nil
	}
	if err == nil {
		err = os.MkdirAll(t.stagePath(), 0o777)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(t.stagePath(), snapshotNote), []byte(filepath.Base(dir)), 0o666)
	}
	if err != nil {
		return fmt.Errorf("note snapshot: %w", err)
	}
	return nil
}

// dropHalfSnapshots deletes snapshots that an open which failed, or was killed, wrote.
func (t *tenant) dropHalfSnapshots() error {
	noted, err := os.ReadFile(filepath.Join(t.stagePath(), snapshotNote))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for snapshots of an open that failed: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(t.dir, "chunk_snapshot.*"))
	for _, path := range found {
		if filepath.Base(path) != string(noted) {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	if err != nil {
		return fmt.Errorf("delete snapshot of an open that failed: %w", err)
	}
	return nil
}

func cannotLink(err error) bool {
	return errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported)
}

func (t *tenant) stagePath() string { return filepath.Join(t.dir, quarantineDir, stageDir) }

// unstage drops the second names, of some directories or of all.
func (t *tenant) unstage(dirs ...string) error {
	if len(dirs) == 0 {
		dirs = []string{""}
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(filepath.Join(t.stagePath(), dir)); err != nil {
			return fmt.Errorf("unlink what was opened: %w", err)
		}
	}
	return nil
}

// linkTree makes a copy of a directory whose files are the same files. A directory
// that does not exist has no copy.
func linkTree(from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
	if errors.Is(err, os.ErrNotExist) {
		if _, statErr := os.Stat(from); errors.Is(statErr, os.ErrNotExist) {
			return nil
		}
	}
	return err
}

// leftover tells whether an open that was cut short had deleted or replaced files in
// some directories of the head: their second name is the only one.
func (t *tenant) leftover(dirs ...string) (bool, error) {
	gone := false
	for _, dir := range dirs {
		root := filepath.Join(t.stagePath(), dir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			staged, err := os.Stat(path)
			if err != nil {
				return err
			}
			live, err := os.Stat(filepath.Join(t.dir, dir, rel))
			if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(staged, live) {
				gone = true
				return fs.SkipAll
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, fmt.Errorf("look for an open that was cut short: %w", err)
		}
	}
	return gone, nil
}

// setAside moves a path of this tenant into the quarantine and bounds what is there.
func (t *tenant) setAside(kind, path, name string) (string, error) {
	root := filepath.Join(t.dir, quarantineDir)
	if err := os.MkdirAll(root, 0o777); err != nil {
		return "", err
	}
	to, err := freeName(filepath.Join(root, name))
	if err != nil {
		return "", err
	}
	if err := os.Rename(path, to); err != nil {
		return "", err
	}
	// The time of the move decides which entry is the oldest.
	now := time.Now()
	err = errors.Join(os.Chtimes(to, now, now), syncPath(root), syncPath(filepath.Dir(path)))
	t.store.metrics.quarantined.WithLabelValues(kind).Inc()
	t.trimQuarantine(root)
	return to, err
}

// entryName names an entry that has no name of its own.
func entryName(kind string) string { return kind + "-" + time.Now().UTC().Format("20060102T150405Z") }

// freeName is path, or path with a number behind it if that exists.
func freeName(path string) (string, error) {
	for n, try := 2, path; ; n, try = n+1, fmt.Sprintf("%s.%d", path, n) {
		_, err := os.Lstat(try)
		if errors.Is(err, os.ErrNotExist) {
			return try, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// trimQuarantine deletes the oldest entries until the rest is within the bounds.
func (t *tenant) trimQuarantine(root string) {
	type entry struct {
		path  string
		at    time.Time
		bytes int64
	}
	var (
		kept  []entry
		total int64
	)
	found, err := os.ReadDir(root)
	if err != nil {
		t.logger.Warn("cannot look at the quarantine", "err", err)
		return
	}
	for _, e := range found {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(root, e.Name())
		kept = append(kept, entry{path: path, at: info.ModTime(), bytes: dirBytes(path)})
		total += kept[len(kept)-1].bytes
	}
	slices.SortFunc(kept, func(a, b entry) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.path, b.path)) })
	for len(kept) > 1 && (len(kept) > quarantineEntriesMax || total > quarantineBytesMax) {
		t.logger.Warn("the quarantine is full, deleting its oldest entry", "entry", kept[0].path, "bytes", kept[0].bytes)
		if err := os.RemoveAll(kept[0].path); err != nil {
			t.logger.Warn("cannot delete from the quarantine", "err", err)
			return
		}
		total -= kept[0].bytes
		kept = kept[1:]
	}
}
