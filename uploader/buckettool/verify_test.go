// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

func (r *rig) verify(opts buckettool.VerifyOptions) buckettool.VerifyReport {
	r.Helper()
	opts.Rules, opts.Scratch = rules(), r.TempDir()
	report, err := buckettool.Verify(r.Context(), r.blocks, opts)
	require.NoError(r, err)
	emptyDir(r.T, opts.Scratch)
	return report
}

// found returns the findings as "severity kind".
func found(r buckettool.VerifyReport) []string {
	out := []string{}
	for _, f := range r.Findings {
		out = append(out, fmt.Sprintf("%s %s", f.Severity, f.Kind))
	}
	return out
}

func TestVerifySound(t *testing.T) {
	r := newRig(t)
	r.put(blockSpec{})
	r.put(blockSpec{from: 2})
	r.put(blockSpec{labels: map[string]string{"tenant_id": "other"}})
	read := int64(0)
	report := r.verify(buckettool.VerifyOptions{Data: true, Read: func(_ ulid.ULID, n int64) { read += n }})
	require.Empty(t, report.Findings)
	require.Equal(t, 3, report.Read)
	require.Empty(t, report.Worst())
	require.Positive(t, read)
	require.Less(t, read, report.Bytes, "all but meta.json")
}

// TestVerifyDamage does every kind of damage to a block, and expects it to be named.
func TestVerifyDamage(t *testing.T) {
	chunk := func(id ulid.ULID) string { return id.String() + "/chunks/000001" }
	index := func(id ulid.ULID) string { return id.String() + "/index" }
	unlisted := func(r *rig, id ulid.ULID) {
		r.edit(id, func(m *bucket.Meta) { m.Thanos.Files = nil })
	}
	flip := func(r *rig, key string) {
		content := slices.Clone(r.get(key))
		content[len(content)/2] ^= 4
		r.set(key, content)
	}
	cutOff := func(r *rig, key string) {
		content := r.get(key)
		r.set(key, content[:len(content)-10])
	}
	for name, tc := range map[string]struct {
		damage func(r *rig, id ulid.ULID)
		want   []string
	}{
		"chunks cut off": {func(r *rig, id ulid.ULID) { cutOff(r, chunk(id)) }, []string{"error size", "error chunk-unreadable"}},
		"chunks cut off, no list of files": {func(r *rig, id ulid.ULID) {
			unlisted(r, id)
			cutOff(r, chunk(id))
		}, []string{"error chunk-unreadable"}},
		"bit flipped in chunks": {func(r *rig, id ulid.ULID) { flip(r, chunk(id)) }, []string{"error checksum", "error chunk-unreadable"}},
		"bit flipped in index":  {func(r *rig, id ulid.ULID) { flip(r, index(id)) }, []string{"error checksum"}},
		"index cut off":         {func(r *rig, id ulid.ULID) { cutOff(r, index(id)) }, []string{"error size", "error index-unreadable"}},
		"chunks missing": {func(r *rig, id ulid.ULID) {
			require.NoError(r, r.mem.Delete(r.Context(), chunk(id)))
		}, []string{"error missing-file", "error files-missing"}},
		"index missing": {func(r *rig, id ulid.ULID) {
			require.NoError(r, r.mem.Delete(r.Context(), index(id)))
		}, []string{"error missing-file", "error index-unreadable"}},
		"wrong size": {func(r *rig, id ulid.ULID) {
			r.edit(id, func(m *bucket.Meta) { m.Thanos.Files[0].SizeBytes++ })
		}, []string{"error size"}},
		"meta.json garbage":    {func(r *rig, id ulid.ULID) { r.set(id.String()+"/meta.json", []byte("garbage")) }, []string{"error meta"}},
		"meta.json cut off":    {func(r *rig, id ulid.ULID) { cutOff(r, id.String()+"/meta.json") }, []string{"error meta"}},
		"meta.json of another": {func(r *rig, id ulid.ULID) { r.edit(id, func(m *bucket.Meta) { m.ULID = ulid.Make() }) }, []string{"error meta"}},
		"meta.json missing": {func(r *rig, id ulid.ULID) {
			require.NoError(r, r.mem.Delete(r.Context(), id.String()+"/meta.json"))
		}, []string{"warning partial"}},
		"no external labels": {func(r *rig, id ulid.ULID) { r.edit(id, func(m *bucket.Meta) { m.Thanos.Labels = nil }) }, []string{"error labels"}},
		"samples outside of its time": {func(r *rig, id ulid.ULID) {
			r.edit(id, func(m *bucket.Meta) { m.MaxTime -= hour })
		}, []string{"error outside-of-range"}},
		"wrong counts":       {func(r *rig, id ulid.ULID) { r.edit(id, func(m *bucket.Meta) { m.Stats.NumSamples++ }) }, []string{"error stats"}},
		"unknown chunk file": {func(r *rig, id ulid.ULID) { r.set(id.String()+"/chunks/000009", []byte("x")) }, []string{"warning unknown-file"}},
		"mark garbage":       {func(r *rig, id ulid.ULID) { r.set(id.String()+"/deletion-mark.json", []byte("{")) }, []string{"warning mark"}},
		"quarantined": {func(r *rig, id ulid.ULID) {
			require.NoError(r, r.blocks.Mark(r.Context(), bucket.NewNoCompactMark(id, now, "broken-block", "")))
		}, []string{"warning no-compact"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			other := r.put(blockSpec{from: 10})
			id := r.put(blockSpec{})
			tc.damage(r, id)
			got := found(r.verify(buckettool.VerifyOptions{Data: true}))
			if name == "bit flipped in index" { // What the bit meant depends on the layout of the index.
				require.Contains(t, got, tc.want[0])
				require.Greater(t, len(got), 1)
				return
			}
			if name == "meta.json missing" { // Objects in memory are as young as they are.
				require.Equal(t, []string{"note partial"}, got)
				l := r.listing()
				l.Partial[0].LastModified = now.Add(-49 * time.Hour)
				require.Equal(t, tc.want, found(buckettool.VerifyReport{Findings: buckettool.Findings(l, buckettool.Filter{}, rules())}))
				return
			}
			require.Equal(t, tc.want, got)
			report := r.verify(buckettool.VerifyOptions{Data: true, Filter: buckettool.Filter{IDs: []ulid.ULID{id}}})
			require.Equal(t, tc.want, found(report))
			for _, f := range report.Findings {
				require.Equal(t, id, f.Blocks[0])
				require.NotEmpty(t, f.Todo)
			}
			require.Empty(t, found(r.verify(buckettool.VerifyOptions{Data: true, Filter: buckettool.Filter{IDs: []ulid.ULID{other}}})))
		})
	}
}

// TestVerifyGroups is about what blocks are to each other.
func TestVerifyGroups(t *testing.T) {
	r := newRig(t)
	a := r.put(blockSpec{})
	b := r.put(blockSpec{from: 1})
	got := r.verify(buckettool.VerifyOptions{})
	require.Equal(t, []string{"note overlap"}, found(got))
	require.Equal(t, []ulid.ULID{b, a}, got.Findings[0].Blocks)
	require.Contains(t, got.Findings[0].Detail, "1h0m0s in common")

	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewNoCompactMark(a, now, "manual", "")))
	require.Equal(t, []string{"warning no-compact", "warning overlap"}, found(r.verify(buckettool.VerifyOptions{})))
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(a, now, "")))
	require.Equal(t, []string{"warning no-compact"}, found(r.verify(buckettool.VerifyOptions{})), "what is to go overlaps nothing")

	r = newRig(t)
	r.put(blockSpec{labels: map[string]string{"tenant_id": "t", "receive_replica": "a"}})
	r.put(blockSpec{labels: map[string]string{"tenant_id": "t", "receive_replica": "b"}})
	r.put(blockSpec{resolution: 300_000})
	require.Empty(t, found(r.verify(buckettool.VerifyOptions{})), "copies and other resolutions are other groups")
	r.put(blockSpec{resolution: 300_000})
	require.Equal(t, []string{"warning overlap"}, found(r.verify(buckettool.VerifyOptions{})))
}

// TestVerifyRepair repairs what is safe to repair, and nothing else.
func TestVerifyRepair(t *testing.T) {
	r := newRig(t)
	small := r.put(blockSpec{})
	big := r.put(blockSpec{until: 4, sources: []ulid.ULID{small, ulid.Make()}, level: 2})
	orphan := r.put(blockSpec{from: 10})
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(orphan, now, "compacted into "+ulid.Make().String())))
	broken := r.put(blockSpec{from: 20})
	content := r.get(broken.String() + "/chunks/000001")
	r.set(broken.String()+"/chunks/000001", content[:100])

	want := []string{"error deletion-mark", "error size", "error chunk-unreadable", "warning no-deletion-mark"}
	require.Equal(t, want, found(r.verify(buckettool.VerifyOptions{Data: true})))
	report := r.verify(buckettool.VerifyOptions{Data: true, Repair: true})
	require.Equal(t, want, found(report))
	require.Equal(t, buckettool.Error, report.Worst(), "damage stays damage")
	l := r.listing()
	require.Len(t, l.Blocks, 4, "nothing is deleted")
	for _, b := range l.Blocks {
		require.Equal(t, b.Meta.ULID == small, b.Marks.Deletion != nil)
		require.Equal(t, b.Meta.ULID == broken, b.Marks.NoCompact != nil)
		if b.Meta.ULID == small {
			require.Equal(t, "compacted into "+big.String(), b.Marks.Deletion.Details)
		}
	}
	require.Equal(t, []string{"error size", "error chunk-unreadable", "warning no-compact"}, found(r.verify(buckettool.VerifyOptions{Data: true})))
}

// TestVerifyBrokenCover: what a block has that cannot be read is as good as lost.
func TestVerifyBrokenCover(t *testing.T) {
	r := newRig(t)
	small := r.put(blockSpec{})
	big := r.put(blockSpec{until: 4, sources: []ulid.ULID{small, ulid.Make()}, level: 2})
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewDeletionMark(small, now.Add(-100*time.Hour), "compacted into "+big.String())))
	require.Equal(t, []string{"note deletable"}, found(r.verify(buckettool.VerifyOptions{})))
	require.Empty(t, buckettool.PlanCleanup(r.listing(), rules())[0].Kept)
	require.NoError(t, r.blocks.Mark(t.Context(), bucket.NewNoCompactMark(big, now, bucket.ReasonBroken, "")))
	require.Equal(t, []string{"error deletion-mark", "warning no-compact"}, found(r.verify(buckettool.VerifyOptions{})))
	require.NotEmpty(t, buckettool.PlanCleanup(r.listing(), rules())[0].Kept)
}

// TestVerifyRepairNeedsASoundCover: a block is not given up for one that cannot be read.
func TestVerifyRepairNeedsASoundCover(t *testing.T) {
	r := newRig(t)
	small := r.put(blockSpec{})
	big := r.put(blockSpec{until: 4, sources: []ulid.ULID{small, ulid.Make()}, level: 2})
	content := r.get(big.String() + "/chunks/000001")
	r.set(big.String()+"/chunks/000001", content[:100])
	r.verify(buckettool.VerifyOptions{Filter: buckettool.Filter{IDs: []ulid.ULID{small}}, Repair: true})
	for _, b := range r.listing().Blocks {
		require.Nil(t, b.Marks.Deletion)
	}
}

// TestVerifyFailNth: a store that fails is an error of the command, never a finding about a block.
func TestVerifyFailNth(t *testing.T) {
	r := newRig(t)
	r.put(blockSpec{})
	faulty := buckettest.NewFaulty(r.mem)
	for _, fault := range []buckettest.Fault{buckettest.FailBefore, buckettest.Truncate} {
		for n := 1; ; n++ {
			faulty.FailNth(n, fault)
			scratch := t.TempDir()
			report, err := buckettool.Verify(t.Context(), bucket.NewBlocks(faulty, nil), buckettool.VerifyOptions{Data: true, Rules: rules(), Scratch: scratch})
			require.Empty(t, report.Findings)
			emptyDir(t, scratch)
			if err == nil {
				require.Greater(t, n, 4)
				break
			}
		}
	}
}

func TestVerifyForeignEncoding(t *testing.T) {
	r := newRig(t)
	r.put(blockSpec{encoding: chunkenc.EncXOR2})
	require.Equal(t, []string{"error chunk-encoding"}, found(r.verify(buckettool.VerifyOptions{Data: true})))
}
