// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"flag"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// faultScenario has something of everything: copies to merge, twice, marks to set, a block and a given-up upload to delete.
// It returns what is to be read at the end.
func (f *fixture) faultScenario() content {
	want := content{"0": f.minutely(0, 240, 1), "1": f.minutely(2, 5, 1)}
	f.add(member("a"), content{"0": want["0"][:120]})
	f.add(member("a"), content{"0": want["0"][120:]})
	f.add(member("b"), content{"0": want["0"][120:], "1": want["1"]})
	goes := f.add(member("c"), content{"9": f.minutely(0, 5, 1)})
	require.NoError(f.t, f.blocks.Mark(f.t.Context(), bucket.NewDeletionMark(goes, f.now.Add(-100*time.Hour), "by hand")))
	left := f.add(member("c"), content{"8": f.minutely(0, 5, 1)})
	require.NoError(f.t, f.store.Delete(f.t.Context(), left.String()+"/meta.json"))
	return want
}

// finish lets a sound compactor come to the end: everything merged, the delays over.
func (f *fixture) finish(change func(*Config)) {
	f.faulty.FailNth(0, 0)
	comp := f.compactor(change)
	require.NoError(f.t, comp.Once(f.t.Context()))
	for range 3 {
		f.now = f.now.Add(49 * time.Hour)
		require.NoError(f.t, comp.Once(f.t.Context()))
	}
}

var allFaults = flag.Bool("faults.all", false, "let every call fail in every way, and not one in three")

// TestEveryCallFailsOnce lets each call to the bucket fail, and the process with it: a new one goes on. The bucket is the same
// at the end.
func TestEveryCallFailsOnce(t *testing.T) {
	template := newFixture(t)
	want := template.faultScenario()
	template.now = template.now.Add(12 * time.Hour)
	reference := template.clone()
	reference.faulty.FailNth(0, 0)
	require.NoError(t, reference.compactor(nil).Once(t.Context()))
	calls := reference.faulty.Calls()
	t.Log("calls:", calls)
	require.Greater(t, calls, 60)
	reference.finish(nil)
	shape := reference.shape()
	require.Equal(t, want, reference.read(reference.live()))
	require.Len(t, reference.listing().Blocks, 1)

	faults := []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate}
	for n := 1; n <= calls; n++ {
		for i, fault := range faults {
			if !*allFaults && n%len(faults) != i {
				continue
			}
			f := template.clone()
			f.faulty.FailNth(n, fault)
			comp := f.compactor(nil)
			_ = comp.Once(t.Context())
			requireEmptyDir(t, comp.cfg.Dir)
			require.Empty(t, missing(want, f.read(f.live())), "call %d, fault %d: lost in between", n, fault)
			f.finish(nil)
			require.Equal(t, shape, f.shape(), "call %d, fault %d", n, fault)
			require.Equal(t, want, f.read(f.live()), "call %d, fault %d", n, fault)
		}
	}
}

// clone is the same bucket at the same time.
func (f *fixture) clone() *fixture {
	c := newFixture(f.t)
	c.now = f.now
	require.NoError(f.t, f.store.List(f.t.Context(), "", true, func(o bucket.Object) error {
		r, err := f.store.Get(f.t.Context(), o.Key)
		require.NoError(f.t, err)
		return c.store.Put(f.t.Context(), o.Key, r, o.Size)
	}))
	return c
}

// missing returns the samples of want that are not in got.
func missing(want, got content) (lost []sample) {
	for name, samples := range want {
		there := map[sample]bool{}
		for _, s := range got[name] {
			there[s] = true
		}
		for _, s := range samples {
			if !there[s] {
				lost = append(lost, s)
			}
		}
	}
	return lost
}

// TestThreeCompactorsOnTheSameGroups really at once, over several steps of time.
func TestThreeCompactorsOnTheSameGroups(t *testing.T) {
	f := newFixture(t)
	want := content{"0": f.minutely(0, 480, 1), "1": f.minutely(3, 300, 1)}
	for _, m := range []string{"a", "b", "c"} {
		for i := range 4 {
			c := content{"0": want["0"][120*i : 120*(i+1)]}
			if m != "b" && i == 1 {
				c["1"] = want["1"][:60]
			}
			if m != "b" && i > 1 {
				c["1"] = want["1"][60+120*(i-2) : 60+120*(i-1)]
			}
			f.add(member(m), c)
		}
	}
	f.now = f.now.Add(5 * time.Hour)
	var compactors []*Compactor
	for i := range 3 {
		dir := filepath.Join(t.TempDir(), string(rune('0'+i)))
		compactors = append(compactors, f.compactor(func(c *Config) { c.Dir = dir }))
	}
	for range 6 {
		var all sync.WaitGroup
		for _, c := range compactors {
			all.Go(func() { _ = c.Once(t.Context()) })
		}
		all.Wait()
		require.Empty(t, missing(want, f.read(f.live())), "lost in between")
		f.now = f.now.Add(10 * time.Hour)
	}
	f.finish(nil)
	require.Equal(t, want, f.read(f.live()))
	require.Len(t, f.listing().Blocks, 1)
	require.Empty(t, f.listing().Partial)
	require.InDelta(t, 0, f.metric("penstock_compact_refused_deletions_total"), 0)
	require.InDelta(t, 0, f.metric("penstock_compact_quarantined_total"), 0)
}

// TestOwnersAreAsked: what is not this member's is left alone, whatever it is.
func TestOwnersAreAsked(t *testing.T) {
	f := newFixture(t)
	f.faultScenario()
	before := f.shape()
	window := strconv.FormatInt(f.origin(), 10)
	f.now = f.now.Add(100 * time.Hour)
	asked := map[string]bool{}
	comp := f.compactor(func(c *Config) { c.Owns = func(key string) bool { asked[key] = true; return false } })
	f.faulty.FailNth(0, 0)
	require.NoError(t, comp.Once(t.Context()))
	require.Equal(t, before, f.shape())
	require.True(t, asked[KeyIndex])
	require.True(t, asked[`0@{tenant_id="t"}@`+window])
	require.NotContains(t, f.faulty.Log(), "put penstock/block-index.json.gz")
}

// staleLists answers some listings as they were the last time.
type staleLists struct {
	bucket.Bucket
	stale func() bool

	mu    sync.Mutex
	lists map[string][]bucket.Object
}

func (s *staleLists) List(ctx context.Context, prefix string, recursive bool, fn func(bucket.Object) error) error {
	s.mu.Lock()
	objects, known := s.lists[prefix]
	s.mu.Unlock()
	if !known || !s.stale() {
		objects = nil
		if err := s.Bucket.List(ctx, prefix, recursive, func(o bucket.Object) error { objects = append(objects, o); return nil }); err != nil {
			return err
		}
		s.mu.Lock()
		s.lists[prefix] = objects
		s.mu.Unlock()
	}
	for _, o := range objects {
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}

// TestBadStores lets three compactors work at once on stores where much goes wrong: calls fail before or after they were done,
// are cut off half-way, and listings are old. Nothing is lost at any time, and the end is as on a good one.
func TestBadStores(t *testing.T) {
	template := newFixture(t)
	want := content{"0": template.minutely(0, 480, 1), "1": template.minutely(3, 100, 1)}
	for _, m := range []string{"a", "b", "c"} {
		for i := range 4 {
			template.add(member(m), content{"0": want["0"][120*i : 120*(i+1)]})
		}
	}
	template.add(member("b"), content{"1": want["1"]})
	for seed := range uint64(5) {
		f := template.clone()
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, 3))
		one := func(in int) bool {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(in) == 0
		}
		fault := func(_ int, op, _ string) (buckettest.Fault, bool) {
			mu.Lock()
			defer mu.Unlock()
			return buckettest.Fault(random.IntN(3)), random.IntN(30) == 0
		}
		now := func() time.Time { return f.now }
		f.now = f.now.Add(5 * time.Hour)
		var compactors []*Compactor
		for i := range 3 {
			faulty := buckettest.NewFaulty(&staleLists{Bucket: f.store, stale: func() bool { return one(4) }, lists: map[string][]bucket.Object{}})
			faulty.FailWhen(fault)
			compactors = append(compactors, f.compactor(func(c *Config) {
				c.Dir = filepath.Join(t.TempDir(), string(rune('0'+i)))
				c.Blocks = bucket.NewBlocks(faulty, now)
				c.Index = bucket.NewIndex(bucket.IndexConfig{Blocks: c.Blocks, Now: now, Reuse: 1}, nil)
				c.Attempts, c.Concurrency = 2, 2
			}))
		}
		for range 6 {
			var all sync.WaitGroup
			for _, c := range compactors {
				all.Go(func() { _ = c.Once(t.Context()) })
			}
			all.Wait()
			require.Empty(t, missing(want, f.read(f.live())), "seed %d: lost in between", seed)
			f.now = f.now.Add(14 * time.Hour)
		}
		f.finish(nil)
		require.Equal(t, want, f.read(f.live()), "seed %d", seed)
		require.Len(t, f.listing().Blocks, 1, "seed %d: %s", seed, f.shape())
		require.Empty(t, f.listing().Partial, "seed %d", seed)
	}
}
