// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// blocksEach2h puts n blocks, one for every two hours, into the bucket.
func (f *fixture) blocksEach2h(n int) (ids []ulid.ULID) {
	f.t.Helper()
	for i := range n {
		ids = append(ids, f.add(ours("t1", "m1"), nil, newSeries(int64(i)*120*minute, 90, "__name__", "up")))
	}
	return ids
}

// copies puts n copies of a block, each with an identifier of its own, into the bucket.
func (f *fixture) copies(id ulid.ULID, n int) {
	f.t.Helper()
	meta, err := f.blocks.Meta(f.t.Context(), id)
	require.NoError(f.t, err)
	for i := range n {
		meta.ULID = ulid.MustNew(id.Time()+uint64(i)+1, nil)
		meta.Compaction.Sources = []ulid.ULID{meta.ULID}
		content, err := meta.Encode()
		require.NoError(f.t, err)
		for _, file := range meta.Thanos.Files {
			if file.RelPath != "meta.json" {
				f.put(meta.ULID.String()+"/"+file.RelPath, f.get(id.String()+"/"+file.RelPath))
			}
		}
		f.put(meta.ULID.String()+"/meta.json", content)
	}
}

func (f *fixture) cached() []string {
	f.t.Helper()
	entries, err := os.ReadDir(f.dir)
	require.NoError(f.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// queryBlock selects in the i-th block of blocksEach2h.
func queryBlock(t *testing.T, s *Store, i int64) error {
	t.Helper()
	q, err := s.Querier("t1", i*120*minute, (i*120+80)*minute)
	require.NoError(t, err)
	got, err := selectAll(t, q, equal("__name__", "up"))
	if err == nil {
		require.Len(t, got, 1)
		for _, samples := range got {
			require.Len(t, samples, 81)
		}
	}
	require.NoError(t, q.Close())
	return err
}

// reads returns the range requests since the last FailWhen.
func (f *fixture) reads() (found []string) {
	for _, l := range f.faulty.Log() {
		if strings.HasPrefix(l, "get_range") {
			found = append(found, l)
		}
	}
	return found
}

// A small block is a page of index and a page of chunks.
const smallBlock = 2 * pageBytes

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(3)
	s := f.open(func(c *Config) { c.MaxBytes = 2*smallBlock + 10 })
	for _, i := range []int64{0, 1, 0} {
		require.NoError(t, queryBlock(t, s, i))
	}
	require.ElementsMatch(t, []string{ids[0].String(), ids[1].String()}, f.cached())
	f.faulty.FailNth(0, 0)
	require.NoError(t, queryBlock(t, s, 2))
	require.NoError(t, queryBlock(t, s, 0))
	require.Len(t, f.reads(), 2, "of the new block: %s", f.reads())
	requireBounded(t, s)
}

// TestCacheTooSmall: what a query reads of chunks need not fit, the index of a block must.
func TestCacheTooSmall(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(1)
	s := f.open(func(c *Config) { c.MaxBytes = pageBytes })
	require.NoError(t, queryBlock(t, s, 0))
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.notKept))
	require.NoError(t, s.Close())

	s = f.open(func(c *Config) { c.MaxBytes = pageBytes - 1 })
	err := queryBlock(t, s, 0)
	require.ErrorIs(t, err, errNoRoom)
	require.ErrorContains(t, err, ids[0].String())
	require.ErrorContains(t, err, "raise --query.block-cache-bytes")
}

func TestQueryLimit(t *testing.T) {
	f := newFixture(t)
	f.blocksEach2h(3)
	s := f.open(func(c *Config) { c.MaxQueryBytes = 9 * pageBytes }) // Each block: a page of postings, of series and of chunks.
	for range 2 {                                                    // The answer does not depend on what is cached.
		require.NoError(t, queryBlock(t, s, 0))
		q, err := s.Querier("t1", 0, 1000*minute)
		require.NoError(t, err)
		_, err = selectAll(t, q, equal("__name__", "up"))
		require.NoError(t, err)
		_, err = selectAll(t, q, equal("__name__", "up"))
		var limit *LimitError
		require.ErrorAs(t, err, &limit, "one querier is one query")
		require.EqualError(t, limit, "the query reads more than 147456 bytes of blocks in the bucket: "+
			"ask for fewer series or a shorter time range, or raise --query.max-block-bytes")
		require.NoError(t, q.Close())

		ctx := s.WithBudget(t.Context())
		for n := range 2 { // Two selectors.
			q, err := s.Querier("t1", 0, 1000*minute)
			require.NoError(t, err)
			err = q.Select(ctx, true, nil, equal("__name__", "up")).Err()
			require.Equal(t, n == 1, errors.As(err, &limit), "all that is asked with one context is one query")
			require.NoError(t, q.Close())
		}
	}
}

// TestAnswerOutlivesItsBlock deletes a block, in the bucket and here, between the selection and the reading.
func TestAnswerOutlivesItsBlock(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(1)
	s := f.open(nil)
	q, err := s.Querier("t1", 0, 80*minute)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, nil, equal("__name__", "up"))
	require.NoError(t, f.blocks.Delete(t.Context(), ids[0]))
	require.NoError(t, s.Sync(t.Context()))
	require.Empty(t, f.cached())
	require.Zero(t, s.Len())
	require.Zero(t, s.cache.used)

	require.True(t, set.Next())
	it := set.At().Iterator(nil)
	n := 0
	for it.Next() != chunkenc.ValNone {
		n++
	}
	require.NoError(t, it.Err())
	require.Equal(t, 81, n)
	require.False(t, set.Next())
	require.NoError(t, set.Err())
	require.NoError(t, q.Close())
}

// TestBlockIsReplacedBetweenListAndQuery has compaction finish in between.
func TestBlockIsReplacedBetweenListAndQuery(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(2)
	s := f.open(nil)
	q, err := s.Querier("t1", 0, 1000*minute)
	require.NoError(t, err)
	f.add(ours("t1", ""), func(m *bucket.Meta) { m.Compaction.Sources = ids },
		newSeries(0, 90, "__name__", "up"), newSeries(120*minute, 90, "__name__", "other"))
	for _, id := range ids {
		require.NoError(t, f.blocks.Delete(t.Context(), id))
	}
	f.now = f.now.Add(freshEnough)
	got, err := selectAll(t, q, equal("__name__", "up"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	names, _, err := q.LabelValues(t.Context(), "__name__", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"other", "up"}, names)
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.repeats), "the fresh list is kept")
	require.NoError(t, q.Close())
}

func TestBlockWithoutItsObjects(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(2)
	s := f.open(nil)
	require.NoError(t, f.store.Delete(t.Context(), ids[1].String()+"/chunks/000001"))
	require.NoError(t, queryBlock(t, s, 0))
	err := queryBlock(t, s, 1)
	require.ErrorIs(t, err, bucket.ErrNotFound)
	require.ErrorContains(t, err, ids[1].String())

	f.faulty.FailWhen(func(_ int, op, _ string) (buckettest.Fault, bool) { return buckettest.FailBefore, op == "list" })
	require.NotContains(t, queryBlock(t, s, 1).Error(), "listed anew", "not for each query")
	f.now = f.now.Add(freshEnough)
	err = queryBlock(t, s, 1)
	require.ErrorContains(t, err, ids[1].String())
	require.ErrorContains(t, err, "cannot be listed anew")
}

// TestManyAskOneRequest lets queries meet at pages that are not there, one of which gives up.
func TestManyAskOneRequest(t *testing.T) {
	f := newFixture(t)
	f.blocksEach2h(1)
	s := f.open(nil)
	entered, proceed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.faulty.FailWhen(func(_ int, op, _ string) (buckettest.Fault, bool) {
		if op == "get_range" {
			once.Do(func() {
				close(entered)
				<-proceed
			})
		}
		return 0, false
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		q, err := s.Querier("t1", 0, 80*minute)
		if err != nil {
			t.Error(err)
			return
		}
		if err := q.Select(ctx, true, nil, equal("__name__", "up")).Err(); err == nil {
			t.Error("a query goes on after its context is done")
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	<-entered
	cancel()
	wg.Wait() // It is gone although its request is not done.
	for range 8 {
		wg.Go(func() {
			if err := queryBlock(t, s, 0); err != nil {
				t.Error(err)
			}
		})
	}
	close(proceed)
	wg.Wait()
	require.Len(t, f.reads(), 2, "one for the index, one for the chunks: %s", f.reads())
}

// TestRestart keeps pages, and finds out what a crash of the host or a bad disk did to them.
func TestRestart(t *testing.T) {
	f := newFixture(t)
	ids := f.blocksEach2h(5)
	s := f.open(nil)
	all := func() {
		t.Helper()
		f.faulty.FailNth(0, 0)
		for i := range ids {
			require.NoError(t, queryBlock(t, s, int64(i)))
		}
		requireBounded(t, s)
	}
	all()
	require.NoError(t, s.Close())
	s = f.open(nil)
	all()
	require.Empty(t, f.reads())
	require.NoError(t, s.Close())

	file := func(i int, name string) string { return filepath.Join(f.dir, ids[i].String(), name) }
	edit := func(name string, change func(content []byte) []byte) {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(name, change(content), 0o600))
	}
	// An entry is there and its page is not, as after a power cut.
	edit(file(0, pagesName), func(c []byte) []byte { clear(c[:pageBytes]); return c })
	// A page is there and its entry is not: the process was killed in between.
	edit(file(1, manifestName), func(c []byte) []byte {
		_, header, err := decodeHeader(c)
		require.NoError(t, err)
		binary.BigEndian.PutUint64(c[header+extentPages*entryBytes:], 0)
		return c
	})
	// Torn: a file that is too short, and a manifest.
	require.NoError(t, os.Truncate(file(2, pagesName), 100))
	require.NoError(t, os.Truncate(file(3, manifestName), 10))
	// Half an eviction, and a whole block as former versions kept them.
	require.NoError(t, os.Rename(filepath.Join(f.dir, ids[4].String()), filepath.Join(f.dir, ids[4].String()+".7"+tempSuffix)))
	old := filepath.Join(f.dir, ulid.MustNew(1, nil).String())
	require.NoError(t, os.MkdirAll(filepath.Join(old, "chunks"), 0o700))

	s = f.open(nil)
	require.NoDirExists(t, old)
	all()
	var want []string
	for i, rels := range [][]string{{"index"}, {"chunks/000001"}, {"chunks/000001", "index"}, {"chunks/000001", "index"}, {"chunks/000001", "index"}} {
		for _, rel := range rels {
			want = append(want, "get_range "+ids[i].String()+"/"+rel)
		}
	}
	got := f.reads()
	slices.Sort(got)
	require.Equal(t, want, got)
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.badPages))
	require.NoError(t, s.Close())

	s = f.open(func(c *Config) { c.MaxBytes = 2 * smallBlock })
	require.LessOrEqual(t, len(f.cached()), 2, "the bound holds from the start")
	requireBounded(t, s)
	require.NoError(t, s.Close())

	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "precious"), 0o700))
	_, err := New(Config{Blocks: f.blocks, Dir: f.dir}, nil, nil)
	require.ErrorContains(t, err, "directory of its own")
}

// TestOpenBlocksAreBounded asks more blocks than may stay open, and lets time close the rest.
func TestOpenBlocksAreBounded(t *testing.T) {
	f := newFixture(t)
	f.copies(f.blocksEach2h(1)[0], openIdleMax+10)
	s := f.open(nil)
	q, err := s.Querier("t1", 0, 100*minute)
	require.NoError(t, err)
	got, err := selectAll(t, q, equal("__name__", "up"))
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.NoError(t, q.Close())
	require.LessOrEqual(t, s.cache.openBlocks, openIdleMax)
	require.Positive(t, s.cache.openBlocks)
	require.Equal(t, float64(s.cache.openBlocks), testutil.ToFloat64(s.metrics.openBlocks))
	f.now = f.now.Add(openIdleTime + time.Second)
	s.cache.closeIdle()
	require.Zero(t, s.cache.openBlocks)
	f.faulty.FailNth(0, 0)
	require.NoError(t, queryBlock(t, s, 0))
	require.Empty(t, f.reads(), "closed is not forgotten")
}

// TestWrongBytes has one byte of each object changed: the answer is an error that names the block, and right again once the
// bucket is.
func TestWrongBytes(t *testing.T) {
	f := newFixture(t)
	id := f.blocksEach2h(1)[0]
	r := rand.New(rand.NewPCG(1, 2))
	for _, rel := range []string{"index", "chunks/000001"} {
		k := id.String() + "/" + rel
		whole := f.get(k)
		for range 40 {
			broken := slices.Clone(whole)
			at := r.IntN(len(broken))
			broken[at] ^= 1 << r.IntN(8)
			f.put(k, broken)
			name := fmt.Sprintf("byte %d of %s", at, rel)
			f.dir = filepath.Join(t.TempDir(), "cache")
			s := f.open(nil)
			if err := queryBlock(t, s, 0); err != nil { // Not every byte is read.
				require.ErrorContains(t, err, id.String(), name)
				require.ErrorIs(t, err, errDamaged, name)
			}
			f.put(k, whole)
			require.NoError(t, queryBlock(t, s, 0), name)
			require.NoError(t, s.Close())
		}
	}
}

func (f *fixture) get(k string) []byte {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), k)
	require.NoError(f.t, err)
	defer r.Close()
	content, err := readAll(r)
	require.NoError(f.t, err)
	return content
}

// TestLocalFileIsCutShort takes the file away from below the mapping. Reading it is a signal then, and must be an error.
func TestLocalFileIsCutShort(t *testing.T) {
	f := newFixture(t)
	id := f.blocksEach2h(1)[0]
	s := f.open(nil)
	require.NoError(t, queryBlock(t, s, 0))
	require.NoError(t, os.Truncate(filepath.Join(f.dir, id.String(), pagesName), 0))
	err := queryBlock(t, s, 0)
	require.ErrorIs(t, err, errDamaged)
	require.ErrorContains(t, err, id.String())
	require.NoError(t, queryBlock(t, s, 0), "it is made anew")
}

// TestFailNthRequest lets every request of a cold query fail in turn.
func TestFailNthRequest(t *testing.T) {
	f := newFixture(t)
	id, local := f.addLocal(manySeries(rand.New(rand.NewPCG(3, 4)), 800))
	question := uint64(0)
	cold := func(n int) error {
		f.dir = filepath.Join(t.TempDir(), "cache")
		s := f.open(func(c *Config) { c.guesses = &guesses{edge: pageBytes, series: 1, chunk: 1} })
		f.faulty.FailNth(n, buckettest.FailBefore)
		err := compare(t, rand.New(rand.NewPCG(5, question)), s, local)
		f.faulty.FailNth(0, 0)
		require.NoError(t, compare(t, rand.New(rand.NewPCG(5, question)), s, local), "a failure is not remembered")
		require.NoError(t, s.Close())
		return err
	}
	requests := func() int {
		f.dir = filepath.Join(t.TempDir(), "cache")
		s := f.open(func(c *Config) { c.guesses = &guesses{edge: pageBytes, series: 1, chunk: 1} })
		f.faulty.FailNth(0, 0)
		require.NoError(t, compare(t, rand.New(rand.NewPCG(5, question)), s, local))
		require.NoError(t, s.Close())
		return len(f.reads())
	}
	for requests() < 8 {
		question++
	}
	for n := range requests() {
		require.ErrorContains(t, cold(n+1), id.String(), "request %d", n+1)
	}
}

func TestBlockOfAnOldWriter(t *testing.T) {
	for _, edit := range []func(m *bucket.Meta){
		func(m *bucket.Meta) { m.Thanos.Files = nil },
		func(m *bucket.Meta) { m.Thanos.Files[0].SizeBytes = 0 },
	} {
		f := newFixture(t)
		f.add(ours("t1", "m1"), edit, newSeries(0, 90, "__name__", "up"))
		require.NoError(t, queryBlock(t, f.open(nil), 0), "meta.json does not say what the files are")
	}
}
