// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
)

func TestQuarantineIsBounded(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	tenant := s.find("a")
	for i := range quarantineEntriesMax + 3 {
		path := filepath.Join(tenant.dir, fmt.Sprintf("bad-%d", i))
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
		_, err := tenant.setAside(kindBlock, path, filepath.Base(path))
		require.NoError(t, err)
	}
	root := filepath.Join(tenant.dir, quarantineDir)
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, entries, quarantineEntriesMax)
	require.NoFileExists(t, filepath.Join(root, "bad-0"))
	require.FileExists(t, filepath.Join(root, fmt.Sprintf("bad-%d", quarantineEntriesMax+2)))

	// One that is larger than all that may be there stays, alone. The file is sparse.
	path := filepath.Join(tenant.dir, "large")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, quarantineBytesMax+1))
	_, err = tenant.setAside(kindBlock, path, "large")
	require.NoError(t, err)
	entries, err = os.ReadDir(root)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "large", entries[0].Name())
}

// TestKillWhileTheTSDBRepairs: the TSDB deleted segments, and the process died before
// it could be seen.
func TestKillWhileTheTSDBRepairs(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	require.NoError(t, s.find("a").stage())
	dir := killed(t, s)
	// The copy has no second names: its staged files are all that is left.
	s = testStore(t, Config{Dir: dir})
	require.Len(t, s.Losses(), 1)
	require.NoDirExists(t, filepath.Join(dir, "a", quarantineDir, stageDir))
	found, err := filepath.Glob(filepath.Join(dir, "a", quarantineDir, "head-*", "wal", "00000000"))
	require.NoError(t, err)
	require.Len(t, found, 1)
}

// TestOpenLeavesNothingBehind: the second names are for the open only.
func TestOpenLeavesNothingBehind(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	s = testStore(t, Config{Dir: killed(t, s)})
	require.Len(t, samples(t, s, "a"), 1)
	require.NoDirExists(t, filepath.Join(s.TenantDir("a"), quarantineDir, stageDir))
}

// TestRangeOfABlockWithNothingToRead: its name tells when it was made.
func TestRangeOfABlockWithNothingToRead(t *testing.T) {
	s := testStore(t, Config{Retention: 48 * time.Hour})
	made := time.UnixMilli(1_700_000_000_000)
	id := ulid.MustNew(ulid.Timestamp(made), nil)
	from, to := newTenant(s, "a").blockRange(id, filepath.Join(s.cfg.Dir, "none"))
	require.Less(t, from, made.Add(-48*time.Hour).UnixMilli())
	require.Greater(t, from, made.Add(-60*time.Hour).UnixMilli())
	require.Greater(t, to, made.Add(10*time.Minute).UnixMilli())
}

// TestUnknownTroubleKeepsTheHead: an error that is not about the bytes must not cost the head.
func TestUnknownTroubleKeepsTheHead(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	dir := killed(t, s)
	s, err := Open(Config{Dir: dir, MinFreeBytes: 10, Retention: -1, freeBytes: func(string) (int64, error) { return 0, nil }}, testLogger(), nil)
	require.NoError(t, err)
	require.ErrorIs(t, s.Replay(t.Context()), ErrDiskLow)
	require.NoError(t, s.Close())
	require.Empty(t, s.Losses())
	require.Len(t, samples(t, testStore(t, Config{Dir: dir}), "a"), 1)
}

// TestHeadThatDoesNotOpen: whatever keeps the head from opening, the tenant goes on.
func TestHeadThatDoesNotOpen(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	dir := killed(t, s)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a", "wal", "checkpoint.00000000"), nil, 0o600)) // Not a directory.
	s = testStore(t, Config{Dir: dir})
	require.Len(t, s.Losses(), 1)
	require.Empty(t, samples(t, s, "a"))
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
	found, err := filepath.Glob(filepath.Join(dir, "a", quarantineDir, "head-*", "wal", "00000000"))
	require.NoError(t, err)
	require.Len(t, found, 1, "its samples are kept")
}

func TestHoleInHeadChunks(t *testing.T) {
	chunk := func(ref uint64) []byte {
		raw := binary.BigEndian.AppendUint64(nil, ref)
		raw = append(raw, make([]byte, 16)...)
		raw = append(raw, 1, 3, 'a', 'b', 'c')
		return append(raw, make([]byte, headChunkSum)...)
	}
	header, room := make([]byte, headChunksHeader), make([]byte, 4096)
	for name, c := range map[string]struct {
		parts [][]byte
		hole  bool
	}{
		"whole":  {parts: [][]byte{header, chunk(1), chunk(2)}},
		"room":   {parts: [][]byte{header, chunk(1), room}},
		"hole":   {parts: [][]byte{header, chunk(1), room, chunk(2)}, hole: true},
		"empty":  {},
		"header": {parts: [][]byte{header, room}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "000001")
			var raw []byte
			for _, part := range c.parts {
				raw = append(raw, part...)
			}
			require.NoError(t, os.WriteFile(path, raw, 0o600))
			hole, err := hasHole(path)
			require.NoError(t, err)
			require.Equal(t, c.hole, hole)
		})
	}
}

// TestSnapshotOfAFailedOpenIsNotUsed: a TSDB that gives up in the middle of its logs
// leaves a snapshot of what it had.
func TestSnapshotOfAFailedOpenIsNotUsed(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	require.NoError(t, s.Close())
	good, err := filepath.Glob(filepath.Join(s.TenantDir("a"), "chunk_snapshot.*"))
	require.NoError(t, err)
	require.Len(t, good, 1)
	require.NoError(t, newTenant(s, "a").stage())
	half := filepath.Join(s.TenantDir("a"), "chunk_snapshot.000099.0000000000")
	require.NoError(t, os.Mkdir(half, 0o700))
	require.NoError(t, newTenant(s, "a").examine())
	require.NoDirExists(t, half)
	require.DirExists(t, good[0])
	require.Len(t, samples(t, testStore(t, Config{Dir: s.cfg.Dir}), "a"), 1)
}
