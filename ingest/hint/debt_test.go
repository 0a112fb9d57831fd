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

// TestDebts notes the time of every hint that is lost, whatever the way.
func TestDebts(t *testing.T) {
	start := time.Date(2030, 1, 1, 12, 0, 30, 0, time.UTC)
	minute := start.Truncate(time.Minute)
	for name, lose := range map[string]func(t *testing.T, l *Log, c *clock, dir string){
		"expired in a replay": func(t *testing.T, l *Log, c *clock, _ string) {
			appendAll(t, l, "a", "x", "y")
			c.now = c.now.Add(2 * time.Hour)
			var s sink
			_, err := l.Replay(t.Context(), "a", s.send)
			require.NoError(t, err)
			require.Empty(t, s.got)
		},
		"swept": func(t *testing.T, l *Log, c *clock, _ string) {
			appendAll(t, l, "a", "x")
			c.now = c.now.Add(2 * time.Hour)
			appendAll(t, l, "b", "y")
			require.NotContains(t, l.Pending(), "a")
		},
		"full": func(t *testing.T, l *Log, _ *clock, _ string) {
			require.ErrorIs(t, l.Append("a", make([]byte, 1<<20)), ErrFull)
		},
		"disk": func(t *testing.T, l *Log, _ *clock, dir string) {
			appendAll(t, l, "a", "x")
			require.NoError(t, l.members["a"].active.Close())
			require.Error(t, l.Append("a", []byte("y")))
		},
		"damaged": func(t *testing.T, l *Log, _ *clock, dir string) {
			appendAll(t, l, "a", "x")
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"+segmentSuffix))
			require.NoError(t, err)
			require.Len(t, files, 1)
			raw, err := os.ReadFile(files[0])
			require.NoError(t, err)
			raw[len(raw)-1] ^= 1
			require.NoError(t, os.WriteFile(files[0], raw, 0o600))
			var s sink
			_, err = l.Replay(t.Context(), "a", s.send)
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{start}
			cfg := Config{Dir: t.TempDir(), MaxBytes: 1 << 20, MaxAge: time.Hour, Now: c.Now}
			l := openLog(t, cfg)
			require.Empty(t, l.Debts())
			lose(t, l, c, cfg.Dir)
			debts := l.Debts()
			require.Len(t, debts, 1)
			require.Equal(t, "a", debts[0].Member)
			require.True(t, debts[0].From.Equal(minute), "from %s", debts[0].From)
			require.False(t, debts[0].To.Before(minute.Add(time.Minute)), "to %s", debts[0].To)

			// It is there after a crash, and gone when it is settled.
			again, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
			require.NoError(t, err)
			require.Len(t, again.Debts(), 1)
			again.Settle(again.Debts()[0])
			require.Empty(t, again.Debts())
			require.NoError(t, again.Close())
			again = openLog(t, cfg)
			require.Empty(t, again.Debts())
		})
	}
}

// TestDebtThatGrew is not settled by who has seen the smaller one.
func TestDebtThatGrew(t *testing.T) {
	now := time.Date(2030, 1, 1, 12, 0, 30, 0, time.UTC)
	d, err := loadDebts(t.TempDir(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	d.add("a", now, now, dropFull)
	seen := d.all()[0]
	d.add("a", now.Add(time.Second), now.Add(time.Second), dropFull) // In the same minute: nothing new.
	require.Equal(t, []Debt{seen}, d.all())
	d.add("a", now.Add(-time.Hour), now.Add(time.Hour), dropExpired)
	d.settle(seen)
	require.Equal(t, now.Add(-time.Hour).Truncate(time.Minute), d.all()[0].From)
	require.Equal(t, now.Add(time.Hour).Truncate(time.Minute).Add(time.Minute), d.all()[0].To)
}

// TestDamagedDebts are set aside: hints go on.
func TestDamagedDebts(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, debtsFile), []byte("{"), 0o600))
	l := openLog(t, Config{Dir: dir})
	require.Empty(t, l.Debts())
	require.FileExists(t, filepath.Join(dir, debtsFile+".damaged"))
}
