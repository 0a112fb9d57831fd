// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crashed opens the log again on another boot of the host, after a crash that took all segments.
func crashed(t *testing.T, cfg Config) *Log {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*", "*"+segmentSuffix))
	require.NoError(t, err)
	for _, file := range files {
		require.NoError(t, os.Remove(file))
	}
	cfg.BootID += " again"
	return openLog(t, cfg)
}

// killed opens a log whose process just ends: what Close does is not done.
func killed(t *testing.T, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	return l
}

func TestHostCrashLeavesDebts(t *testing.T) {
	c := &clock{time.Date(2030, 1, 1, 12, 0, 30, 0, time.UTC)}
	start := c.now.Truncate(time.Minute)
	cfg := Config{Dir: t.TempDir(), BootID: "first", Now: c.Now}
	l := killed(t, cfg)
	appendAll(t, l, "a", "x")
	c.now = c.now.Add(5 * time.Minute)
	appendAll(t, l, "a", "y")
	appendAll(t, l, "b", "z")
	appendAll(t, l, "c", "z")
	var s sink
	_, err := l.Replay(t.Context(), "c", s.send)
	require.NoError(t, err)
	c.now = c.now.Add(2 * time.Minute)
	require.Len(t, l.Pending(), 2, "c has its hint")

	// The process alone ends: the segments are whole, and may still not be on disk.
	l = killed(t, cfg)
	require.Empty(t, l.Debts())
	require.Len(t, l.Pending(), 2)

	l = crashed(t, cfg)
	require.Empty(t, l.Pending())
	debts := l.Debts()
	require.Len(t, debts, 2)
	require.Equal(t, "a", debts[0].Member)
	require.Equal(t, dropCrash, debts[0].Reason)
	require.True(t, debts[0].From.Equal(start), debts[0].From)
	require.True(t, debts[0].To.Equal(start.Add(8*time.Minute)), debts[0].To)
	require.Equal(t, "b", debts[1].Member)
	require.True(t, debts[1].From.Equal(start.Add(5*time.Minute)), debts[1].From)

	// They are told once.
	for _, debt := range debts {
		l.Settle(debt)
	}
	require.Empty(t, crashed(t, cfg).Debts())
}

// TestNoDebtsWithoutNeed: after what loses no hint nobody is refilled for it.
func TestNoDebtsWithoutNeed(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, cfg Config){
		"closed": func(t *testing.T, cfg Config) {
			l := killed(t, cfg)
			appendAll(t, l, "a", "x")
			require.NoError(t, l.Close())
		},
		"synced": func(t *testing.T, cfg Config) {
			cfg.Sync = true
			appendAll(t, killed(t, cfg), "a", "x")
		},
		"delivered long ago": func(t *testing.T, cfg Config) {
			l := killed(t, cfg)
			appendAll(t, l, "a", "x")
			var s sink
			_, err := l.Replay(t.Context(), "a", s.send)
			require.NoError(t, err)
			now := l.cfg.Now()
			l.cfg.Now = func() time.Time { return now.Add(2 * unsyncedRest) }
			l.Pending()
		},
		"no boot id": func(t *testing.T, cfg Config) {
			cfg.BootID = ""
			appendAll(t, killed(t, cfg), "a", "x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), BootID: "first", Now: time.Now}
			leave(t, cfg)
			require.Empty(t, crashed(t, cfg).Debts())
		})
	}
}

// TestUnsyncedThatCannotBeWritten: a hint of which nobody would know that it was lost is not kept.
func TestUnsyncedThatCannotBeWritten(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), BootID: "first"}
	l := openLog(t, cfg)
	require.NoError(t, os.Mkdir(filepath.Join(cfg.Dir, unsyncedFile+".tmp"), 0o700))
	require.Error(t, l.Append("a", []byte("x")))
	require.Empty(t, l.Pending())
	require.NoError(t, os.Remove(filepath.Join(cfg.Dir, unsyncedFile+".tmp")))
	appendAll(t, l, "a", "x")
}

// TestDamagedUnsynced is set aside: hints go on.
func TestDamagedUnsynced(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, unsyncedFile), []byte("{"), 0o600))
	l := openLog(t, Config{Dir: dir, BootID: "first"})
	require.Empty(t, l.Debts())
	require.FileExists(t, filepath.Join(dir, unsyncedFile+".damaged"))
	appendAll(t, l, "a", "x")
}

func TestShortRings(t *testing.T) {
	c := &clock{time.Date(2030, 1, 1, 12, 0, 30, 0, time.UTC)}
	minute := c.now.Truncate(time.Minute)
	cfg := Config{Dir: t.TempDir(), Now: c.Now}
	l := openLog(t, cfg)
	l.NoteShort("a,b")
	first := l.Debts()
	require.Len(t, first, 1)
	require.Empty(t, first[0].Member)
	require.Equal(t, []string{"a", "b"}, first[0].Ring)
	require.True(t, first[0].From.Equal(minute))
	require.True(t, first[0].To.Equal(minute.Add(shortAhead+time.Minute)))

	// What is covered costs nothing, not even memory.
	c.now = c.now.Add(shortAhead)
	require.Zero(t, testing.AllocsPerRun(100, func() { l.NoteShort("a,b") }))
	require.Equal(t, first, l.Debts())
	c.now = c.now.Add(shortAhead)
	l.NoteShort("a,b")
	l.NoteShort("a,c")
	l.Settle(first[0])
	require.Len(t, l.Debts(), 2, "it has grown")

	again, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	require.Equal(t, l.Debts(), again.Debts())
	for _, debt := range again.Debts() {
		again.Settle(debt)
	}
	require.Empty(t, again.Debts())
}
