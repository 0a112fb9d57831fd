// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/storage"
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

// TestSpending: whoever keeps the account of a query is told what it reads and how often it asks the bucket, and can end it.
func TestSpending(t *testing.T) {
	f := newFixture(t)
	f.blocksEach2h(2)
	s := f.open(nil)
	var bytes, requests atomic.Int64
	enough := errors.New("enough")
	most := int64(math.MaxInt64)
	ctx := s.WithSpending(t.Context(), func(b, r int64) error {
		requests.Add(r)
		if bytes.Add(b) > most {
			return enough
		}
		return nil
	})
	ask := func() error {
		q, err := s.Querier("t1", 0, 1000*minute)
		require.NoError(t, err)
		defer q.Close()
		return q.Select(ctx, true, nil, equal("__name__", "up")).Err()
	}
	require.NoError(t, ask())
	require.Positive(t, requests.Load())
	first, asked := bytes.Load(), requests.Load()
	require.Positive(t, first)
	require.NoError(t, ask())
	require.Equal(t, 2*first, bytes.Load(), "what is kept here counts as well")
	require.Equal(t, asked, requests.Load(), "and is not asked for")
	most = 2*first + 1
	require.ErrorIs(t, ask(), enough)
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

// TestPagesUnderWayAreWaitedFor lets queries meet at chunks that another one is fetching.
func TestPagesUnderWayAreWaitedFor(t *testing.T) {
	f := newFixture(t)
	f.blocksEach2h(1)
	s := f.open(nil)
	q, err := s.Querier("t1", 0, 80*minute)
	require.NoError(t, err)
	require.NoError(t, q.Select(t.Context(), true, &storage.SelectHints{End: 80 * minute, Func: funcSeries}, equal("__name__", "up")).Err())
	require.NoError(t, q.Close())

	proceed := make(chan struct{})
	f.faulty.FailWhen(func(_ int, op, _ string) (buckettest.Fault, bool) {
		if op == "get_range" {
			<-proceed
		}
		return 0, false
	})
	const queries = 8
	before := testutil.ToFloat64(s.metrics.pages)
	var wg sync.WaitGroup
	for range queries {
		wg.Go(func() {
			if err := queryBlock(t, s, 0); err != nil {
				t.Error(err)
			}
		})
	}
	for testutil.ToFloat64(s.metrics.pages) < before+2*queries { // Each a page of series and one of chunks.
		time.Sleep(time.Millisecond)
	}
	close(proceed)
	wg.Wait()
	require.Len(t, f.reads(), 1)
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
