// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// TestCleanup deletes what may go and nothing else.
func TestCleanup(t *testing.T) {
	r := newRig(t)
	mark := func(id ulid.ULID, age time.Duration, details string) {
		require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(id, now.Add(-age), details)))
	}
	alive := r.put(blockSpec{})
	young, old := r.put(blockSpec{}), r.put(blockSpec{})
	mark(young, 47*time.Hour, "")
	mark(old, 48*time.Hour, "by hand")
	covered := r.put(blockSpec{from: 2})
	big := r.put(blockSpec{from: 2, sources: []ulid.ULID{covered, ulid.Make()}, level: 2})
	mark(covered, 50*time.Hour, "compacted into "+big.String())
	orphan := r.put(blockSpec{from: 4})
	mark(orphan, 50*time.Hour, "compacted into "+ulid.Make().String())
	partial, torn, foreign, foreignMarked := ulid.Make(), ulid.Make(), ulid.Make(), ulid.Make()
	r.set(partial.String()+"/index", []byte("x"))
	r.set(torn.String()+"/meta.json", []byte("{"))
	r.set(foreign.String()+"/meta.json", []byte(`{"version":9}`))
	r.set(foreignMarked.String()+"/meta.json", []byte(`{"version":9}`))
	mark(foreignMarked, 50*time.Hour, "")

	// Objects in memory are as old as they are; the plan is made for a time when they are old enough.
	l := r.listing()
	plan := buckettool.PlanCleanup(l, rules())
	require.Len(t, plan, 3, "nothing that was just written")
	for i := range l.Partial {
		l.Partial[i].LastModified = now.Add(-48 * time.Hour)
	}
	kept := map[ulid.ULID]bool{}
	gone := map[ulid.ULID]bool{}
	for _, p := range buckettool.PlanCleanup(l, rules()) {
		kept[p.ID], gone[p.ID] = p.Kept != "", p.Kept == ""
	}
	require.Equal(t, map[ulid.ULID]bool{old: true, covered: true, orphan: false, partial: true, torn: true, foreign: false, foreignMarked: true}, gone)

	// What was written to since it was listed stays.
	err := buckettool.Cleanup(t.Context(), r.blocks, buckettool.PlanCleanup(l, rules()), nil)
	require.ErrorContains(t, err, "was written to meanwhile")
	require.ElementsMatch(t, []ulid.ULID{alive, young, big, orphan}, r.ids())

	plan = buckettool.PlanCleanup(r.listing(), buckettool.CleanupRules{Now: time.Now().Add(time.Hour), DeletionDelay: 1e6 * time.Hour})
	var done []ulid.ULID
	require.NoError(t, buckettool.Cleanup(t.Context(), r.blocks, plan, func(r buckettool.Removal, err error) { done = append(done, r.ID) }))
	require.ElementsMatch(t, []ulid.ULID{partial, torn}, done)
	require.Len(t, r.listing().Partial, 1, "what another version may understand")
}

// TestCleanupNeverTakesWhatBecameABlock: an upload may end between the listing and the deletion.
func TestCleanupNeverTakesWhatBecameABlock(t *testing.T) {
	for _, foreign := range []bool{false, true} {
		r := newRig(t)
		dir, meta := writeBlock(t, t.TempDir(), blockSpec{})
		r.set(meta.ULID.String()+"/index", []byte("x"))
		if foreign {
			r.set(meta.ULID.String()+"/meta.json", []byte(`{"version":9}`))
			require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(meta.ULID, now.Add(-100*time.Hour), "")))
		}
		l := r.listing()
		l.Partial[0].LastModified = now.Add(-100 * time.Hour)
		plan := buckettool.PlanCleanup(l, rules())
		require.Len(t, plan, 1)
		require.NoError(t, r.blocks.PutBlock(t.Context(), dir, map[string]string{"tenant_id": "t"}, "test"))
		require.Error(t, buckettool.Cleanup(t.Context(), r.blocks, plan, nil))
		require.Equal(t, []ulid.ULID{meta.ULID}, r.ids())
		require.Len(t, r.listing().Blocks, 1)
	}
}

// TestCleanupFailNth interrupts a cleanup at every request; done again, it ends as if nothing had happened.
func TestCleanupFailNth(t *testing.T) {
	for n := 1; ; n++ {
		r := newRig(t)
		id := r.put(blockSpec{})
		require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(id, now.Add(-100*time.Hour), "")))
		faulty := buckettest.NewFaulty(r.mem)
		blocks := bucket.NewBlocks(faulty, nil)
		clean := func() error {
			l, err := blocks.Metas(t.Context())
			if err != nil {
				return err
			}
			later := buckettool.CleanupRules{Now: time.Now().Add(time.Hour), PartialAge: time.Minute}
			return buckettool.Cleanup(t.Context(), blocks, buckettool.PlanCleanup(l, later), nil)
		}
		faulty.FailNth(n, buckettest.FailBefore)
		err := clean()
		if err == nil {
			require.Greater(t, n, 5)
			return
		}
		require.ErrorIs(t, err, buckettest.ErrInjected)
		require.NoError(t, clean())
		l := r.listing()
		require.Empty(t, l.Blocks)
		require.Empty(t, l.Partial)
	}
}
