// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestCopiesBecomeOne merges three copies of one range, of which each lacks something and two disagree.
func TestCopiesBecomeOne(t *testing.T) {
	f := newFixture(t)
	whole := f.minutely(0, 120, 1)
	stale := math.Float64frombits(value.StaleNaN)
	a, b, c := f.minutely(0, 120, 1), f.minutely(0, 120, 1), f.minutely(0, 120, 1)
	a = append(a[:30:30], a[31:]...)
	b[50].Value, c[50].Value = 1000, 2000 // The larger one.
	b[60].Value = stale                   // A sample, and not the marker.
	want := content{"0": whole, "1": f.minutely(0, 10, 5), "2": f.minutely(0, 10, 7)}
	want["0"][50].Value = 2000
	f.add(member("a"), content{"0": a, "1": f.minutely(0, 10, 5)})
	f.add(member("b"), content{"0": b, "2": f.minutely(0, 10, 7)})
	f.add(member("c"), content{"0": c, "1": f.minutely(0, 10, 5), "2": f.minutely(0, 10, 7)})

	comp := f.compactor(nil)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 3, "too early")
	f.now = f.now.Add(3 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	live := f.live()
	require.Len(t, live, 1)
	require.Equal(t, want, f.read(live))
	m := live[0].Meta
	require.Equal(t, map[string]string{"tenant_id": "t"}, m.Thanos.Labels)
	require.Equal(t, "compactor", m.Thanos.Source)
	require.JSONEq(t, `{"penstock":{"member":"m"}}`, string(m.Thanos.Extensions))
	require.Equal(t, 2, m.Compaction.Level)
	require.Len(t, m.Compaction.Sources, 3)
	require.EqualValues(t, 140, m.Stats.NumSamples)
	requireEmptyDir(t, comp.cfg.Dir)

	// The inputs can be read for the delay, and are gone after it.
	require.Len(t, f.listing().Blocks, 4)
	f.now = f.now.Add(48*time.Hour - time.Second)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.listing().Blocks, 4)
	f.now = f.now.Add(time.Second)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.listing().Blocks, 1)
	require.Empty(t, f.listing().Partial)
	require.Equal(t, want, f.read(f.live()))
	require.InDelta(t, 3, f.metric("penstock_compact_deleted_blocks_total"), 0)
	require.InDelta(t, 3, f.metric("penstock_compact_marked_for_deletion_total"), 0)
}

// TestYearsBecomeFew runs over some days of two members' blocks, as they come.
func TestYearsBecomeFew(t *testing.T) {
	f := newFixture(t)
	comp := f.compactor(nil)
	start := f.origin()
	want := content{}
	most := 0
	const hours = 3 * 24
	for h := int64(0); h < hours; h += 2 {
		s := f.minutely(h, 120, float64(h))
		want["0"] = append(want["0"], s...)
		f.now = time.UnixMilli(start).Add(time.Duration(h+3) * time.Hour)
		f.add(member("a"), content{"0": s})
		f.add(member("b"), content{"0": s})
		f.now = f.now.Add(45 * time.Minute)
		require.NoError(t, comp.Once(t.Context()))
		most = max(most, len(f.live()))
	}
	f.now = time.UnixMilli(start).Add((hours + 2) * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	live := f.live()
	require.Equal(t, want, f.read(live))
	require.Len(t, live, 1+3, "one of 2d and three of 8h")
	require.LessOrEqual(t, most, 1+6+4+1)
	require.InDelta(t, 0, f.metric("penstock_compact_failures_total"), 0)
}

// TestLateCopy: what comes long after the rest is merged into what was made of it.
func TestLateCopy(t *testing.T) {
	f := newFixture(t)
	comp := f.compactor(nil)
	want := content{"0": f.minutely(0, 480, 1), "late": f.minutely(2, 100, 1)}
	for i := range 4 {
		f.add(member("a"), content{"0": want["0"][120*i : 120*(i+1)]})
	}
	f.now = f.now.Add(12 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1)
	f.add(member("b"), content{"0": want["0"][120:240], "late": want["late"]})
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 2, "more may follow")
	f.now = f.now.Add(time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1)
	require.Equal(t, want, f.read(f.live()))
}

// TestBrokenBlocks: a block that cannot be read costs itself and nothing else.
func TestBrokenBlocks(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b }
	flipEnd := func(b []byte) []byte { b[len(b)-10] ^= 0xff; return b }
	for name, damage := range map[string]func(f *fixture) string{
		"bytes in the bucket changed": func(f *fixture) string {
			id := f.add(member("b"), content{"0": f.minutely(0, 120, 1)}).String()
			f.change(id+"/chunks/000001", flip)
			return id
		},
		"file in the bucket missing": func(f *fixture) string {
			id := f.add(member("b"), content{"0": f.minutely(0, 120, 1)}).String()
			require.NoError(f.t, f.store.Delete(f.t.Context(), id+"/index"))
			return id
		},
		"uploaded with a bad chunk": func(f *fixture) string { return f.addDamaged("chunks/000001", flip) },
		"uploaded with a bad index": func(f *fixture) string { return f.addDamaged("index", flipEnd) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			want := content{"0": f.minutely(0, 120, 1)}
			f.add(member("a"), want)
			bad := damage(f)
			f.add(member("c"), want)
			comp := f.compactor(nil)
			f.now = f.now.Add(4 * time.Hour)
			require.NoError(t, comp.Once(t.Context()), "one run does it all")
			var good []bucket.Listed
			for _, b := range f.live() {
				if b.Meta.ULID.String() == bad {
					require.Equal(t, "broken-block", b.Marks.NoCompact.Reason)
					require.NotEmpty(t, b.Marks.NoCompact.Details)
				} else {
					good = append(good, b)
				}
			}
			require.Len(t, good, 1)
			require.Equal(t, want, f.read(good))
			require.InDelta(t, 1, f.metric("penstock_compact_quarantined_total"), 0)
			require.InDelta(t, 0, f.metric("penstock_compact_failures_total"), 0)
			requireEmptyDir(t, comp.cfg.Dir)
			require.NoError(t, comp.Once(t.Context()))
			require.InDelta(t, 1, f.metric("penstock_compact_quarantined_total"), 0)
		})
	}
}

// addDamaged uploads a block of which a file was damaged before.
func (f *fixture) addDamaged(file string, damage func([]byte) []byte) string {
	f.t.Helper()
	dir := f.write(content{"0": f.minutely(0, 120, 1)})
	raw, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(f.t, err)
	require.NoError(f.t, os.WriteFile(filepath.Join(dir, file), damage(raw), 0o600))
	require.NoError(f.t, f.blocks.PutBlock(f.t.Context(), dir, member("b"), bucket.SourceReceive))
	return filepath.Base(dir)
}

// TestSuperfluousBlocks: one that is uploaded again after it was compacted and deleted, and one that a crash left without a mark.
func TestSuperfluousBlocks(t *testing.T) {
	f := newFixture(t)
	dir := f.write(content{"0": f.minutely(0, 120, 1)})
	require.NoError(t, f.blocks.PutBlock(t.Context(), dir, member("a"), bucket.SourceReceive))
	f.add(member("b"), content{"0": f.minutely(0, 120, 1)})
	comp := f.compactor(nil)
	f.now = f.now.Add(4 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	f.now = f.now.Add(49 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.listing().Blocks, 1)

	require.NoError(t, f.blocks.PutBlock(t.Context(), dir, member("a"), bucket.SourceReceive))
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1)
	for _, b := range f.listing().Blocks {
		if b.Meta.ULID.String() == filepath.Base(dir) {
			require.Equal(t, "compacted into "+f.live()[0].Meta.ULID.String(), b.Marks.Deletion.Details)
		}
	}
	f.now = f.now.Add(49 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.listing().Blocks, 1)
}

// TestDeletionIsRefused: what was made of the inputs is lost before they are gone.
func TestDeletionIsRefused(t *testing.T) {
	f := newFixture(t)
	want := content{"0": f.minutely(0, 120, 1)}
	f.add(member("a"), want)
	f.add(member("b"), want)
	comp := f.compactor(nil)
	f.now = f.now.Add(4 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.NoError(t, f.blocks.Delete(t.Context(), f.live()[0].Meta.ULID))
	require.NoError(t, comp.Once(t.Context()))
	require.InDelta(t, 2, f.metric("penstock_compact_refused_deletions_total"), 0)
	require.InDelta(t, 0, f.metric("penstock_compact_deleted_blocks_total"), 0)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1, "they are compacted again")
	require.Equal(t, want, f.read(f.live()))

	// What was made of them cannot be read any more.
	f.now = f.now.Add(time.Hour)
	bad := f.live()[0].Meta.ULID
	require.NoError(t, f.blocks.Mark(t.Context(), bucket.NewNoCompactMark(bad, f.now, bucket.ReasonBroken, "by hand")))
	require.NoError(t, comp.Once(t.Context()))
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1)
	require.NotEqual(t, bad, f.live()[0].Meta.ULID)
	require.Equal(t, want, f.read(f.live()))
	require.InDelta(t, 4, f.metric("penstock_compact_refused_deletions_total"), 0)

	// A mark of somebody else is not doubted.
	id := f.live()[0].Meta.ULID
	require.NoError(t, f.blocks.Mark(t.Context(), bucket.NewDeletionMark(id, f.now, "by hand")))
	f.now = f.now.Add(49 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	left := f.listing().Blocks
	require.Len(t, left, 1, "the broken one is the last that is left of the samples")
	require.Equal(t, bad, left[0].Meta.ULID)
}

func TestPartialUploads(t *testing.T) {
	f := newFixture(t)
	add := func() ulid.ULID { return f.add(member("a"), content{"0": f.minutely(0, 1, 1)}) }
	gone, bad, deleted, torn := add(), add(), add(), add()
	f.change(torn.String()+"/meta.json", func(b []byte) []byte { return b[:len(b)/2] })
	require.NoError(t, f.store.Delete(t.Context(), gone.String()+"/meta.json"))
	f.change(bad.String()+"/meta.json", func([]byte) []byte { return []byte(`{"version": 2}`) })
	require.NoError(t, f.blocks.Mark(t.Context(), bucket.NewDeletionMark(deleted, f.now, "")))
	require.NoError(t, f.store.Delete(t.Context(), deleted.String()+"/meta.json"))

	f.now = time.Now().Add(47 * time.Hour)
	comp := f.compactor(nil)
	require.NoError(t, comp.Once(t.Context()))
	objects := func(id string) (n int) {
		require.NoError(t, f.store.List(t.Context(), id+"/", true, func(bucket.Object) error { n++; return nil }))
		return n
	}
	require.Zero(t, objects(deleted.String()), "a delete that was cut off is brought to its end")
	require.Equal(t, 2, objects(gone.String()))
	f.now = time.Now().Add(49 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Zero(t, objects(gone.String()))
	require.Zero(t, objects(torn.String()))
	require.Equal(t, 3, objects(bad.String()), "another version may understand it")
	require.InDelta(t, 3, f.metric("penstock_compact_cleaned_partial_uploads_total"), 0)
}

func TestRetentionIsApplied(t *testing.T) {
	f := newFixture(t)
	f.add(member("a"), content{"0": f.minutely(0, 120, 1)})
	kept := f.add(member("a"), content{"0": f.minutely(2, 120, 1)})
	end := f.origin()
	comp := f.compactor(func(c *Config) {
		c.Retention = func(tenant string) Retention {
			require.Equal(t, "t", tenant)
			return Retention{Raw: 10 * 24 * time.Hour}
		}
	})
	f.now = time.UnixMilli(end).Add(10*24*time.Hour + 3*time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 1)
	require.Equal(t, kept, f.live()[0].Meta.ULID)
	f.now = f.now.Add(30 * 24 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.listing().Blocks, 1, "the second is marked")
}

func TestDiskIsBounded(t *testing.T) {
	f := newFixture(t)
	f.add(member("a"), content{"0": f.minutely(0, 120, 1)})
	f.add(member("b"), content{"0": f.minutely(0, 120, 1)})
	f.now = f.now.Add(4 * time.Hour)
	full := errors.New("disk is full")
	var asked int64
	comp := f.compactor(func(c *Config) { c.Room = func(n int64) error { asked = n; return full } })
	require.ErrorIs(t, comp.Once(t.Context()), full)
	require.Equal(t, 2*bytesOf(f.listing().Blocks), asked)
	require.Len(t, f.live(), 2)
	require.InDelta(t, 1, f.metric("penstock_compact_failures_total"), 0)

	comp = f.compactor(func(c *Config) { c.ScratchBytes = 2*bytesOf(f.listing().Blocks) - 2 })
	require.NoError(t, comp.Once(t.Context()))
	require.Len(t, f.live(), 2)
	require.Positive(t, f.metric("penstock_compact_oversized_windows"))

	// What a killed process left is gone.
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "merge-1", "x"), 0o700))
	f.compactor(func(c *Config) { c.Dir = dir })
	requireEmptyDir(t, dir)
}

func TestAnotherCompactorIsTold(t *testing.T) {
	f := newFixture(t)
	dir := f.write(content{"0": f.minutely(0, 120, 1)})
	require.NoError(t, f.blocks.PutBlock(t.Context(), dir, map[string]string{"tenant_id": "t"}, "compactor"))
	f.add(map[string]string{"cluster": "eu"}, content{"0": f.minutely(0, 120, 1)})
	require.NoError(t, f.compactor(nil).Once(t.Context()))
	require.InDelta(t, 1, f.metric("penstock_compact_foreign_compactions"), 0)
}

// TestFailuresAreTriedLessAndLess: a merge that always fails does not keep the others back, and is not tried with every look.
func TestFailuresAreTriedLessAndLess(t *testing.T) {
	f := newFixture(t)
	for _, m := range []string{"a", "b"} {
		f.add(member(m), content{"0": f.minutely(0, 120, 1)})
		f.add(member(m), content{"0": f.minutely(4, 120, 1)})
	}
	f.now = f.now.Add(7 * time.Hour)
	full := errors.New("disk is full")
	tries := 0
	comp := f.compactor(func(c *Config) {
		c.Room = func(int64) error {
			if tries++; tries%2 == 1 && len(f.live()) == 4 || len(f.live()) == 3 {
				return full
			}
			return nil
		}
	})
	require.ErrorIs(t, comp.Once(t.Context()), full)
	require.Len(t, f.live(), 3, "one range of the two is done")
	tried := func(after time.Duration) bool {
		f.now = f.now.Add(after)
		before := tries
		_ = comp.Once(t.Context())
		return tries > before
	}
	require.True(t, tried(0), "at once at first")
	require.False(t, tried(5*time.Minute))
	require.True(t, tried(5*time.Minute))
	require.False(t, tried(15*time.Minute))
	require.True(t, tried(5*time.Minute))
	for range 10 {
		require.True(t, tried(6*time.Hour))
	}
	require.False(t, tried(6*time.Hour-time.Second))
	require.True(t, tried(time.Second))
}

// TestLocalDiskIsNotTheBlocksFault: a copy that goes bad on this node's disk puts no block into quarantine.
func TestLocalDiskIsNotTheBlocksFault(t *testing.T) {
	f := newFixture(t)
	f.add(member("a"), content{"0": f.minutely(0, 120, 1)})
	f.add(member("b"), content{"0": f.minutely(0, 120, 1)})
	f.now = f.now.Add(4 * time.Hour)
	var comp *Compactor
	comp = f.compactor(func(c *Config) {
		c.MergeChunks = func(series ...storage.ChunkSeries) storage.ChunkSeries {
			files, err := filepath.Glob(filepath.Join(comp.cfg.Dir, "merge-*", "*", "chunks", "000001"))
			require.NoError(t, err)
			raw, err := os.ReadFile(files[0])
			require.NoError(t, err)
			raw[len(raw)/2] ^= 0xff
			require.NoError(t, os.WriteFile(files[0], raw, 0o600))
			return &storage.ChunkSeriesEntry{Lset: series[0].Labels(), ChunkIteratorFn: func(chunks.Iterator) chunks.Iterator {
				return failedChunks{errors.New("cannot read")}
			}}
		}
	})
	require.ErrorContains(t, comp.Once(t.Context()), "has changed on disk")
	require.InDelta(t, 0, f.metric("penstock_compact_quarantined_total"), 0)
	require.Len(t, f.live(), 2)
	requireEmptyDir(t, comp.cfg.Dir)
}
