// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// killed copies the directory of an open store, as a kill would leave it.
func killed(t *testing.T, s *Store) string {
	t.Helper()
	return copyDir(t, s.cfg.Dir)
}

// copyDir copies a directory.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	require.NoError(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(from, path)
		require.NoError(t, err)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		return os.WriteFile(filepath.Join(to, rel), raw, 0o600)
	}))
	return to
}

// damageWAL adds a torn record behind the last good one.
func damageWAL(t *testing.T, dir string) (segment string) {
	t.Helper()
	wal := filepath.Join(dir, "wal")
	found, err := segments(wal)
	require.NoError(t, err)
	segment = filepath.Join(wal, "00000000")
	require.Len(t, found, 1)
	f, err := os.OpenFile(segment, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.Write(bytes.Repeat([]byte{1}, 20))
	require.NoError(t, errors.Join(err, f.Close()))
	return segment
}

// TestWBLIsLoadedAfterAWALRepair: the TSDB does not read the WBL when it repaired
// the WAL, and deletes it unread when it cuts the next block.
func TestWBLIsLoadedAfterAWALRepair(t *testing.T) {
	before := testStore(t, Config{BlockDuration: time.Minute})
	require.NoError(t, write(before, "a", 10*minute, 1, named("up")))
	require.NoError(t, write(before, "a", 5*minute, 2, named("up")))
	want := samples(t, before, "a")
	require.Len(t, want[named("up").String()], 2)
	dir := killed(t, before)
	damageWAL(t, filepath.Join(dir, "a"))

	// The TSDB by itself.
	raw := t.TempDir()
	require.NoError(t, os.CopyFS(raw, os.DirFS(filepath.Join(dir, "a"))))
	db, err := tsdb.Open(raw, quiet(testLogger()), nil, before.find("a").tsdbOptions(), nil)
	require.NoError(t, err)
	q, err := db.Querier(0, 20*minute)
	require.NoError(t, err)
	got := readAll(t, q)
	require.NoError(t, errors.Join(q.Close(), db.Close()))
	require.NotEqual(t, want, got, "upstream loads the WBL after a repair now: the second open may go")

	// The store.
	s := testStore(t, Config{Dir: dir, BlockDuration: time.Minute})
	require.Equal(t, want, samples(t, s, "a"))
	require.NoError(t, s.FlushHead(t.Context(), "a"))
	require.Equal(t, want, samples(t, s, "a"))
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.walRepairs))
	require.NoFileExists(t, filepath.Join(dir, "a", failedMark))
}

// TestUnfinishedRepairIsUndone: a repair renames the segment and copies it back
// record by record; a kill between leaves the rest where nobody looks.
func TestUnfinishedRepairIsUndone(t *testing.T) {
	before := testStore(t, Config{})
	require.NoError(t, write(before, "a", 1000, 1, named("up")))
	require.NoError(t, write(before, "a", 2000, 2, named("up")))
	want := samples(t, before, "a")
	dir := killed(t, before)
	segment := damageWAL(t, filepath.Join(dir, "a"))
	require.NoError(t, os.Rename(segment, segment+repairSuffix))
	require.NoError(t, os.WriteFile(segment, nil, 0o600))
	require.NoError(t, os.WriteFile(segment[:len(segment)-1]+"1", nil, 0o600))

	s := testStore(t, Config{Dir: dir})
	require.Equal(t, want, samples(t, s, "a"))
	require.NoFileExists(t, segment+repairSuffix)
}

func TestUnfinishedRepairWithNewerSegmentsIsLeft(t *testing.T) {
	before := testStore(t, Config{})
	require.NoError(t, write(before, "a", 1000, 1, named("up")))
	want := samples(t, before, "a")
	dir := killed(t, before)
	wal := filepath.Join(dir, "a", "wal")
	segment, err := os.ReadFile(filepath.Join(wal, "00000000"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(wal, "00000001"), segment, 0o600))
	stray := filepath.Join(wal, "00000000"+repairSuffix)
	require.NoError(t, os.WriteFile(stray, []byte("x"), 0o600))

	s := testStore(t, Config{Dir: dir})
	require.Equal(t, want, samples(t, s, "a"))
	require.FileExists(t, stray)
}

func TestSnapshotOfFailedTSDBIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, Config{Dir: dir})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	tenant := s.find("a")
	tenant.fail(tenant.inst.Load(), errWriteFailed)
	require.NoError(t, s.Close())
	require.FileExists(t, filepath.Join(dir, "a", failedMark))
	snapshot, _, _, err := tsdb.LastChunkSnapshot(filepath.Join(dir, "a"))
	require.NoError(t, err)

	s = testStore(t, Config{Dir: dir})
	require.NoDirExists(t, snapshot)
	require.NoFileExists(t, filepath.Join(dir, "a", failedMark))
	require.Len(t, samples(t, s, "a"), 1)
}

func TestUnreadableBlockIsSetAside(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: dir, BlockDuration: time.Minute, Now: (&clock{time.UnixMilli(0)}).Now}
	s := testStore(t, cfg)
	require.NoError(t, write(s, "a", minute, 1, named("up")))
	require.NoError(t, write(s, "a", 3*minute, 1, named("up")))
	require.NoError(t, s.FlushHead(context.Background(), "a"))
	blocks := s.Blocks("a")
	require.Len(t, blocks, 2)
	require.NoError(t, s.Close())
	bad := blocks[0].ULID.String()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", bad, "index"), []byte("no index"), 0o600))

	s = testStore(t, cfg)
	require.Len(t, s.Blocks("a"), 1)
	require.DirExists(t, filepath.Join(dir, "a", quarantineDir, bad))
	require.Equal(t, blocks[0].MaxTime, s.LocalStart("a"), "its range is not local any more")
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.quarantined.WithLabelValues(kindBlock)))
}
