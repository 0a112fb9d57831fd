// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// makeBlock writes a block as a refill does, of one sample for each time.
func makeBlock(t *testing.T, s *Store, change func(*tsdb.BlockMeta), value float64, ls labels.Labels, times ...int64) (dir string) {
	t.Helper()
	// Made elsewhere: on a small disk there is no room for the file of chunks as it is begun.
	made := t.TempDir()
	w, err := tsdb.NewBlockWriter(quiet(testLogger()), made, s.cfg.BlockDuration.Milliseconds())
	require.NoError(t, err)
	app := w.Appender(t.Context())
	for _, ts := range times {
		_, err := app.Append(0, ls, ts, value)
		require.NoError(t, err)
	}
	require.NoError(t, app.Commit())
	id, err := w.Flush(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.Close())
	dir = filepath.Join(s.RefillDir(), id.String())
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join(made, id.String()))))
	meta, err := readBlockMeta(dir)
	require.NoError(t, err)
	meta.Compaction.SetOutOfOrder()
	if change != nil {
		change(&meta)
	}
	raw, err := json.Marshal(meta)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "meta.json"), raw, 0o600))
	return dir
}

// TestAddedBlockDropsNothingOfTheWAL: the block overlaps the head and ends after the
// newest sample of the write-ahead log. The TSDB starts its head at the end of its
// newest block, if it is not told that the block is of out-of-order samples.
func TestAddedBlockDropsNothingOfTheWAL(t *testing.T) {
	now := &clock{time.UnixMilli(10 * minute)}
	cfg := Config{BlockDuration: 10 * time.Minute, Now: now.Now}
	want := map[string]map[int64]float64{
		named("up").String():      {1 * minute: 1, 2 * minute: 1, 3 * minute: 1},
		named("refill").String():  {2 * minute: 7, 9 * minute: 7},
		named("later").String():   {4 * minute: 1},
		named("delayed").String(): {2 * minute: 1},
	}
	fill := func(s *Store) {
		for ts := int64(1); ts <= 3; ts++ {
			require.NoError(t, write(s, "a", ts*minute, 1, named("up")))
		}
	}
	s := testStore(t, cfg)
	fill(s)
	dir := makeBlock(t, s, nil, 7, named("refill"), 2*minute, 9*minute)
	require.NoError(t, s.AddBlock(t.Context(), "a", dir))
	require.NoDirExists(t, dir)
	require.Len(t, s.Blocks("a"), 1, "loaded at once")
	require.Equal(t, 9*minute+1, s.Blocks("a")[0].MaxTime)
	require.NoError(t, write(s, "a", 4*minute, 1, named("later")), "the head goes on where it was")
	require.NoError(t, write(s, "a", 2*minute, 1, named("delayed")))
	require.Equal(t, want, samples(t, s, "a"))

	after := testStore(t, Config{Dir: killed(t, s), BlockDuration: cfg.BlockDuration, Now: now.Now})
	require.Equal(t, want, samples(t, after, "a"), "after a kill")
	require.NoError(t, s.Close())
	after = testStore(t, Config{Dir: s.cfg.Dir, BlockDuration: cfg.BlockDuration, Now: now.Now})
	require.Equal(t, want, samples(t, after, "a"), "after a clean stop")
	require.NoError(t, after.FlushHead(t.Context(), "a"))
	require.Equal(t, want, samples(t, after, "a"), "after the head was cut")

	// The same without the hint: what AddBlock refuses does lose samples.
	raw := testStore(t, cfg)
	fill(raw)
	bad := makeBlock(t, raw, func(m *tsdb.BlockMeta) { m.Compaction.Hints = nil }, 7, named("refill"), 2*minute, 9*minute)
	require.ErrorContains(t, raw.AddBlock(t.Context(), "a", bad), "from-out-of-order")
	require.NoError(t, os.Rename(bad, filepath.Join(raw.TenantDir("a"), filepath.Base(bad))))
	after = testStore(t, Config{Dir: killed(t, raw), BlockDuration: cfg.BlockDuration, Now: now.Now})
	require.NotContains(t, samples(t, after, "a"), named("up").String(), "the TSDB keeps them now: the check may go")
}

func TestAddBlockMakesTheTenant(t *testing.T) {
	s := testStore(t, Config{BlockDuration: time.Minute})
	require.NoError(t, s.AddBlock(t.Context(), "new", makeBlock(t, s, nil, 1, named("up"), 100)))
	require.Equal(t, []string{"new"}, s.Tenants())
	require.Equal(t, map[string]map[int64]float64{named("up").String(): {100: 1}}, samples(t, s, "new"))
	require.NoError(t, write(s, "new", 50, 1, named("up")), "an empty head is not moved")
}

// TestAddBlockAgain: whoever was killed between the rename and the return of AddBlock
// calls it again.
func TestAddBlockAgain(t *testing.T) {
	s := testStore(t, Config{BlockDuration: time.Minute})
	dir := makeBlock(t, s, nil, 1, named("up"), 100)
	require.NoError(t, s.AddBlock(t.Context(), "a", dir))
	require.NoError(t, s.AddBlock(t.Context(), "a", dir))
	moved := makeBlock(t, s, nil, 1, named("other"), 100)
	require.NoError(t, os.Rename(moved, filepath.Join(s.TenantDir("a"), filepath.Base(moved))))
	require.NoError(t, s.AddBlock(t.Context(), "a", moved))
	require.Len(t, s.Blocks("a"), 2)
	require.Len(t, samples(t, s, "a"), 2)
}

func TestAddBlockRefuses(t *testing.T) {
	s := testStore(t, Config{BlockDuration: time.Minute})
	require.NoError(t, write(s, "a", 1, 1, named("up")))
	require.NoError(t, s.FlushHead(t.Context(), "a"))
	own := s.Blocks("a")[0]
	damage := func(file string, at int) func(string) {
		return func(dir string) {
			raw, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			raw[(at+len(raw))%len(raw)] ^= 0x40
			require.NoError(t, os.WriteFile(filepath.Join(dir, file), raw, 0o600))
		}
	}
	for name, c := range map[string]struct {
		change func(*tsdb.BlockMeta)
		damage func(dir string)
		want   string
	}{
		"a parent":       {change: func(m *tsdb.BlockMeta) { m.Compaction.Parents = []tsdb.BlockDesc{{ULID: own.ULID}} }, want: "would be deleted"},
		"two ranges":     {change: func(m *tsdb.BlockMeta) { m.MinTime = -1 }, want: "not within one block duration"},
		"another name":   {change: func(m *tsdb.BlockMeta) { m.ULID = ulid.Make() }, want: "is of block"},
		"a short range":  {change: func(m *tsdb.BlockMeta) { m.MaxTime-- }, want: "outside the block"},
		"no meta":        {damage: func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "meta.json"))) }, want: "read block meta"},
		"a bad chunk":    {damage: damage(filepath.Join("chunks", "000001"), -6), want: "read chunk"},
		"a bad index":    {damage: damage("index", -6), want: "open block"},
		"a bad series":   {damage: damage("index", 48), want: ""},
		"no index":       {damage: func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "index"))) }, want: "open block"},
		"no such block":  {damage: func(dir string) { require.NoError(t, os.RemoveAll(dir)) }, want: "read block meta"},
		"no chunk files": {damage: func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "chunks", "000001"))) }, want: "read chunk"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeBlock(t, s, c.change, 1, named("bad"), 100, 200)
			if c.damage != nil {
				c.damage(dir)
			}
			require.ErrorContains(t, s.AddBlock(t.Context(), "a", dir), c.want)
			require.Len(t, s.Blocks("a"), 1)
			require.NoDirExists(t, filepath.Join(s.TenantDir("a"), filepath.Base(dir)))
		})
	}
	require.Error(t, s.AddBlock(t.Context(), "a", t.TempDir()), "no ULID")
}

// TestAddedBlockGoesByRetention: it goes when it is past retention and held, like
// any other, and not before.
func TestAddedBlockGoesByRetention(t *testing.T) {
	now := &clock{time.UnixMilli(100 * minute)}
	var held atomic.Bool
	s := testStore(t, Config{
		BlockDuration: time.Minute, Retention: time.Minute, Now: now.Now,
		Held: func(string, ulid.ULID) bool { return held.Load() },
	})
	require.NoError(t, s.AddBlock(t.Context(), "a", makeBlock(t, s, nil, 1, named("up"), 100)))
	require.Len(t, s.Blocks("a"), 1)
	held.Store(true)
	require.NoError(t, s.AddBlock(t.Context(), "a", makeBlock(t, s, nil, 1, named("up"), 100*minute+100)))
	blocks := s.Blocks("a")
	require.Len(t, blocks, 1, "the old one is gone")
	require.Equal(t, 100*minute+100, blocks[0].MinTime)
	require.Equal(t, int64(101), s.find("a").horizon.get())
}

func TestRefillDirIsEmptyAfterOpen(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, os.WriteFile(filepath.Join(s.RefillDir(), "left"), nil, 0o600))
	s = testStore(t, Config{Dir: killed(t, s)})
	entries, err := os.ReadDir(s.RefillDir())
	require.NoError(t, err)
	require.Empty(t, entries)
	require.Empty(t, s.Tenants(), "it is no tenant")
}
