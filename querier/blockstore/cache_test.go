// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

func newReader(content []byte) io.Reader { return bytes.NewReader(content) }

// threeBlocks puts blocks at 0 h, 2 h and 4 h into the bucket and returns the size of one.
func (f *fixture) threeBlocks() (ids []ulid.ULID, bytes int64) {
	f.t.Helper()
	for i := range int64(3) {
		ids = append(ids, f.add(ours("t1", "m1"), nil, newSeries(i*120*minute, 90, "__name__", "up")))
	}
	listing, err := f.blocks.Metas(f.t.Context())
	require.NoError(f.t, err)
	for _, l := range listing.Blocks {
		bytes = max(bytes, l.Bytes)
	}
	return ids, bytes
}

func (f *fixture) localCopies() []string {
	f.t.Helper()
	entries, err := os.ReadDir(f.dir)
	require.NoError(f.t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// queryHours selects in the block of the given hour.
func queryHour(t *testing.T, s *Store, hour int64) error {
	t.Helper()
	q, err := s.Querier("t1", hour*60*minute, (hour*60+80)*minute)
	require.NoError(t, err)
	got, err := selectAll(t, q, equal("__name__", "up"))
	if err == nil {
		require.Len(t, got, 1)
	}
	require.NoError(t, q.Close())
	return err
}

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	f := newFixture(t)
	ids, size := f.threeBlocks()
	s := f.open(func(c *Config) { c.MaxBytes = 2*size + 10 })
	require.NoError(t, queryHour(t, s, 0))
	require.NoError(t, queryHour(t, s, 2))
	require.NoError(t, queryHour(t, s, 0))
	require.ElementsMatch(t, []string{ids[0].String(), ids[1].String()}, f.localCopies())
	require.NoError(t, queryHour(t, s, 4))
	require.ElementsMatch(t, []string{ids[0].String(), ids[2].String()}, f.localCopies())
	require.LessOrEqual(t, s.cache.used, 2*size+10)
}

func TestQueryLargerThanTheCache(t *testing.T) {
	f := newFixture(t)
	_, size := f.threeBlocks()
	s := f.open(func(c *Config) { c.MaxBytes = 2*size + 10 })
	q, err := s.Querier("t1", 0, 1000*minute)
	require.NoError(t, err)
	_, err = selectAll(t, q, equal("__name__", "up"))
	require.ErrorContains(t, err, "needs 3 blocks")
	require.ErrorContains(t, err, "raise --"+FlagMaxBytes)
	require.NoError(t, q.Close())
	require.Empty(t, f.localCopies(), "nothing is fetched in vain")
}

// TestRunningQueryKeepsItsBlock lets a second query need all the room.
func TestRunningQueryKeepsItsBlock(t *testing.T) {
	f := newFixture(t)
	ids, size := f.threeBlocks()
	s := f.open(func(c *Config) { c.MaxBytes = size + 10 })
	first, err := s.Querier("t1", 0, 80*minute)
	require.NoError(t, err)
	set := first.Select(t.Context(), true, nil, equal("__name__", "up"))
	require.True(t, set.Next())

	ctx, cancel := context.WithCancel(t.Context())
	second, err := s.Querier("t1", 120*minute, 200*minute)
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, second.Select(ctx, true, nil, equal("__name__", "up")).Err(), context.Canceled)

	// The block also stays when it goes from the bucket.
	require.NoError(t, f.blocks.Delete(t.Context(), ids[0]))
	require.NoError(t, s.Sync(t.Context()))
	require.Contains(t, f.localCopies(), ids[0].String())

	waiting := make(chan error)
	go func() { waiting <- second.Select(t.Context(), true, nil, equal("__name__", "up")).Err() }()
	it := set.At().Iterator(nil)
	n := 0
	for it.Next() != chunkenc.ValNone {
		n++
	}
	require.NoError(t, it.Err())
	require.Equal(t, 81, n)
	require.NoError(t, first.Close())
	require.NoError(t, <-waiting, "the room is given on")
	require.NoError(t, second.Close())
	require.Equal(t, []string{ids[1].String()}, f.localCopies())
}

// TestHolderDoesNotWait: two queries that each hold what the other waits for must not wait for ever.
func TestHolderDoesNotWait(t *testing.T) {
	f := newFixture(t)
	_, size := f.threeBlocks()
	s := f.open(func(c *Config) { c.MaxBytes = 2*size + 10 })
	other, err := s.Querier("t1", 0, 80*minute)
	require.NoError(t, err)
	require.True(t, other.Select(t.Context(), true, nil, equal("__name__", "up")).Next())

	q, err := s.Querier("t1", 120*minute, 400*minute)
	require.NoError(t, err)
	require.True(t, q.Select(t.Context(), true, hintsOf(120, 200), equal("__name__", "up")).Next())
	err = q.Select(t.Context(), true, hintsOf(240, 300), equal("__name__", "up")).Err()
	require.ErrorIs(t, err, errNoRoom)
	require.ErrorContains(t, err, "--"+FlagMaxBytes)
	require.NoError(t, other.Close())
	require.True(t, q.Select(t.Context(), true, hintsOf(240, 300), equal("__name__", "up")).Next())
	require.NoError(t, q.Close())
}

// TestManyAskOneDownload lets queries meet at a block that is not there, one of which gives up.
func TestManyAskOneDownload(t *testing.T) {
	f := newFixture(t)
	ids, _ := f.threeBlocks()
	s := f.open(nil)
	entered, proceed := make(chan struct{}), make(chan struct{})
	indexReads := 0
	f.faulty.FailWhen(func(_ int, _, key string) (buckettest.Fault, bool) {
		if key == ids[0].String()+"/index" {
			if indexReads++; indexReads == 1 {
				close(entered)
				<-proceed
			}
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
	wg.Wait() // It is gone although its download is not done.
	for range 8 {
		wg.Go(func() {
			if err := queryHour(t, s, 0); err != nil {
				t.Error(err)
			}
		})
	}
	close(proceed)
	wg.Wait()
	require.Equal(t, 1, indexReads)
}

func TestRestartKeepsWholeCopies(t *testing.T) {
	f := newFixture(t)
	ids, size := f.threeBlocks()
	s := f.open(nil)
	for _, hour := range []int64{0, 2, 4} {
		require.NoError(t, queryHour(t, s, hour))
	}
	require.NoError(t, s.Close())
	// A crash leaves half a download, and half an eviction; a bad disk leaves a truncated and an unreadable index.
	require.NoError(t, os.Mkdir(filepath.Join(f.dir, ids[0].String()+tempSuffix), 0o700))
	require.NoError(t, os.Truncate(filepath.Join(f.dir, ids[1].String(), "index"), 10))
	index := filepath.Join(f.dir, ids[2].String(), "index")
	content, err := os.ReadFile(index)
	require.NoError(t, err)
	copy(content, "garbage")
	require.NoError(t, os.WriteFile(index, content, 0o600))

	f.faulty.FailNth(0, 0)
	s = f.open(nil)
	require.NoError(t, queryHour(t, s, 0))
	require.NotContains(t, strings.Join(f.faulty.Log(), "\n"), ids[0].String()+"/index", "used as it is")
	require.NoError(t, queryHour(t, s, 2))
	require.NoError(t, queryHour(t, s, 4))
	require.Contains(t, strings.Join(f.faulty.Log(), "\n"), ids[1].String()+"/index")
	require.Contains(t, strings.Join(f.faulty.Log(), "\n"), ids[2].String()+"/index")
	require.Len(t, f.localCopies(), 3)
	require.NoError(t, s.Close())

	s = f.open(func(c *Config) { c.MaxBytes = size + 10 })
	require.Len(t, f.localCopies(), 1, "the bound holds from the start")
	require.LessOrEqual(t, s.cache.used, size+10)

	require.NoError(t, os.Mkdir(filepath.Join(f.dir, "precious"), 0o700))
	_, err = New(Config{Blocks: f.blocks, Dir: f.dir}, nil, nil)
	require.ErrorContains(t, err, "directory of its own")
}

func TestCopiesOfDeletedBlocksGo(t *testing.T) {
	f := newFixture(t)
	ids, _ := f.threeBlocks()
	s := f.open(nil)
	require.NoError(t, queryHour(t, s, 0))
	require.Equal(t, []string{ids[0].String()}, f.localCopies())
	require.NoError(t, f.blocks.Delete(t.Context(), ids[0]))
	f.now = f.now.Add(time.Minute)
	require.NoError(t, s.Sync(t.Context()))
	require.Empty(t, f.localCopies())
	require.Equal(t, 2, s.Len())
	require.Zero(t, s.cache.used)
}
