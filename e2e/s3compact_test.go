// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/penstock-io/penstock/compactor"
	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	copiedRanges = 5  // of two hours
	copiedSeries = 20 // in each copy
	copiedEvery  = 60_000
	rangeMS      = 2 * 60 * 60 * 1000
)

// sampleKey names a sample; its value follows from it.
type sampleKey struct {
	series int
	time   int64
}

func (k sampleKey) value() float64 { return float64(k.series)*1e6 + float64(k.time/1000%1e6) }

// TestCompactOverBadS3: three members compact the same groups at the same time, all over a store that does everything wrong.
// No sample is at any moment without a block that stays, and in the end each is in one block, once.
func TestCompactOverBadS3(t *testing.T) {
	server := env.StartS3(t)
	prefix := ulid.Make().String()
	truth := server.Open(t, prefix)
	want := uploadCopies(t, truth)

	var later atomic.Int64 // How much time has passed, in ns, beside what really has.
	now := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	var stores []*harness.FaultyS3
	var members []*compactor.Compactor
	for i, name := range []string{"a", "b", "c"} {
		faulty := env.StartFaultyS3(t, server, uint64(i))
		// The kinds that cost no waiting more often than the others.
		faulty.Misbehave(faultRate, append(harness.AllS3Faults(), harness.S3PartialPut, harness.S3PartialPut, harness.S3StaleList, harness.S3TruncatedBody)...)
		stores = append(stores, faulty)
		members = append(members, newCompactor(t, faulty.Open(t, prefix), name, now))
	}
	for range 3 {
		failed := compactAll(t, members)
		held := heldSamples(t, truth, now)
		for k := range want {
			if held[k] == 0 {
				t.Fatalf("sample %d of series %d is in no block that stays", k.time, k.series)
			}
		}
		t.Logf("%d of %d members did not get through with it", failed, len(members))
		later.Add(int64(3 * time.Hour)) // So that what is marked goes, while others are still at it.
	}
	for _, s := range stores {
		t.Logf("%d requests: %s", s.Requests(), s.Faults())
		s.Misbehave(0)
	}
	for range 6 {
		if failed := compactAll(t, members); failed > 0 {
			t.Errorf("%d members fail although the store is well", failed)
		}
		later.Add(int64(100 * time.Hour))
	}
	held := heldSamples(t, truth, now)
	if len(held) != len(want) {
		t.Errorf("%d samples are held, want %d", len(held), len(want))
	}
	for k, n := range held {
		if n != 1 {
			t.Fatalf("sample %d of series %d is held %d times", k.time, k.series, n)
		}
	}
}

func newCompactor(t *testing.T, b bucket.Bucket, member string, now func() time.Time) *compactor.Compactor {
	t.Helper()
	blocks := bucket.NewBlocks(b, now)
	c, err := compactor.New(compactor.Config{
		Blocks: blocks, Index: bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Now: now}, nil),
		Dir: filepath.Join(harness.Dir(t), "scratch-"+member), Member: member, Now: now,
		MergeChunks:      querier.NewChunkMerger(prometheus.NewCounter(prometheus.CounterOpts{Name: "conflicts"})),
		ConsistencyDelay: time.Nanosecond, DeletionDelay: 6 * time.Hour, PartialDelay: 12 * time.Hour,
		RetryBackoff: time.Millisecond,
	}, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// compactAll has all members work at the same time, and returns how many failed.
func compactAll(t *testing.T, members []*compactor.Compactor) (failed int) {
	t.Helper()
	var working sync.WaitGroup
	var n atomic.Int64
	for _, m := range members {
		working.Go(func() {
			if err := m.Once(t.Context()); err != nil {
				n.Add(1)
			}
		})
	}
	working.Wait()
	return int(n.Load())
}

// uploadCopies puts three copies of some ranges into the bucket, each of which lacks samples that the two others have.
func uploadCopies(t *testing.T, b bucket.Bucket) map[sampleKey]bool {
	t.Helper()
	want := map[sampleKey]bool{}
	blocks := bucket.NewBlocks(b, time.Now)
	random := rand.New(rand.NewPCG(1, 2))
	start := time.Now().Add(-14*24*time.Hour).UnixMilli() / (24 * rangeMS) * (24 * rangeMS)
	for r := range int64(copiedRanges) {
		var copies [3][]sampleKey
		for s := range copiedSeries {
			for at := start + r*rangeMS; at < start+(r+1)*rangeMS; at += copiedEvery {
				k := sampleKey{s, at}
				want[k] = true
				lacks := random.IntN(10) // 0, 1, 2: that copy; else none.
				for c := range copies {
					if c != lacks {
						copies[c] = append(copies[c], k)
					}
				}
			}
		}
		for c, keys := range copies {
			dir := writeBlock(t, keys)
			ls := map[string]string{"tenant_id": "team", "receive_replica": string(rune('a' + c))}
			if err := blocks.PutBlock(t.Context(), dir, ls, bucket.SourceReceive); err != nil {
				t.Fatal(err)
			}
		}
	}
	return want
}

func writeBlock(t *testing.T, keys []sampleKey) (dir string) {
	t.Helper()
	root := harness.Dir(t)
	w, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), root, rangeMS)
	if err != nil {
		t.Fatal(err)
	}
	app := w.Appender(t.Context())
	for _, k := range keys {
		ls := labels.FromStrings("__name__", "m", "series", fmt.Sprint(k.series))
		if _, err := app.Append(0, ls, k.time, k.value()); err != nil {
			t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	id, err := w.Flush(t.Context())
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, id.String())
}

// heldSamples counts the samples in all blocks that are not marked for deletion, and checks the value of each.
func heldSamples(t *testing.T, b bucket.Bucket, now func() time.Time) map[sampleKey]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bucketTimeout)
	defer cancel()
	blocks := bucket.NewBlocks(b, now)
	listing, err := blocks.Metas(ctx)
	if err != nil {
		t.Fatal(err)
	}
	held := map[sampleKey]int{}
	for _, l := range listing.Blocks {
		if l.Marks.Deletion != nil {
			continue
		}
		dir := filepath.Join(harness.Dir(t), l.Meta.ULID.String())
		if _, err := blocks.Download(ctx, l.Meta.ULID, dir); err != nil {
			t.Fatalf("block %s: %v", l.Meta.ULID, err)
		}
		countSamples(t, dir, held)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	return held
}

func countSamples(t *testing.T, dir string, held map[sampleKey]int) {
	t.Helper()
	block, err := tsdb.OpenBlock(slog.New(slog.DiscardHandler), dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer block.Close()
	q, err := tsdb.NewBlockQuerier(block, math.MinInt64, math.MaxInt64)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
	for set.Next() {
		var series int
		if _, err := fmt.Sscan(set.At().Labels().Get("series"), &series); err != nil {
			t.Fatal(err)
		}
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			at, v := it.At()
			k := sampleKey{series, at}
			if v != k.value() {
				t.Fatalf("sample %d of series %d is %g, want %g", at, series, v, k.value())
			}
			held[k]++
		}
		if err := it.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.Err(); err != nil {
		t.Fatal(err)
	}
}
