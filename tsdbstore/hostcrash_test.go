// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestHostCrash: what was acknowledged may have been in the page cache only, and a log
// that lost its end looks whole.
func TestHostCrash(t *testing.T) {
	const now = 100 * minute
	boot := func(id string) func() (string, error) { return func() (string, error) { return id, nil } }
	for name, c := range map[string]struct {
		syncBefore, syncAfter string
		after                 string // boot id
		clean, noFile         bool
		lost                  bool
	}{
		"host crashed":               {after: "two", lost: true},
		"process died":               {after: "one"},
		"host restarted, clean stop": {after: "two", clean: true},
		"commit":                     {after: "two", syncBefore: WALSyncCommit, syncAfter: WALSyncCommit},
		"commit only since":          {after: "two", syncAfter: WALSyncCommit, lost: true},
		"commit only before":         {after: "two", syncBefore: WALSyncCommit},
		"no boot ids here":           {after: ""},
		"not known":                  {after: "one", noFile: true, lost: true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{
				BlockDuration: time.Minute, OutOfOrderWindow: 10 * time.Minute, Now: (&clock{time.UnixMilli(now)}).Now,
				WALSync: c.syncBefore, BootID: boot("one"),
			}
			s := testStore(t, cfg)
			require.NoError(t, write(s, "a", 90*minute, 1, named("up")))
			require.NoError(t, s.FlushHead(t.Context(), "a"))
			require.NoError(t, write(s, "a", 95*minute, 1, named("up")))
			require.NoError(t, write(s, "new", 95*minute, 1, named("up")))
			cfg.Dir = killed(t, s)
			if c.clean {
				require.NoError(t, s.Close())
				cfg.Dir = s.cfg.Dir
			}
			if c.noFile {
				require.NoError(t, os.Remove(filepath.Join(cfg.Dir, runFile)))
			}
			cfg.MinFreeBytes, cfg.Retention = -1, -1
			cfg.WALSync, cfg.BootID = c.syncAfter, boot(c.after)
			next, err := Open(cfg, testLogger(), nil)
			require.NoError(t, err)
			defer next.Close()
			if !c.lost {
				require.Empty(t, next.Losses())
				return
			}
			// On record before any tenant is open.
			found := next.Losses()
			require.Len(t, found, 2)
			require.Equal(t, "a", found[0].Tenant)
			// The block ended at 90 minutes; late samples are ten minutes late at most.
			require.LessOrEqual(t, found[0].MinTime, 80*minute)
			require.Greater(t, found[0].MinTime, 70*minute, "what was synced long ago is not lost")
			require.Greater(t, found[0].MaxTime, now)
			require.Equal(t, "new", found[1].Tenant)
			require.Less(t, found[1].MinTime, 80*minute)
			require.NoError(t, next.Replay(t.Context()))

			cfg.Dir, cfg.BootID = killed(t, next), boot("two")
			require.Equal(t, found, testStore(t, cfg).Losses(), "found once")
		})
	}
}

func TestFirstStartLosesNothing(t *testing.T) {
	s := testStore(t, Config{})
	require.Empty(t, s.Losses())
	state, known, err := loadRunState(s.cfg.Dir)
	require.NoError(t, err)
	require.True(t, known)
	require.False(t, state.Clean, "running")
	require.NoError(t, s.Close())
	state, _, err = loadRunState(s.cfg.Dir)
	require.NoError(t, err)
	require.True(t, state.Clean)
}

// TestTruncatedAfterACleanStop: the end of a log is missing so that what is left is
// whole, and a torn end is what no clean stop leaves.
func TestTruncatedAfterACleanStop(t *testing.T) {
	for name, cut := range map[string]func(path string, size int64) error{
		"torn":    func(path string, size int64) error { return os.Truncate(path, size-30) },
		"empty":   func(path string, _ int64) error { return os.Truncate(path, 0) },
		"missing": func(path string, _ int64) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			s := testStore(t, Config{})
			require.NoError(t, write(s, "a", 1000, 1, named("up")))
			require.NoError(t, s.Close())
			require.NoError(t, s.find("a").deleteSnapshots())
			path := segmentPath(filepath.Join(s.TenantDir("a"), "wal"), 0)
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, cut(path, info.Size()))
			s = testStore(t, Config{Dir: s.cfg.Dir})
			require.Len(t, s.Losses(), 1)
			require.NoError(t, write(s, "a", 2000, 1, named("up")))
		})
	}
}
