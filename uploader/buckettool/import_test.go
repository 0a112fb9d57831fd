// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tombstones"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

func importRules() buckettool.ImportRules {
	return buckettool.ImportRules{Labels: map[string]string{"cluster": "x"}, DefaultTenant: "d"}
}

// planDir says what would become of the blocks in a directory.
func (r *rig) planDir(dir string, rules buckettool.ImportRules) []buckettool.Step {
	r.Helper()
	found, problems, err := buckettool.ScanDir(dir)
	require.NoError(r, err)
	require.Empty(r, problems)
	return buckettool.PlanImport(found, r.listing(), rules)
}

func actions(steps []buckettool.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, fmt.Sprintf("%s %s", s.Action, s.Reason))
	}
	return out
}

func TestImportDirectory(t *testing.T) {
	data := t.TempDir()
	_, second := writeBlock(t, data, blockSpec{from: 1}) // Overlaps.
	_, first := writeBlock(t, data, blockSpec{})
	for _, dir := range []string{"wal", "chunks_head", ulid.Make().String() + ".tmp-for-creation"} {
		require.NoError(t, os.Mkdir(filepath.Join(data, dir), 0o750))
	}
	r := newRig(t)
	steps := r.planDir(data, importRules())
	require.Equal(t, []ulid.ULID{first.ULID, second.ULID}, []ulid.ULID{steps[0].ULID, steps[1].ULID})
	require.Equal(t, []string{"import ", "import "}, actions(steps))
	importer := buckettool.Importer{To: r.blocks}
	require.NoError(t, importer.Import(t.Context(), steps[0]))
	require.Equal(t, []string{"skip it is in the bucket", "import "}, actions(r.planDir(data, importRules())), "what was cut off goes on")
	require.NoError(t, importer.Import(t.Context(), steps[1]))
	for _, b := range r.listing().Blocks {
		require.Equal(t, map[string]string{"cluster": "x", "tenant_id": "d"}, b.Meta.Thanos.Labels)
		require.Equal(t, "bucket.upload", b.Meta.Thanos.Source)
	}
	require.Equal(t, []string{"note overlap"}, found(r.verify(buckettool.VerifyOptions{Data: true})))

	// The source is as it was.
	again, _, err := buckettool.ScanDir(data)
	require.NoError(t, err)
	require.Len(t, again, 2)
}

// TestPlanImport is about what is known of a block before it is read.
func TestPlanImport(t *testing.T) {
	data := t.TempDir()
	r := newRig(t)
	dir, meta := writeBlock(t, data, blockSpec{})
	ours := map[string]string{"cluster": "x", "tenant_id": "d"}
	plan := func(rules buckettool.ImportRules) []string { return actions(r.planDir(data, rules)) }

	// Compaction has made another block of it, and deleted it.
	big := r.put(blockSpec{until: 4, sources: []ulid.ULID{ulid.Make(), meta.ULID}, level: 2, labels: ours})
	require.Equal(t, []string{"skip block " + big.String() + " has its samples"}, plan(importRules()))
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(big, now, "")))
	require.Equal(t, []string{"import "}, plan(importRules()), "what is to go does not count")
	require.NoError(t, r.blocks.Delete(t.Context(), big))
	r.put(blockSpec{until: 4, sources: []ulid.ULID{meta.ULID}, labels: map[string]string{"tenant_id": "d"}})
	r.put(blockSpec{until: 4, sources: []ulid.ULID{meta.ULID}, labels: ours, resolution: 300_000})
	require.Equal(t, []string{"import "}, plan(importRules()), "neither do other groups and resolutions")

	require.NoError(t, r.blocks.PutBlock(t.Context(), dir, ours, "test"))
	require.Equal(t, []string{"skip it is in the bucket"}, plan(importRules()))
	other := importRules()
	other.Tenant = "other"
	require.Equal(t, []string{`refuse it is in the bucket with the labels {cluster="x",tenant_id="d"}`}, plan(other))
	r.edit(meta.ULID, func(m *bucket.Meta) { m.Stats.NumSamples++ })
	require.Equal(t, []string{"refuse another block of the same name is in the bucket"}, plan(importRules()))
	r.edit(meta.ULID, func(m *bucket.Meta) { m.Stats.NumSamples-- })
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(meta.ULID, now, "")))
	require.Equal(t, []string{"skip it is in the bucket, marked for deletion"}, plan(importRules()))

	rules := importRules()
	rules.Filter.Until = time.UnixMilli(t0)
	require.Empty(t, plan(rules))
	rules.Filter = buckettool.Filter{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "cluster", "x")}}
	require.Len(t, plan(rules), 1, "the labels that it will have")
}

func TestScanDirProblems(t *testing.T) {
	data := t.TempDir()
	id := ulid.Make().String()
	require.NoError(t, os.Mkdir(filepath.Join(data, id), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(data, id, "meta.json"), []byte("{"), 0o600))
	found, problems, err := buckettool.ScanDir(data)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Len(t, problems, 1)
	require.ErrorContains(t, problems[0], id)
	_, _, err = buckettool.ScanDir(filepath.Join(data, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestImportRefuses: what is damaged, or cannot be read by others, does not get in.
func TestImportRefuses(t *testing.T) {
	flip := func(t *testing.T, name string) {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		content[len(content)/2] ^= 4
		require.NoError(t, os.WriteFile(name, content, 0o600))
	}
	for want, tc := range map[string]struct {
		spec   blockSpec
		damage func(t *testing.T, dir string)
	}{
		"chunk-encoding: {__name__=\"m\", i=\"0\"}: the chunk from 7200000000 has the encoding XOR2": {blockSpec{encoding: chunkenc.EncXOR2}, nil},
		"chunk-unreadable": {blockSpec{}, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "chunks", "000001")) }},
		"it is damaged":    {blockSpec{}, func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "index")) }},
		"index-unreadable": {blockSpec{}, func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "index"))) }},
		"it has 1 tombstones, and what was deleted would come back": {blockSpec{}, func(t *testing.T, dir string) {
			stones := tombstones.NewMemTombstones()
			stones.AddInterval(1, tombstones.Interval{Mint: t0, Maxt: t0 + 1})
			_, err := tombstones.WriteFile(slog.New(slog.DiscardHandler), dir, stones)
			require.NoError(t, err)
		}},
	} {
		t.Run(want, func(t *testing.T) {
			data := t.TempDir()
			dir, _ := writeBlock(t, data, tc.spec)
			if tc.damage != nil {
				tc.damage(t, dir)
			}
			r := newRig(t)
			steps := r.planDir(data, importRules())
			err := (&buckettool.Importer{To: r.blocks}).Import(t.Context(), steps[0])
			var refused *buckettool.RefusedError
			require.ErrorAs(t, err, &refused)
			require.ErrorContains(t, err, want)
			l := r.listing()
			require.Empty(t, l.Blocks)
			require.Empty(t, l.Partial, "nothing was uploaded")
		})
	}
}

func TestImportBucket(t *testing.T) {
	from, to := newRig(t), newRig(t)
	raw := from.put(blockSpec{labels: map[string]string{"tenant_id": "a", "receive_replica": "m", "cluster": "old"}})
	foreign := from.put(blockSpec{from: 2, labels: map[string]string{"prometheus": "p"}})
	superfluous := from.put(blockSpec{from: 4})
	big := from.put(blockSpec{from: 4, until: 8, sources: []ulid.ULID{superfluous, ulid.Make()}})
	marked := from.put(blockSpec{from: 10})
	require.NoError(t, from.blocks.Mark(t.Context(), bucket.NewDeletionMark(marked, now, "")))
	broken := from.put(blockSpec{from: 12})
	content := from.get(broken.String() + "/chunks/000001")
	from.set(broken.String()+"/chunks/000001", content[:len(content)-1])

	found, problems := buckettool.ScanBucket(from.listing())
	require.Empty(t, problems)
	steps := buckettool.PlanImport(found, to.listing(), importRules())
	require.Len(t, steps, 4)
	importer := buckettool.Importer{To: to.blocks, From: from.blocks, Scratch: t.TempDir(), Backoff: time.Microsecond}
	for _, s := range steps {
		err := importer.Import(t.Context(), s)
		require.Equal(t, s.ULID != broken, err == nil, err)
	}
	emptyDir(t, importer.Scratch)
	got := map[ulid.ULID]map[string]string{}
	for _, b := range to.listing().Blocks {
		got[b.Meta.ULID] = b.Meta.Thanos.Labels
	}
	require.Equal(t, map[ulid.ULID]map[string]string{
		raw:     {"tenant_id": "a", "receive_replica": "m", "cluster": "x"},
		foreign: {"tenant_id": "d", "prometheus": "p", "cluster": "x"},
		big:     {"tenant_id": "t", "cluster": "x"},
	}, got)
	require.Equal(t, from.samplesOf(raw), to.samplesOf(raw))
}

// TestImportFailNth lets each request to both buckets fail. An import that is done again ends as if nothing had happened, and
// nobody ever sees half a block.
func TestImportFailNth(t *testing.T) {
	from := newRig(t)
	id := from.put(blockSpec{labels: map[string]string{"tenant_id": "a"}})
	found, _ := buckettool.ScanBucket(from.listing())
	for _, fault := range []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate} {
		for n := 1; ; n++ {
			to := newRig(t)
			target, source := buckettest.NewFaulty(to.mem), buckettest.NewFaulty(from.mem)
			target.FailNth(n, fault)
			source.FailNth(n, fault)
			importer := buckettool.Importer{
				To: bucket.NewBlocks(target, nil), From: bucket.NewBlocks(source, nil), Scratch: t.TempDir(), Attempts: 1,
			}
			step := buckettool.PlanImport(found, to.listing(), importRules())[0]
			err := importer.Import(t.Context(), step)
			for range 2 { // The same n may hit both buckets, one after the other.
				if err != nil {
					err = importer.Import(t.Context(), step)
				}
			}
			require.NoError(t, err)
			require.Equal(t, from.samplesOf(id), to.samplesOf(id))
			require.Empty(t, to.listing().Partial)
			if target.Calls() < n && source.Calls() < n {
				require.Greater(t, n, 5)
				break
			}
		}
	}
}

func TestImportRetries(t *testing.T) {
	from, to := newRig(t), newRig(t)
	from.put(blockSpec{})
	found, _ := buckettool.ScanBucket(from.listing())
	target := buckettest.NewFaulty(to.mem)
	target.FailWhen(func(call int, _, _ string) (buckettest.Fault, bool) { return buckettest.FailBefore, call <= 2 })
	importer := buckettool.Importer{To: bucket.NewBlocks(target, nil), From: from.blocks, Scratch: t.TempDir(), Backoff: time.Microsecond}
	require.NoError(t, importer.Import(t.Context(), buckettool.PlanImport(found, to.listing(), importRules())[0]))
	target.FailWhen(func(int, string, string) (buckettest.Fault, bool) { return buckettest.FailBefore, true })
	err := importer.Import(t.Context(), buckettool.PlanImport(found, newRig(t).listing(), importRules())[0])
	require.ErrorIs(t, err, buckettest.ErrInjected)
	require.Equal(t, buckettool.DefaultImportAttempts, target.Calls())
}
