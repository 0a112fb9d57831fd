// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

// benchSeries is eight hours of a counter scraped every 15 s, as XOR chunks.
func benchSeries(b testing.TB, offset int64, up func(t int64) bool) storage.Series {
	chunk := chunkenc.NewXORChunk()
	app, err := chunk.Appender()
	require.NoError(b, err)
	for t := offset; t < 8*3_600_000; t += 15_000 {
		if up(t) {
			app.Append(0, t, float64(t/100))
		}
	}
	return &storage.SeriesEntry{SampleIteratorFn: func(it chunkenc.Iterator) chunkenc.Iterator { return chunk.Iterator(it) }}
}

// BenchmarkIterator reads series through dedup, and plain ones for comparison. An
// operation is one series of 1,920 samples.
func BenchmarkIterator(b *testing.B) {
	always := func(int64) bool { return true }
	flapping := func(t int64) bool { return t/15_000%7 != 3 }
	outages := func(t int64) bool { return t/1_800_000%2 == 0 }
	plain := func(up func(int64) bool) storage.Series { return benchSeries(b, 0, up) }
	stitch := func(replicas ...storage.Series) storage.Series {
		return &stitched{replicas: replicas, rule: newRule(0), mint: minTime, maxt: maxTime}
	}
	for _, bm := range []struct {
		name   string
		series storage.Series
	}{
		{"plain", plain(always)},
		{"single-replica", &trimmed{inner: plain(always), mint: minTime, maxt: maxTime}},
		{"pair-healthy", stitch(plain(always), benchSeries(b, 5000, always))},
		{"pair-outages", stitch(plain(outages), benchSeries(b, 5000, always))},
		{"pair-flapping", stitch(plain(flapping), benchSeries(b, 5000, always))},
		{"three-replicas-outages", stitch(plain(outages), benchSeries(b, 5000, outages), benchSeries(b, 10_000, always))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			var (
				it  chunkenc.Iterator
				sum float64
			)
			for b.Loop() {
				it = bm.series.Iterator(it)
				for it.Next() != chunkenc.ValNone {
					_, v := it.At()
					sum += v
				}
			}
			_ = sum
		})
	}
}

// BenchmarkSelect groups 20,000 series, alone or in pairs. An operation is one Select.
func BenchmarkSelect(b *testing.B) {
	for _, replicas := range []string{"a", "ab"} {
		var series []storage.Series
		for i := range 20_000 / len(replicas) {
			for _, replica := range replicas {
				series = append(series, named(labels.FromStrings(
					"__name__", "http_requests_total", "cluster", "eu-1", "handler", "/api/v1/write",
					"instance", fmt.Sprintf("10.0.0.%d:9090", i), "job", "api", "replica", string(replica), "status", "200",
				), 1000))
			}
		}
		b.Run(fmt.Sprintf("replicas=%d", len(replicas)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q, err := Queryable(&recorder{series: series}, byReplica).Querier(0, 2000)
				require.NoError(b, err)
				set, n := q.Select(b.Context(), true, nil), 0
				for set.Next() {
					n++
				}
				require.Equal(b, 20_000/len(replicas), n)
			}
		})
	}
}

// BenchmarkRangeQuery asks the engine for an hour of 200 targets that a pair scraped: as
// two series each, as one, and for comparison from the TSDB of a lone Prometheus.
func BenchmarkRangeQuery(b *testing.B) {
	engine := promqltest.NewTestEngine(b, false, 0, 1_000_000)
	query := func(ctx context.Context, b *testing.B, q storage.Queryable) {
		b.ReportAllocs()
		for b.Loop() {
			query, err := engine.NewRangeQuery(ctx, q, nil, "sum(rate(x[5m]))", time.UnixMilli(600_000), time.UnixMilli(3_000_000), time.Minute)
			require.NoError(b, err)
			require.NoError(b, query.Exec(ctx).Err)
			query.Close()
		}
	}
	stored := func(replicas ...string) storage.SampleAndChunkQueryable {
		db := teststorage.New(b)
		app := db.AppenderV2(b.Context())
		for i := range 200 {
			for n, replica := range replicas {
				lset := labels.FromStrings("__name__", "x", "instance", fmt.Sprint(i), "replica", replica)
				for t := int64(i+n*5000) % 15_000; t < 3_600_000; t += 15_000 {
					_, err := app.Append(0, lset, 0, t, float64(t/100), nil, nil, storage.AOptions{})
					require.NoError(b, err)
				}
			}
		}
		require.NoError(b, app.Commit())
		return db
	}
	pair := Queryable(stored("a", "b"), byReplica)
	b.Run("lone", func(b *testing.B) { query(b.Context(), b, stored("")) })
	b.Run("pair", func(b *testing.B) { query(b.Context(), b, pair) })
	b.Run("pair-dedup=false", func(b *testing.B) { query(WithEnabled(b.Context(), false), b, pair) })
}

// BenchmarkInstantQuery asks for the newest values of 2,000 targets, of which nobody knows yet whether the preferred replica is late.
func BenchmarkInstantQuery(b *testing.B) {
	engine := promqltest.NewTestEngine(b, false, 0, 1_000_000)
	stored := func(replicas ...string) storage.SampleAndChunkQueryable {
		db := teststorage.New(b)
		app := db.AppenderV2(b.Context())
		for i := range 2000 {
			for n, replica := range replicas {
				lset := labels.FromStrings("__name__", "x", "cluster", "eu-1", "instance", fmt.Sprint(i), "job", fmt.Sprint(i%10), "replica", replica)
				for t := int64(n * 5000); t < 3_600_000; t += 15_000 {
					_, err := app.Append(0, lset, 0, t, float64(t/100), nil, nil, storage.AOptions{})
					require.NoError(b, err)
				}
			}
		}
		require.NoError(b, app.Commit())
		return db
	}
	lone, pair := stored(""), stored("a", "b")
	for _, expr := range []string{"x", "topk(10, x)", "sum by (job) (rate(x[5m]))"} {
		query := func(ctx context.Context, q storage.Queryable) func(*testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					query, err := engine.NewInstantQuery(ctx, q, nil, expr, time.UnixMilli(3_600_000))
					require.NoError(b, err)
					require.NoError(b, query.Exec(ctx).Err)
					query.Close()
				}
			}
		}
		b.Run(expr+"/lone", query(b.Context(), lone))
		b.Run(expr+"/lone-through-dedup", query(b.Context(), Queryable(lone, byReplica)))
		b.Run(expr+"/pair", query(b.Context(), Queryable(pair, byReplica)))
		b.Run(expr+"/pair-dedup=false", query(WithEnabled(b.Context(), false), Queryable(pair, byReplica)))
	}
}

// TestWindowIsBounded: what a series keeps in memory does not grow with its length.
func TestWindowIsBounded(t *testing.T) {
	always := func(int64) bool { return true }
	down := func(from, to int64) func(int64) bool { return func(t int64) bool { return t < from || t > to } }
	s := &stitched{
		replicas: []storage.Series{
			benchSeries(t, 0, down(600_000, 7*3_600_000)), benchSeries(t, 5000, down(900_000, 6*3_600_000)), benchSeries(t, 10_000, always),
		},
		rule: newRule(0), mint: minTime, maxt: maxTime,
	}
	it := s.Iterator(nil).(*iterator)
	for it.Next() != chunkenc.ValNone {
		for n := range it.stitch.tracks {
			// Two margins hold 40 samples; as many may wait to be dropped, and windows grow by
			// doubling.
			require.LessOrEqual(t, cap(it.stitch.tracks[n].recs), 160, "replica %d at %d", n, it.AtT())
		}
		require.LessOrEqual(t, cap(it.skew.recent), 8)
	}
}
