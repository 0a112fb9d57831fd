// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// damageNow is the time of the damage, behind all samples.
const damageNow = 40 * minute

func damageConfig(dir string) Config {
	return Config{Dir: dir, BlockDuration: 10 * time.Minute, OutOfOrderWindow: 20 * time.Minute, Now: (&clock{time.UnixMilli(damageNow)}).Now}
}

// damaged are two copies of a store with blocks, a checkpoint, several segments of both
// logs and head chunks on disk.
type damaged struct {
	killed, closed string
	want           map[string]map[int64]float64
}

func damageStore(t *testing.T) (d damaged) {
	t.Helper()
	s := testStore(t, damageConfig(""))
	rnd := rand.New(rand.NewPCG(1, 2))
	at := int64(0)
	restart := func() {
		next := testStore(t, damageConfig(killed(t, s)))
		require.NoError(t, s.Close())
		s = next
	}
	fill := func(until int64) {
		for ; at < until; at += 3000 {
			app, err := s.AppenderV2(t.Context(), "a")
			require.NoError(t, err)
			for i := range 4 {
				ls := labels.FromStrings("__name__", fmt.Sprintf("series_%d", i))
				_, err := app.Append(0, ls, 0, at, rnd.Float64(), nil, nil, storage.AOptions{})
				require.NoError(t, err)
				if at > 6*minute && at%9000 == 0 {
					late := labels.FromStrings("__name__", fmt.Sprintf("series_%d", i))
					_, err := app.Append(0, late, 0, at-5*minute-1, rnd.Float64(), nil, nil, storage.AOptions{})
					require.NoError(t, err)
				}
			}
			// Each commit has a series of its own, too.
			_, err = app.Append(0, labels.FromStrings("__name__", fmt.Sprintf("once_%d", at)), 0, at, 1, nil, nil, storage.AOptions{})
			require.NoError(t, err)
			require.NoError(t, app.Commit())
		}
	}
	for _, until := range []int64{5 * minute, 9 * minute, 13 * minute} {
		fill(until)
		restart()
	}
	fill(19 * minute)
	s.cutAll(t.Context())
	require.NotEmpty(t, s.Blocks("a"))
	for _, until := range []int64{23 * minute, 28 * minute} {
		fill(until)
		restart()
	}
	d.want = samples(t, s, "a")
	d.killed = killed(t, s)
	require.NoError(t, s.Close())
	d.closed = s.cfg.Dir
	return d
}

func TestDamage(t *testing.T) {
	d := damageStore(t)
	t.Run("bits", d.testBits)
	t.Run("kinds", d.testKinds)
	t.Run("behind a snapshot", d.testBehindSnapshot)
}

// requireKept opens a damaged directory and checks what must hold whatever was
// damaged: it opens, no value is wrong, what is missing is on record as lost, writes go on, and
// a restart finds nothing more.
func requireKept(t *testing.T, dir string, want map[string]map[int64]float64) (s *Store, missing int) {
	t.Helper()
	s = testStore(t, damageConfig(dir))
	require.True(t, s.Ready())
	require.NoError(t, s.find("a").scrubBlocks(t.Context(), 1<<30))
	lost := s.Losses()
	got := samples(t, s, "a")
	for series, points := range want {
		for ts, v := range points {
			found, ok := got[series][ts]
			if ok {
				require.Equal(t, v, found, "wrong value of %s at %d", series, ts)
				continue
			}
			missing++
			covered := slices.ContainsFunc(lost, func(l Loss) bool {
				return (l.Tenant == "" || l.Tenant == "a") && l.MinTime <= ts && ts < l.MaxTime
			})
			require.True(t, covered, "%s at %d is missing, and no loss says so: %v", series, ts, lost)
		}
	}
	for series, points := range got {
		for ts := range points {
			require.Contains(t, want[series], ts, "invented a sample of %s", series)
		}
	}
	for _, l := range lost {
		require.Less(t, l.MaxTime-l.MinTime, 48*time.Hour.Milliseconds(), "a loss of everything: %v", l)
	}
	// New series must not get what older ones left behind under their numbers.
	for i := range 50 {
		require.NoError(t, write(s, "a", 29*minute, 1, named(fmt.Sprintf("new_%d", i))))
	}
	again := testStore(t, damageConfig(killed(t, s)))
	require.Equal(t, lost, again.Losses(), "a restart finds something else")
	after := samples(t, again, "a")
	for i := range 50 {
		require.Equal(t, map[int64]float64{29 * minute: 1}, after[named(fmt.Sprintf("new_%d", i)).String()])
	}
	for series, points := range got {
		for ts, v := range points {
			require.Equal(t, v, after[series][ts], "%s at %d changed by a restart", series, ts)
		}
		// More than before is right too: what a bad block had may be in the WAL still.
		for ts, v := range after[series] {
			require.Equal(t, v, want[series][ts], "%s at %d invented by a restart", series, ts)
		}
	}
	require.NoError(t, again.Close())
	return s, missing
}

// filesOf are the files of a tenant below a part of its directory that hold anything.
func filesOf(t *testing.T, dir, part string) (paths []string) {
	t.Helper()
	root := filepath.Join(dir, "a")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(root, path)
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		if !d.IsDir() && info.Size() > 0 && strings.Contains(rel, part) {
			paths = append(paths, path)
		}
		return nil
	}))
	require.NotEmpty(t, paths, "the fixture has no %s", part)
	return paths
}

func edit(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, change(raw), 0o600))
}

// used is how many bytes of a file are before its trailing zeros.
func used(raw []byte) int {
	n := len(raw)
	for n > 0 && raw[n-1] == 0 {
		n--
	}
	return n
}

// testBits flips single bits anywhere in what a store keeps.
func (d damaged) testBits(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, from := range []string{d.killed, d.closed} {
		clean := from == d.closed
		parts := []string{"wal/0", "wal/checkpoint.", "wbl/", "chunks_head/", "/chunks/", "/index", "/meta.json"}
		if clean {
			parts = []string{"wal/0", "wbl/", "chunks_head/", "chunk_snapshot."}
		}
		for _, part := range parts {
			at, bit := rnd.Uint64(), rnd.IntN(8)
			t.Run(fmt.Sprintf("closed=%v %s", clean, part), func(t *testing.T) {
				t.Parallel()
				dir := copyDir(t, from)
				files := filesOf(t, dir, part)
				path := files[at%uint64(len(files))]
				edit(t, path, func(raw []byte) []byte {
					i := at % uint64(max(used(raw), 1))
					t.Logf("%s byte %d bit %d", strings.TrimPrefix(path, dir), i, bit)
					raw[i] ^= 1 << bit
					return raw
				})
				s, missing := requireKept(t, dir, d.want)
				t.Logf("%d samples missing, %d losses", missing, len(s.Losses()))
			})
		}
	}
}

// testKinds is damage of every kind, each with how little of the samples may be gone.
func (d damaged) testKinds(t *testing.T) {
	total := 0
	for _, points := range d.want {
		total += len(points)
	}
	remove := func(part string, n int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			files := filesOf(t, dir, part)
			require.NoError(t, os.Remove(files[(n+len(files))%len(files)]))
		}
	}
	change := func(part string, n int, with func([]byte) []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			files := filesOf(t, dir, part)
			edit(t, files[(n+len(files))%len(files)], with)
		}
	}
	// No bit that tells a compression: the sums do not cover it, and one too many changes nothing.
	flip := func(raw []byte) []byte { raw[used(raw)/2] ^= 0x01; return raw }
	half := func(raw []byte) []byte { return raw[:used(raw)/2] }
	zero := func(raw []byte) []byte { clear(raw[:min(logPage, len(raw))]); return raw }
	for name, c := range map[string]struct {
		damage   func(t *testing.T, dir string)
		most     float64 // of all samples
		kind     string
		lossless bool
	}{
		"WAL flip":            {damage: change("wal/0", 1, flip), most: 0.3, kind: kindHead},
		"WAL zeroed page":     {damage: change("wal/0", 1, zero), most: 0.5, kind: kindHead},
		"WAL truncated":       {damage: change("wal/0", 0, half), most: 0.5, kind: kindHead},
		"WAL missing segment": {damage: remove("wal/0", 1), most: 0.5, kind: kindHead},
		"WAL first missing":   {damage: remove("wal/0", 0), most: 0.9, kind: kindHead},
		"checkpoint flip":     {damage: change("checkpoint.", 0, flip), most: 0.9, kind: kindHead},
		"checkpoint missing": {damage: func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Dir(filesOf(t, dir, "checkpoint.")[0])))
		}, most: 0.9, kind: kindHead},
		"WBL flip":            {damage: change("wbl/", 0, flip), most: 0.3, kind: kindHead},
		"WBL missing segment": {damage: remove("wbl/", 1), most: 0.3, kind: kindHead},
		"head chunks flip":    {damage: change("chunks_head/", 0, flip), kind: kindMmapped, lossless: true},
		"head chunks missing": {damage: remove("chunks_head/", 0), lossless: true},
		"block index":         {damage: change("/index", 0, half), most: 0.5, kind: kindBlock},
		"block chunks":        {damage: change("/chunks/", 0, flip), most: 0.5, kind: kindBlock},
		"block chunks gone":   {damage: remove("/chunks/", 0), most: 0.5, kind: kindBlock},
		"block meta":          {damage: change("/meta.json", 0, half), most: 0.5, kind: kindBlock},
		"block meta gone":     {damage: remove("/meta.json", 0), most: 0.5, kind: kindBlock},
		"torn end":            {damage: change("wal/0", -1, func(raw []byte) []byte { return raw[:used(raw)-20] }), most: 0.01, lossless: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := copyDir(t, d.killed)
			c.damage(t, dir)
			if name == "torn end" {
				// What is torn was never acknowledged.
				s := testStore(t, damageConfig(dir))
				require.Empty(t, s.Losses())
				return
			}
			s, missing := requireKept(t, dir, d.want)
			t.Logf("%d of %d samples missing", missing, total)
			require.LessOrEqual(t, float64(missing), c.most*float64(total))
			require.Equal(t, c.lossless, len(s.Losses()) == 0, "%v", s.Losses())
			if c.kind != "" {
				require.Positive(t, testutil.ToFloat64(s.metrics.quarantined.WithLabelValues(c.kind)))
				entries, err := os.ReadDir(filepath.Join(dir, "a", quarantineDir))
				require.NoError(t, err)
				require.NotEmpty(t, entries)
				for _, e := range entries {
					require.False(t, strings.HasPrefix(e.Name(), "."), "left behind: %s", e.Name())
				}
			}
		})
	}
}

// testBehindSnapshot: a start with a snapshot does not read all of the WAL, and a cut
// does. What is in memory is whole.
func (d damaged) testBehindSnapshot(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(s *Store) error{
		"cut": func(s *Store) error {
			s.cutAll(t.Context())
			return nil
		},
		"flush": func(s *Store) error { return s.FlushHead(t.Context(), "a") },
	} {
		dir := copyDir(t, d.closed)
		edit(t, filesOf(t, dir, "wal/0")[0], func(raw []byte) []byte {
			raw[used(raw)/2] ^= 0x10
			return raw
		})
		s := testStore(t, damageConfig(dir))
		require.NoError(t, write(s, "a", 39*minute, 1, named("ripe")))
		require.NoError(t, cut(s), name)
		got := samples(t, s, "a")
		require.Equal(t, map[int64]float64{39 * minute: 1}, got[named("ripe").String()], name)
		delete(got, named("ripe").String())
		require.True(t, maps.EqualFunc(d.want, got, maps.Equal[map[int64]float64, map[int64]float64]), name)
		require.Empty(t, s.Losses())
		require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.quarantined.WithLabelValues(kindHead)), name)
		require.NoError(t, write(s, "a", 39*minute+1, 1, named("ripe")))
		again := testStore(t, damageConfig(killed(t, s)))
		require.Len(t, samples(t, again, "a")[named("ripe").String()], 2, name)
		require.Empty(t, again.Losses())
	}
}
