// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// newBlock writes a block of n series with 100 samples each and returns its directory.
func newBlock(t *testing.T, n int) (dir string, id ulid.ULID) {
	t.Helper()
	series := make([]storage.Series, n)
	for i := range series {
		samples := make([]chunks.Sample, 100)
		for j := range samples {
			samples[j] = buckettest.Float(int64(j)*15000, float64(i*j))
		}
		series[i] = storage.NewListSeries(labels.FromStrings("__name__", "m", "i", string(rune('a'+i))), samples)
	}
	return buckettest.WriteBlock(t, t.TempDir(), 0, series...)
}

var (
	testTime   = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	testLabels = map[string]string{"tenant_id": "t1", "receive_replica": "m1"}
)

func fixedNow() time.Time { return testTime }

// contentOf returns all objects of a bucket.
func contentOf(t *testing.T, b bucket.Bucket) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, b.List(t.Context(), "", true, func(o bucket.Object) error {
		r, err := b.Get(t.Context(), o.Key)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		found[o.Key] = string(content)
		return r.Close()
	}))
	return found
}

func TestPutBlockLayout(t *testing.T) {
	dir, id := newBlock(t, 3)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tombstones"), []byte("local only"), 0o600))
	mem := bucket.NewMemory()
	faulty := buckettest.NewFaulty(mem)
	require.NoError(t, bucket.NewBlocks(faulty, fixedNow).PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))

	p := id.String() + "/"
	require.ElementsMatch(t, []string{p + "chunks/000001", p + "index", p + "meta.json"}, slices.Collect(maps.Keys(contentOf(t, mem))))
	var puts []string
	for _, op := range faulty.Log() {
		if k, ok := strings.CutPrefix(op, "put "+p); ok {
			puts = append(puts, k)
		}
	}
	require.Equal(t, []string{"chunks/000001", "index", "meta.json"}, puts, "meta.json is the commit and comes last")

	raw := contentOf(t, mem)[p+"meta.json"]
	var meta map[string]any
	require.NoError(t, json.Unmarshal([]byte(raw), &meta))
	require.Contains(t, raw, "\n\t\"thanos\": {\n\t\t\"version\": 1,", "indented by tabs as Thanos does it")
	thanos := meta["thanos"].(map[string]any)
	require.Equal(t, map[string]any{"tenant_id": "t1", "receive_replica": "m1"}, thanos["labels"])
	require.Equal(t, "receive", thanos["source"])
	require.Equal(t, map[string]any{"resolution": float64(0)}, thanos["downsample"])
	require.Equal(t, []any{"000001"}, thanos["segment_files"])
	require.Equal(t, "2026-01-02T03:04:05.000000006Z", thanos["upload_time"])
	files := thanos["files"].([]any)
	require.Len(t, files, 3)
	require.Equal(t, map[string]any{"rel_path": "meta.json"}, files[2])
	require.Equal(t, "SHA256", files[0].(map[string]any)["hash"].(map[string]any)["hashFunc"])
}

// TestPutBlockFailNth fails every single operation of an upload, in every way, and repeats the upload.
func TestPutBlockFailNth(t *testing.T) {
	dir, id := newBlock(t, 3)
	want := bucket.NewMemory()
	counter := buckettest.NewFaulty(want)
	require.NoError(t, bucket.NewBlocks(counter, fixedNow).PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
	total := counter.Calls()
	require.Greater(t, total, 8)

	for _, fault := range []buckettest.Fault{buckettest.FailBefore, buckettest.FailAfter, buckettest.Truncate} {
		for n := 1; n <= total; n++ {
			mem := bucket.NewMemory()
			faulty := buckettest.NewFaulty(mem)
			faulty.FailNth(n, fault)
			err := bucket.NewBlocks(faulty, fixedNow).PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive)
			require.Error(t, err, "fault %d at operation %d: %s", fault, n, faulty.Log()[n-1])
			listing, err := bucket.NewBlocks(mem, fixedNow).Metas(t.Context())
			require.NoError(t, err)
			if len(listing.Blocks) > 0 {
				require.Equal(t, contentOf(t, want), contentOf(t, mem), "a visible block must be whole")
			}
			// A new process, which knows nothing of the first attempt.
			require.NoError(t, bucket.NewBlocks(mem, fixedNow).PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
			require.Equal(t, contentOf(t, want), contentOf(t, mem), "fault %d at operation %d", fault, n)
		}
	}
	exists, err := bucket.NewBlocks(want, nil).Exists(t.Context(), id)
	require.NoError(t, err)
	require.True(t, exists)
}

func TestPutBlockIsCheapWhenDone(t *testing.T) {
	dir, _ := newBlock(t, 1)
	faulty := buckettest.NewFaulty(bucket.NewMemory())
	blocks := bucket.NewBlocks(faulty, fixedNow)
	require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
	faulty.FailNth(0, 0)
	require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
	require.Equal(t, 2, faulty.Calls(), "one list and one meta.json: %v", faulty.Log())
}

func TestPutBlockRepairsWrongContent(t *testing.T) {
	dir, id := newBlock(t, 1)
	mem := bucket.NewMemory()
	index, err := os.ReadFile(filepath.Join(dir, "index"))
	require.NoError(t, err)
	index[len(index)/2] ^= 1 // Of the right size, as a former attempt might have left it.
	require.NoError(t, mem.Put(t.Context(), id.String()+"/index", bytes.NewReader(index), int64(len(index))))
	require.NoError(t, bucket.NewBlocks(mem, fixedNow).PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
	_, err = bucket.NewBlocks(mem, nil).Download(t.Context(), id, filepath.Join(t.TempDir(), "copy"))
	require.NoError(t, err)
}

func TestPutBlockRefuses(t *testing.T) {
	dir, _ := newBlock(t, 1)
	blocks := bucket.NewBlocks(bucket.NewMemory(), nil)
	require.ErrorContains(t, blocks.PutBlock(t.Context(), dir, nil, "x"), "no external labels")
	require.NoError(t, os.Remove(filepath.Join(dir, "meta.json")))
	require.ErrorIs(t, blocks.PutBlock(t.Context(), dir, testLabels, "x"), os.ErrNotExist)
}

func TestDownload(t *testing.T) {
	dir, id := newBlock(t, 3)
	mem := bucket.NewMemory()
	blocks := bucket.NewBlocks(mem, fixedNow)
	require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))

	to := filepath.Join(t.TempDir(), id.String())
	n, err := blocks.Download(t.Context(), id, to)
	require.NoError(t, err)
	require.Positive(t, n)
	b, err := tsdb.OpenBlock(nil, to, nil, nil)
	require.NoError(t, err)
	require.Equal(t, uint64(300), b.Meta().Stats.NumSamples)
	require.NoError(t, b.Close())

	k := id.String() + "/chunks/000001"
	content := []byte(contentOf(t, mem)[k])
	content[20] ^= 1
	require.NoError(t, mem.Put(t.Context(), k, bytes.NewReader(content), int64(len(content))))
	_, err = blocks.Download(t.Context(), id, filepath.Join(t.TempDir(), "bad"))
	require.ErrorContains(t, err, "block "+id.String())
	require.ErrorContains(t, err, "chunks/000001 has SHA-256")

	_, err = blocks.Download(t.Context(), ulid.Make(), filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, bucket.ErrNotFound)
	_, err = blocks.FetchFile(t.Context(), id, "../../../etc/passwd", io.Discard)
	require.ErrorContains(t, err, "is not a file of a block")
}

func TestMetas(t *testing.T) {
	dir, id := newBlock(t, 1)
	partial, torn := ulid.Make(), ulid.Make()
	mem := bucket.NewMemory()
	faulty := buckettest.NewFaulty(mem)
	blocks := bucket.NewBlocks(faulty, fixedNow)
	require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
	for k, content := range map[string]string{
		partial.String() + "/index":              "12345",
		partial.String() + "/deletion-mark.json": "{torn",
		torn.String() + "/meta.json":             `{"version":1`,
		"debug/metas/" + id.String() + ".json":   "{}",
		"not-a-block/meta.json":                  "{}",
		strings.ToLower(id.String()) + "/index":  "x",
	} {
		require.NoError(t, mem.Put(t.Context(), k, strings.NewReader(content), int64(len(content))))
	}
	require.NoError(t, blocks.Mark(t.Context(), bucket.NewDeletionMark(id, testTime, "first")))
	require.NoError(t, blocks.Mark(t.Context(), bucket.NewDeletionMark(id, testTime.Add(time.Hour), "second")))
	require.NoError(t, blocks.Mark(t.Context(), bucket.NewNoCompactMark(id, testTime, "manual", "")))

	listing, err := blocks.Metas(t.Context())
	require.NoError(t, err)
	require.Len(t, listing.Blocks, 1)
	got := listing.Blocks[0]
	require.Equal(t, id, got.Meta.ULID)
	require.Equal(t, testLabels, got.Meta.Thanos.Labels)
	require.Equal(t, testTime.Unix(), got.Marks.Deletion.DeletionTime, "the first mark counts")
	require.Equal(t, "manual", got.Marks.NoCompact.Reason)
	require.Nil(t, got.Marks.NoDownsample)
	var size int64
	for k, content := range contentOf(t, mem) {
		if strings.HasPrefix(k, id.String()+"/") && !strings.Contains(k, "-mark.json") {
			size += int64(len(content))
		}
	}
	require.Equal(t, size, got.Bytes)
	require.Len(t, listing.Partial, 2)
	require.Equal(t, int64(5), listing.Partial[0].Bytes)
	require.Len(t, listing.Problems, 2)
	require.ErrorContains(t, listing.Problems[0], partial.String())
	require.ErrorIs(t, listing.Problems[1], bucket.ErrBadMeta)

	faulty.FailNth(0, 0)
	again, err := blocks.Metas(t.Context())
	require.NoError(t, err)
	require.Equal(t, listing.Blocks, again.Blocks)
	require.Equal(t, 1, faulty.Calls(), "nothing is read twice: %v", faulty.Log())

	for n := 1; n <= 5; n++ {
		faulty.FailNth(n, buckettest.FailBefore)
		_, err := bucket.NewBlocks(faulty, nil).Metas(t.Context())
		require.ErrorIs(t, err, buckettest.ErrInjected, "a listing is complete or there is none")
	}
}

// TestDeleteFailNth interrupts a delete at every operation: no half block is ever visible, and the mark goes last.
func TestDeleteFailNth(t *testing.T) {
	dir, id := newBlock(t, 1)
	for n := 1; ; n++ {
		mem := bucket.NewMemory()
		faulty := buckettest.NewFaulty(mem)
		blocks := bucket.NewBlocks(faulty, fixedNow)
		require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
		require.NoError(t, blocks.Mark(t.Context(), bucket.NewDeletionMark(id, testTime, "")))
		faulty.FailNth(n, buckettest.FailBefore)
		err := blocks.Delete(context.Background(), id)
		if err == nil {
			require.Greater(t, n, 5)
			require.Empty(t, contentOf(t, mem))
			return
		}
		content := contentOf(t, mem)
		require.Contains(t, content, id.String()+"/deletion-mark.json")
		if _, visible := content[id.String()+"/meta.json"]; visible {
			require.Len(t, content, 4, "a visible block is whole")
		}
		require.NoError(t, blocks.Delete(context.Background(), id))
		require.Empty(t, contentOf(t, mem))
	}
}
