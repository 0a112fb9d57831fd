// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

type sample = buckettest.Sample

// fixture is a bucket and a Store on it, with a clock.
type fixture struct {
	t      *testing.T
	store  bucket.Bucket
	faulty *buckettest.Faulty
	blocks *bucket.Blocks
	dir    string
	now    time.Time
}

func newFixture(t *testing.T) *fixture { return newFixtureOn(t, bucket.NewMemory()) }

func newFixtureOn(t *testing.T, driver bucket.Bucket) *fixture {
	f := &fixture{t: t, store: driver, dir: filepath.Join(t.TempDir(), "cache"), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f.faulty = buckettest.NewFaulty(f.store)
	f.blocks = bucket.NewBlocks(f.store, func() time.Time { return f.now })
	return f
}

// series is what a test puts into a block: label pairs and samples at 0, 1, 2... times a minute after start.
type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

const minute = int64(60_000)

func newSeries(start, n int64, pairs ...string) series {
	s := series{labels: labels.FromStrings(pairs...)}
	for i := range n {
		s.samples = append(s.samples, buckettest.Float(start+i*minute, float64(start/minute+i)))
	}
	return s
}

// add puts a block into the bucket. edit may change its meta.json.
func (f *fixture) add(external map[string]string, edit func(*bucket.Meta), content ...series) ulid.ULID {
	f.t.Helper()
	var all []storage.Series
	for _, s := range content {
		all = append(all, storage.NewListSeries(s.labels, s.samples))
	}
	dir, id := buckettest.WriteBlock(f.t, f.t.TempDir(), 0, all...)
	require.NoError(f.t, f.blocks.PutBlock(f.t.Context(), dir, external, bucket.SourceReceive))
	if edit != nil {
		meta, err := f.blocks.Meta(f.t.Context(), id)
		require.NoError(f.t, err)
		edit(&meta)
		content, err := meta.Encode()
		require.NoError(f.t, err)
		f.put(id.String()+"/meta.json", content)
	}
	return id
}

func (f *fixture) put(key string, content []byte) {
	f.t.Helper()
	require.NoError(f.t, f.store.Put(f.t.Context(), key, newReader(content), int64(len(content))))
}

// open returns a synced Store.
func (f *fixture) open(change func(*Config)) *Store {
	f.t.Helper()
	cfg := Config{
		Blocks: bucket.NewBlocks(f.faulty, nil), Dir: f.dir, Now: func() time.Time { return f.now },
		MaxStale: time.Hour,
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, nil, prometheus.NewRegistry())
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, s.Close()) })
	require.NoError(f.t, s.Sync(f.t.Context()))
	return s
}

func ours(tenant, member string) map[string]string {
	return map[string]string{bucket.LabelTenant: tenant, bucket.LabelReceiveReplica: member}
}

func equal(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, name, value)
}

// selectAll returns series by their labels as text, by way of samples; each appears once, in order.
func selectAll(t *testing.T, q storage.Querier, ms ...*labels.Matcher) (map[string][]sample, error) {
	t.Helper()
	set := q.Select(t.Context(), true, nil, ms...)
	found := map[string][]sample{}
	var last labels.Labels
	for set.Next() {
		s := set.At()
		require.True(t, len(found) == 0 || labels.Compare(last, s.Labels()) < 0, "%s after %s", s.Labels(), last)
		last = s.Labels()
		it := s.Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			ts, v := it.At()
			found[last.String()] = append(found[last.String()], buckettest.Float(ts, v))
		}
		require.NoError(t, it.Err())
	}
	return found, set.Err()
}

// selectChunks is selectAll by way of chunks.
func selectChunks(t *testing.T, q storage.ChunkQuerier, ms ...*labels.Matcher) (map[string][]sample, error) {
	t.Helper()
	set := q.Select(t.Context(), true, nil, ms...)
	found := map[string][]sample{}
	for set.Next() {
		s := set.At()
		it := s.Iterator(nil)
		for it.Next() {
			c := it.At().Chunk.Iterator(nil)
			for c.Next() != chunkenc.ValNone {
				ts, v := c.At()
				found[s.Labels().String()] = append(found[s.Labels().String()], buckettest.Float(ts, v))
			}
			require.NoError(t, c.Err())
		}
		require.NoError(t, it.Err())
	}
	return found, set.Err()
}

// query runs one selection over both kinds of querier, which must agree.
func query(t *testing.T, s *Store, tenant string, mint, maxt int64, ms ...*labels.Matcher) (map[string][]sample, error) {
	t.Helper()
	q, err := s.Querier(tenant, mint, maxt)
	require.NoError(t, err)
	bySamples, err := selectAll(t, q, ms...)
	require.NoError(t, q.Close())

	cq, chunkErr := s.ChunkQuerier(tenant, mint, maxt)
	require.NoError(t, chunkErr)
	byChunks, chunkErr := selectChunks(t, cq, ms...)
	require.NoError(t, cq.Close())
	require.Equal(t, err == nil, chunkErr == nil)
	require.Equal(t, bySamples, byChunks)
	return bySamples, err
}

func samplesOf(s series) []sample {
	var all []sample
	for _, x := range s.samples {
		all = append(all, x.(sample))
	}
	return all
}

// TestCopiesAreReturnedOnce has three members' blocks of the same data over two ranges of time.
func TestCopiesAreReturnedOnce(t *testing.T) {
	f := newFixture(t)
	early, late := newSeries(0, 90, "__name__", "up", "i", "1"), newSeries(120*minute, 90, "__name__", "up", "i", "1")
	only := newSeries(0, 10, "__name__", "up", "i", "only on m3")
	for _, member := range []string{"m1", "m2", "m3"} {
		content := []series{early}
		if member == "m3" {
			content = append(content, only)
		}
		f.add(ours("t1", member), nil, content...)
		f.add(ours("t1", member), nil, late)
	}
	f.add(ours("t2", "m1"), nil, newSeries(0, 90, "__name__", "up", "i", "other tenant"))
	s := f.open(nil)
	require.Equal(t, 7, s.Len())

	got, err := query(t, s, "t1", math.MinInt64, math.MaxInt64, equal("__name__", "up"))
	require.NoError(t, err)
	require.Equal(t, map[string][]sample{
		early.labels.String(): append(samplesOf(early), samplesOf(late)...),
		only.labels.String():  samplesOf(only),
	}, got)

	got, err = query(t, s, "t1", 10*minute, 12*minute, equal("i", "1"))
	require.NoError(t, err)
	require.Equal(t, map[string][]sample{early.labels.String(): samplesOf(early)[10:13]}, got)

	for _, nothing := range []string{"t3", ""} {
		got, err = query(t, s, nothing, math.MinInt64, math.MaxInt64, equal("__name__", "up"))
		require.NoError(t, err)
		require.Empty(t, got)
	}

	q, err := s.Querier("t1", 0, 100*minute)
	require.NoError(t, err)
	names, _, err := q.LabelNames(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "i"}, names, "the external labels of our own blocks are not part of a series")
	values, _, err := q.LabelValues(t.Context(), "i", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"1", "only on m3"}, values)
	require.NoError(t, q.Close())
}

// TestOnlyWhatIsNeededIsFetched counts downloads.
func TestOnlyWhatIsNeededIsFetched(t *testing.T) {
	f := newFixture(t)
	f.add(ours("t1", "m1"), nil, newSeries(0, 10, "__name__", "up"))
	f.add(ours("t1", "m1"), nil, newSeries(120*minute, 10, "__name__", "up"))
	s := f.open(nil)
	downloads := func() int {
		entries, err := os.ReadDir(f.dir)
		require.NoError(t, err)
		return len(entries)
	}
	_, err := query(t, s, "t1", 60*minute, 100*minute, equal("__name__", "up"))
	require.NoError(t, err)
	require.Zero(t, downloads(), "no block overlaps")

	q, err := s.Querier("t1", 0, 200*minute)
	require.NoError(t, err)
	require.Zero(t, downloads())
	set := q.Select(t.Context(), false, &storage.SelectHints{Start: 0, End: 5 * minute}, equal("__name__", "up"))
	require.True(t, set.Next())
	require.Equal(t, 1, downloads(), "hints narrow the range")
	require.NoError(t, q.Close())

	f.faulty.FailNth(0, 0)
	_, err = query(t, s, "t1", 0, 5*minute, equal("__name__", "up"))
	require.NoError(t, err)
	require.Zero(t, f.faulty.Calls(), "the local copy is used")
}

// TestMissingBlockIsAnError takes away parts of a block that is needed.
func TestMissingBlockIsAnError(t *testing.T) {
	f := newFixture(t)
	f.add(ours("t1", "m1"), nil, newSeries(0, 10, "__name__", "up"))
	bad := f.add(ours("t1", "m2"), nil, newSeries(0, 10, "__name__", "up"))
	s := f.open(nil)
	f.faulty.FailWhen(func(_ int, _, key string) (buckettest.Fault, bool) {
		return buckettest.FailBefore, key == bad.String()+"/index"
	})
	got, err := query(t, s, "t1", 0, 10*minute, equal("__name__", "up"))
	require.ErrorIs(t, err, buckettest.ErrInjected)
	require.ErrorContains(t, err, bad.String())
	require.Empty(t, got, "no short answer")

	q, err := s.Querier("t1", 0, 10*minute)
	require.NoError(t, err)
	_, _, err = q.LabelValues(t.Context(), "__name__", nil)
	require.ErrorContains(t, err, bad.String())
	_, _, err = q.LabelNames(t.Context(), nil)
	require.ErrorContains(t, err, bad.String())
	require.NoError(t, q.Close())

	f.faulty.FailNth(0, 0)
	got, err = query(t, s, "t1", 0, 10*minute, equal("__name__", "up"))
	require.NoError(t, err, "a failure is not remembered")
	require.Len(t, got, 1)
	require.NoFileExists(t, filepath.Join(f.dir, bad.String()+tempSuffix))
}

func TestListMissingOrTooOld(t *testing.T) {
	f := newFixture(t)
	s := f.open(nil)
	_, err := s.Querier("t1", 0, 1)
	require.NoError(t, err)
	f.faulty.FailWhen(func(int, string, string) (buckettest.Fault, bool) { return buckettest.FailBefore, true })
	require.Error(t, s.Sync(t.Context()))
	f.now = f.now.Add(time.Hour)
	_, err = s.Querier("t1", 0, 1)
	require.NoError(t, err, "the list before is good for a while")
	f.now = f.now.Add(time.Minute)
	_, err = s.ChunkQuerier("t1", 0, 1)
	require.ErrorIs(t, err, buckettest.ErrInjected)
	require.ErrorContains(t, err, "1h1m0s old")

	fresh, err := New(Config{Blocks: bucket.NewBlocks(f.faulty, nil), Dir: filepath.Join(t.TempDir(), "c")}, nil, nil)
	require.NoError(t, err)
	require.False(t, fresh.Synced())
	_, err = fresh.Querier("t1", 0, 1)
	require.ErrorContains(t, err, "not known yet")
	require.NoError(t, fresh.Close())
}

func TestRunStopsWithItsContext(t *testing.T) {
	f := newFixture(t)
	s := f.open(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Run(ctx)
	require.NoError(t, err)
	require.False(t, errors.Is(err, context.Canceled))
}

// TestListingIsTriedAgain: who starts while the bucket is down does not wait for the next regular listing.
func TestListingIsTriedAgain(t *testing.T) {
	f := newFixture(t)
	f.add(ours("t1", "m1"), nil, newSeries(0, 3, "__name__", "up"))
	f.faulty.FailWhen(func(call int, _, _ string) (buckettest.Fault, bool) { return buckettest.FailBefore, call <= 3 })
	s, err := New(Config{
		Blocks: bucket.NewBlocks(f.faulty, nil), Dir: f.dir, SyncInterval: time.Hour, retry: time.Millisecond,
	}, nil, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	<-s.Tried()
	require.Eventually(t, s.Synced, time.Minute, time.Millisecond)
	cancel()
	running.Wait()
	require.Equal(t, 1, s.Len())
	require.NoError(t, s.Close())
}

// TestMergeFunctionDecides has copies that differ, and a rule for them.
func TestMergeFunctionDecides(t *testing.T) {
	f := newFixture(t)
	a, b := newSeries(0, 3, "__name__", "up"), newSeries(0, 3, "__name__", "up")
	a.samples[1], b.samples[2] = buckettest.Float(minute, 1000), buckettest.Float(2*minute, 1000)
	f.add(ours("t1", "m1"), nil, a)
	f.add(ours("t1", "m2"), nil, b)
	s := f.open(func(c *Config) { c.MergeSeries = largest })
	got, err := query(t, s, "t1", 0, 10*minute, equal("__name__", "up"))
	require.NoError(t, err)
	require.Equal(t, []sample{buckettest.Float(0, 0), buckettest.Float(minute, 1000), buckettest.Float(2*minute, 1000)}, got[a.labels.String()])
}

// largest is a rule for the test: of copies with the same times the larger values.
func largest(all ...storage.Series) storage.Series {
	merged := series{labels: all[0].Labels()}
	for i, s := range all {
		it := s.Iterator(nil)
		for n := 0; it.Next() != chunkenc.ValNone; n++ {
			ts, v := it.At()
			if i == 0 {
				merged.samples = append(merged.samples, buckettest.Float(ts, v))
			} else {
				merged.samples[n] = buckettest.Float(ts, max(v, merged.samples[n].F()))
			}
		}
	}
	return storage.NewListSeries(merged.labels, merged.samples)
}

// TestListInPlaceOfListing: Run asks Config.List, believes what it says of its age, and does not go back to what is older than
// it knows.
func TestListInPlaceOfListing(t *testing.T) {
	f := newFixture(t)
	f.add(ours("t1", "m1"), nil, newSeries(0, 3, "__name__", "up"))
	listed, err := bucket.NewBlocks(f.store, func() time.Time { return f.now.Add(-30 * time.Minute) }).Metas(t.Context())
	require.NoError(t, err)
	s := f.open(func(c *Config) {
		c.List = func(context.Context) (bucket.Listing, error) { return listed, nil }
		c.MaxStale = 45 * time.Minute
	})
	f.add(ours("t1", "m1"), nil, newSeries(0, 3, "__name__", "down"))
	f.faulty.FailNth(0, 0)
	require.NoError(t, s.refresh(t.Context()))
	require.Equal(t, f.now, s.view.Load().listed, "open has listed the bucket since")
	require.Empty(t, f.faulty.Log())

	f.now = f.now.Add(time.Hour)
	listed.At = f.now.Add(-40 * time.Minute)
	require.NoError(t, s.refresh(t.Context()))
	_, err = s.Querier("t1", 0, 1)
	require.NoError(t, err)
	f.now = f.now.Add(6 * time.Minute)
	require.NoError(t, s.refresh(t.Context()))
	_, err = s.Querier("t1", 0, 1)
	require.ErrorContains(t, err, "is 46m0s old")
}
