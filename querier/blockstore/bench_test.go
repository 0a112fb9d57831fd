// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// requestTime is what a request to a store in the same region takes.
const requestTime = 20 * time.Millisecond

// slowBucket lets each read take as long as it would over a network, and counts them.
type slowBucket struct {
	bucket.Bucket
	requests atomic.Int64
	bytes    atomic.Int64
}

func (b *slowBucket) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	b.requests.Add(1)
	b.bytes.Add(length)
	time.Sleep(requestTime)
	return b.Bucket.GetRange(ctx, key, off, length)
}

// benchBlock writes a block of two hours with 100 metrics of 1,000 series each, every 15 s, and returns its directory.
func benchBlock(b *testing.B, metrics, each int) string {
	b.Helper()
	dir := b.TempDir()
	var all []storage.Series
	for m := range metrics {
		for i := range each {
			all = append(all, &benchSeries{labels: labels.FromStrings(
				"__name__", fmt.Sprintf("http_requests_%03d_total", m), "cluster", "eu-west-1", "instance", fmt.Sprintf("10.0.%d.%d:9100", i/250, i%250),
				"job", fmt.Sprintf("job-%d", i%20), "namespace", fmt.Sprintf("namespace-%d", i%50), "pod", fmt.Sprintf("pod-%06d-%x", i, i*7919),
			), seed: int64(m*each + i)})
		}
	}
	block, _ := buckettest.WriteBlock(b, dir, (4 * time.Hour).Milliseconds(), all...)
	return block
}

// benchSeries is a counter of two hours, made while it is read.
type benchSeries struct {
	labels labels.Labels
	seed   int64
}

func (s *benchSeries) Labels() labels.Labels { return s.labels }

func (s *benchSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	return storage.NewListSeriesIterator(benchSamples(s.seed))
}

type benchSamples int64

func (s benchSamples) Len() int { return 480 }

func (s benchSamples) Get(i int) chunks.Sample {
	return buckettest.Float(int64(i)*15_000, float64(int64(i)*(100+int64(s)%7)+(int64(i)*int64(i)*int64(s))%13))
}

// BenchmarkGateway asks sum by (job) (rate(m[5m])) over 1,000 of 100,000 series of a block, once over its two hours with
// steps of a minute: of the local block, of a Store that has nothing of it, and of one that has what it needs. All in one
// run, so that their ratios mean something on any machine.
func BenchmarkGateway(b *testing.B) {
	dir := benchBlock(b, 100, 1000)
	local, err := tsdb.OpenBlock(nil, dir, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer local.Close()
	slow := &slowBucket{Bucket: bucket.NewMemory()}
	if err := bucket.NewBlocks(slow.Bucket, nil).PutBlock(b.Context(), dir, ours("t1", "m1"), bucket.SourceReceive); err != nil {
		b.Fatal(err)
	}
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute})
	ask := func(q storage.Queryable) time.Duration {
		begin := time.Now()
		query, err := engine.NewRangeQuery(b.Context(), q, nil, "sum by (job) (rate(http_requests_042_total[5m]))",
			time.UnixMilli(0), time.UnixMilli(7_200_000), time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		defer query.Close()
		if r := query.Exec(b.Context()); r.Err != nil {
			b.Fatal(r.Err)
		}
		return time.Since(begin)
	}
	var fromLocal, cold, warm time.Duration
	for b.Loop() {
		fromLocal += ask(storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) {
			return tsdb.NewBlockQuerier(local, mint, maxt)
		}))
		cache := b.TempDir()
		s, err := New(Config{Blocks: bucket.NewBlocks(slow, nil), Dir: cache}, nil, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
		of := storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) { return s.Querier("t1", mint, maxt) })
		slow.requests.Store(0)
		slow.bytes.Store(0)
		cold += ask(of)
		if n := slow.requests.Load(); n > 12 {
			b.Fatalf("%d requests, want 12 at most", n)
		}
		b.ReportMetric(float64(slow.requests.Load()), "requests")
		b.ReportMetric(float64(slow.bytes.Load()), "fetched-bytes")
		warm += ask(of)
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		_ = os.RemoveAll(cache)
	}
	b.ReportMetric(float64(fromLocal.Milliseconds())/float64(b.N), "local-ms")
	b.ReportMetric(float64(cold)/float64(fromLocal), "cold/local")
	b.ReportMetric(float64(warm)/float64(fromLocal), "warm/local")
}
