// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

func deleting(pairs ...string) [][]*labels.Matcher {
	var out [][]*labels.Matcher
	for _, p := range pairs {
		out = append(out, []*labels.Matcher{
			labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"), labels.MustNewMatcher(labels.MatchRegexp, "i", p),
		})
	}
	return out
}

func (r *rig) rewrite(id ulid.ULID, opts buckettool.RewriteOptions) (buckettool.RewriteReport, error) {
	opts.Scratch, opts.Now = r.TempDir(), now
	report, err := buckettool.Rewrite(r.Context(), r.blocks, id, opts)
	emptyDir(r.T, opts.Scratch)
	return report, err
}

// samplesOf reads a block from the bucket: samples by series, with a sum over times and values.
func (r *rig) samplesOf(id ulid.ULID) map[string]float64 {
	r.Helper()
	dir := filepath.Join(r.TempDir(), id.String())
	_, err := r.blocks.Download(r.Context(), id, dir)
	require.NoError(r, err)
	b, err := tsdb.OpenBlock(nil, dir, nil, nil)
	require.NoError(r, err)
	defer b.Close()
	q, err := tsdb.NewBlockQuerier(b, b.MinTime(), b.MaxTime())
	require.NoError(r, err)
	defer q.Close()
	out := map[string]float64{}
	set := q.Select(r.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			t, v := it.At()
			out[set.At().Labels().String()] += float64(t-t0)/1000 + v
		}
	}
	require.NoError(r, set.Err())
	return out
}

func TestRewrite(t *testing.T) {
	r := newRig(t)
	source := ulid.Make()
	id := r.put(blockSpec{series: 6, sources: []ulid.ULID{source, ulid.Make()}, level: 2})
	before := r.samplesOf(id)
	require.Len(t, before, 6)

	report, err := r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("1", "[34]"), DryRun: true})
	require.NoError(t, err)
	require.Equal(t, uint64(3), report.DeletedSeries)
	require.Equal(t, uint64(360), report.DeletedSamples)
	require.Nil(t, report.New)
	require.Equal(t, []ulid.ULID{id}, r.ids(), "a dry run")

	report, err = r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("x")})
	require.NoError(t, err)
	require.Zero(t, report.DeletedSeries)
	require.Equal(t, []ulid.ULID{id}, r.ids(), "nothing to do")

	report, err = r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("1", "[34]")})
	require.NoError(t, err)
	require.True(t, report.Marked)
	require.Equal(t, `{__name__="m", i="1"}`, report.Deleted[0].String())
	want := before
	for _, i := range []string{"1", "3", "4"} {
		delete(want, labels.FromStrings("__name__", "m", "i", i).String())
	}
	require.Equal(t, want, r.samplesOf(*report.New))

	l := r.listing()
	require.Len(t, l.Blocks, 2)
	require.Equal(t, map[ulid.ULID]ulid.ULID{id: *report.New}, bucket.Covered(l.Blocks))
	for _, b := range l.Blocks {
		require.Equal(t, b.Meta.ULID == id, b.Marks.Deletion != nil)
		if b.Meta.ULID == *report.New {
			require.Equal(t, 2, b.Meta.Compaction.Level)
			require.Equal(t, map[string]string{"tenant_id": "t"}, b.Meta.Thanos.Labels)
			require.Equal(t, "bucket.rewrite", b.Meta.Thanos.Source)
			require.Contains(t, string(b.Meta.Thanos.Rewrites), `"Value": "[34]"`)
			require.Contains(t, string(b.Meta.Thanos.Rewrites), source.String())
		}
	}
	require.Empty(t, found(r.verify(buckettool.VerifyOptions{Data: true})))

	_, err = r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("2")})
	require.ErrorContains(t, err, "is marked for deletion: rewritten as "+report.New.String())
	again, err := r.rewrite(*report.New, buckettool.RewriteOptions{Delete: deleting("2")})
	require.NoError(t, err)
	require.Len(t, r.samplesOf(*again.New), 2)
	require.Len(t, bucket.Covered(r.listing().Blocks), 2)
}

func TestRewriteEverything(t *testing.T) {
	r := newRig(t)
	id := r.put(blockSpec{})
	report, err := r.rewrite(id, buckettool.RewriteOptions{Delete: deleting(".*")})
	require.NoError(t, err)
	require.Nil(t, report.New)
	require.Equal(t, "all series deleted", r.listing().Blocks[0].Marks.Deletion.Details)
	require.Equal(t, []ulid.ULID{id}, r.ids())
}

func TestRewriteRefuses(t *testing.T) {
	r := newRig(t)
	refuse := func(id ulid.ULID, want string) {
		t.Helper()
		before := len(r.ids())
		_, err := r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("1")})
		require.ErrorContains(t, err, want)
		require.Len(t, r.ids(), before)
	}
	refuse(ulid.Make(), "not found")
	refuse(r.put(blockSpec{resolution: 300_000}), "holds aggregates")
	small := r.put(blockSpec{from: 10})
	r.put(blockSpec{from: 10, sources: []ulid.ULID{small, ulid.Make()}})
	refuse(small, "is superfluous")
	damaged := r.put(blockSpec{from: 20})
	r.edit(damaged, func(m *bucket.Meta) { m.MaxTime -= hour })
	refuse(damaged, "it is damaged; outside-of-range: ")
}

// TestRewriteFailNth interrupts a rewrite at every request. Whatever was done, every reader sees each sample once, and a
// rewrite of what is then there ends as if nothing had happened.
func TestRewriteFailNth(t *testing.T) {
	for _, fault := range []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter} {
		for n := 1; ; n++ {
			r := newRig(t)
			id := r.put(blockSpec{series: 3})
			faulty := buckettest.NewFaulty(r.mem)
			faulty.FailNth(n, fault)
			opts := buckettool.RewriteOptions{Delete: deleting("1"), Scratch: t.TempDir(), Now: now}
			_, err := buckettool.Rewrite(t.Context(), bucket.NewBlocks(faulty, nil), id, opts)
			emptyDir(t, opts.Scratch)
			l := r.listing()
			covered := bucket.Covered(l.Blocks)
			var left []ulid.ULID
			for _, b := range l.Blocks {
				if _, ok := covered[b.Meta.ULID]; !ok {
					left = append(left, b.Meta.ULID)
				}
			}
			require.Len(t, left, 1)
			if err == nil {
				require.NotEqual(t, id, left[0])
				break
			}
			require.True(t, errors.Is(err, buckettest.ErrInjected), err)
			if left[0] == id {
				_, err := r.rewrite(id, buckettool.RewriteOptions{Delete: deleting("1")})
				require.NoError(t, err)
			} else {
				require.Len(t, r.samplesOf(left[0]), 2)
			}
		}
	}
}
