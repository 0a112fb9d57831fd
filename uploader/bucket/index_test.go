// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

const indexKey = "penstock/block-index.json.gz"

// indexFixture is a bucket with three blocks, one of them marked and one partial, and two members.
type indexFixture struct {
	t              *testing.T
	faulty         *buckettest.Faulty
	now            time.Time
	writer, reader *bucket.Index
	reg            *prometheus.Registry
}

func newIndexFixture(t *testing.T) *indexFixture {
	f := &indexFixture{t: t, faulty: buckettest.NewFaulty(bucket.NewMemory()), now: testTime}
	now := func() time.Time { return f.now }
	blocks := bucket.NewBlocks(f.faulty, now)
	for i := range 3 {
		dir, id := newBlock(t, 2)
		require.NoError(t, blocks.PutBlock(t.Context(), dir, testLabels, bucket.SourceReceive))
		if i == 1 {
			require.NoError(t, blocks.Mark(t.Context(), bucket.NewDeletionMark(id, testTime, "why")))
			require.NoError(t, blocks.Mark(t.Context(), bucket.NewNoCompactMark(id, testTime, "manual", "")))
		}
		if i == 2 {
			require.NoError(t, f.faulty.Bucket.Delete(t.Context(), id.String()+"/meta.json"))
			require.NoError(t, blocks.Mark(t.Context(), bucket.NewDeletionMark(id, testTime, "")))
		}
	}
	f.reg = prometheus.NewRegistry()
	f.writer = bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Member: "w", Now: now, Reuse: 1}, nil)
	f.reader = bucket.NewIndex(bucket.IndexConfig{Blocks: bucket.NewBlocks(f.faulty, now), Now: now, Reuse: time.Second}, f.reg)
	return f
}

func (f *indexFixture) publish() bucket.Listing {
	f.t.Helper()
	l, err := f.writer.Fresh(f.t.Context())
	require.NoError(f.t, err)
	require.NoError(f.t, f.writer.Publish(f.t.Context(), l))
	return l
}

// read returns what a member gets, and which requests that took.
func (f *indexFixture) read() (bucket.Listing, []string) {
	f.t.Helper()
	f.faulty.FailNth(0, 0)
	l, err := f.reader.Listing(f.t.Context())
	require.NoError(f.t, err)
	return l, f.faulty.Log()
}

func (f *indexFixture) put(content []byte) {
	f.t.Helper()
	require.NoError(f.t, f.faulty.Bucket.Put(f.t.Context(), indexKey, bytes.NewReader(content), int64(len(content))))
}

func (f *indexFixture) get() []byte {
	f.t.Helper()
	r, err := f.faulty.Bucket.Get(f.t.Context(), indexKey)
	require.NoError(f.t, err)
	content, err := io.ReadAll(r)
	require.NoError(f.t, err)
	return content
}

func TestIndexIsReadInPlaceOfAListing(t *testing.T) {
	f := newIndexFixture(t)
	published := f.publish()
	f.now = f.now.Add(10 * time.Minute)
	got, requests := f.read()
	require.Equal(t, []string{"get " + indexKey}, requests)
	require.True(t, published.At.Truncate(time.Millisecond).Equal(got.At))
	require.Equal(t, len(published.Blocks), len(got.Blocks))
	for i, want := range published.Blocks {
		want.Meta.Compaction.Parents = nil
		files := make([]bucket.File, len(want.Meta.Thanos.Files))
		for j, file := range want.Meta.Thanos.Files {
			files[j] = bucket.File{RelPath: file.RelPath, SizeBytes: file.SizeBytes}
		}
		want.Meta.Thanos.Files = files
		require.Equal(t, want, got.Blocks[i])
	}
	require.Equal(t, published.Partial[0].ID, got.Partial[0].ID)
	require.Equal(t, published.Partial[0].Marks, got.Partial[0].Marks)

	// Several readers of a process share one answer for a moment.
	_, requests = f.read()
	require.Empty(t, requests)
	f.now = f.now.Add(time.Second)
	_, requests = f.read()
	require.Len(t, requests, 1)
}

func TestIndexThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		result string
		spoil  func(f *indexFixture)
	}{
		"absent": {"absent", func(f *indexFixture) { require.NoError(f.t, f.faulty.Bucket.Delete(f.t.Context(), indexKey)) }},
		"old":    {"old", func(f *indexFixture) { f.now = f.now.Add(15*time.Minute + time.Millisecond) }},
		"torn":   {"damaged", func(f *indexFixture) { f.put(f.get()[:50]) }},
		"flipped": {"damaged", func(f *indexFixture) {
			content := f.get()
			content[len(content)/2] ^= 1
			f.put(content)
		}},
		"empty":              {"damaged", func(f *indexFixture) { f.put(nil) }},
		"of a wrong clock":   {"damaged", func(f *indexFixture) { f.now = f.now.Add(-6 * time.Minute) }},
		"of another version": {"damaged", func(f *indexFixture) { f.put(gzipped(f.t, `{"version":2}`)) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newIndexFixture(t)
			published := f.publish()
			c.spoil(f)
			got, requests := f.read()
			require.Contains(t, requests, "list ")
			require.Equal(t, len(published.Blocks), len(got.Blocks))
			require.NoError(t, testutil.GatherAndCompare(f.reg, bytes.NewBufferString(indexReads(c.result)), "penstock_bucket_index_reads_total"))
		})
	}
	f := newIndexFixture(t)
	f.publish()
	f.faulty.FailWhen(func(_ int, op, _ string) (buckettest.Fault, bool) {
		return buckettest.FailBefore, op == "get" || op == "list"
	})
	_, err := f.reader.Listing(t.Context())
	require.ErrorIs(t, err, buckettest.ErrInjected, "a listing is complete or there is none")
}

// TestIndexOfAClockThatIsAhead: an index that does not change is old, whatever its writer says the time is.
func TestIndexOfAClockThatIsAhead(t *testing.T) {
	f := newIndexFixture(t)
	f.now = f.now.Add(4 * time.Minute)
	f.publish()
	f.now = f.now.Add(-4 * time.Minute)
	_, requests := f.read()
	require.Len(t, requests, 1)
	f.now = f.now.Add(15*time.Minute + time.Millisecond)
	_, requests = f.read()
	require.Contains(t, requests, "list ")
}

// TestIndexDoesNotGoBack: who has a newer listing keeps it, and does not write an older one.
func TestIndexDoesNotGoBack(t *testing.T) {
	f := newIndexFixture(t)
	old := f.publish()
	f.now = f.now.Add(time.Minute)
	fresh, err := f.reader.Fresh(t.Context())
	require.NoError(t, err)
	f.now = f.now.Add(time.Minute)
	got, _ := f.read()
	require.Equal(t, fresh.At, got.At)
	require.NoError(t, f.reader.Publish(t.Context(), old))
	require.NotContains(t, f.faulty.Log(), "put "+indexKey)
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// indexReads is the metric after one read with the given result.
func indexReads(result string) string {
	text := "# HELP penstock_bucket_index_reads_total Reads of the block index by what came of it. All but those used were followed by a listing of the bucket.\n" +
		"# TYPE penstock_bucket_index_reads_total counter\n"
	for _, r := range []string{"absent", "damaged", "failed", "old", "used"} {
		n := "0"
		if r == result {
			n = "1"
		}
		text += `penstock_bucket_index_reads_total{result="` + r + `"} ` + n + "\n"
	}
	return text
}
