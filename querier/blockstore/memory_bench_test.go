// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// manyBlocks shows one block as many, two hours apart, so that only what reads them takes memory.
type manyBlocks struct {
	bucket.Bucket
	meta bucket.Meta
	n    int
}

func (m *manyBlocks) id(i int) ulid.ULID { return ulid.MustNew(uint64(i)+1, nil) }

func (m *manyBlocks) List(ctx context.Context, prefix string, recursive bool, fn func(bucket.Object) error) error {
	for i := range m.n {
		err := m.Bucket.List(ctx, prefix, recursive, func(o bucket.Object) error {
			o.Key = strings.Replace(o.Key, m.meta.ULID.String(), m.id(i).String(), 1)
			return fn(o)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *manyBlocks) Get(_ context.Context, key string) (io.ReadCloser, error) {
	id := ulid.MustParse(key[:ulid.EncodedSize])
	meta := m.meta
	meta.ULID, meta.Compaction.Sources = id, []ulid.ULID{id}
	begin := (int64(id.Time()) - 1) * 120 * minute
	meta.MinTime, meta.MaxTime = begin, begin+120*minute
	content, err := meta.Encode()
	return io.NopCloser(bytes.NewReader(content)), err
}

func (m *manyBlocks) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	return m.Bucket.GetRange(ctx, m.meta.ULID.String()+key[ulid.EncodedSize:], off, length)
}

// BenchmarkMemoryOfOpenBlocks asks 10 and 1,000 blocks of 10,000 series for the labels of 100 of them, one block after the
// other, and reports what the process holds after that. Run one at a time: a process does not forget.
func BenchmarkMemoryOfOpenBlocks(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := benchBlock(b, 100, 100)
			memory := bucket.NewMemory()
			blocks := bucket.NewBlocks(memory, nil)
			if err := blocks.PutBlock(b.Context(), dir, ours("t1", "m1"), bucket.SourceReceive); err != nil {
				b.Fatal(err)
			}
			meta, err := blocks.Meta(b.Context(), ulid.MustParse(filepath.Base(dir)))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				s, err := New(Config{Blocks: bucket.NewBlocks(&manyBlocks{memory, meta, n}, nil), Dir: b.TempDir()}, nil, nil)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
				before := resident(b)
				b.StartTimer()
				for i := range int64(n) {
					askOnce(b, s, i*120*minute)
				}
				b.StopTimer()
				after := resident(b)
				b.ReportMetric(float64(before["heap"])/(1<<20), "heap-before-MiB")
				b.ReportMetric(float64(after["heap"])/(1<<20), "heap-after-MiB")
				b.ReportMetric(float64(before["VmRSS"])/1024, "rss-before-MiB")
				b.ReportMetric(float64(after["VmRSS"])/1024, "rss-after-MiB")
				b.ReportMetric(float64(after["RssFile"]-before["RssFile"])/1024, "mapped-MiB")
				b.ReportMetric(float64(s.cache.used)/(1<<20), "cache-MiB")
				b.ReportMetric(float64(s.cache.openBlocks), "open")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func askOnce(b *testing.B, s *Store, mint int64) {
	b.Helper()
	q, err := s.Querier("t1", mint, mint+60*minute)
	if err != nil {
		b.Fatal(err)
	}
	set := q.Select(b.Context(), true, &storage.SelectHints{Start: mint, End: mint + 60*minute, Func: funcSeries},
		equal("__name__", "http_requests_042_total"))
	if set.Err() != nil {
		b.Fatal(set.Err())
	}
	if err := q.Close(); err != nil {
		b.Fatal(err)
	}
}

// resident returns what the kernel and the runtime say of this process: KiB, and bytes of heap.
func resident(b *testing.B) map[string]int64 {
	b.Helper()
	debug.FreeOSMemory()
	found := map[string]int64{}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	found["heap"] = int64(stats.HeapAlloc)
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return found
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var name string
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), "%s %d", &name, &kib); n == 2 {
			found[strings.TrimSuffix(name, ":")] = kib
		}
	}
	return found
}
