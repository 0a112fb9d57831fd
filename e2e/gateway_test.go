// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"

	"github.com/penstock-io/penstock/querier/blockstore"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// coldRequestsMax is how many requests a selector may cost on a block of which nothing is known.
const coldRequestsMax = 12

// TestQueriesReadBlocksByRanges asks a block in a real S3 server and the same block on this disk the same questions. The first
// costs a few requests; asked again, also after a restart, it costs none.
func TestQueriesReadBlocksByRanges(t *testing.T) {
	local, dir := localBlock(t)
	server := env.StartS3(t)
	cfg, err := bucket.ParseConfig([]byte(server.ObjstoreConfig("gateway")))
	noError(t, err)
	reg := prometheus.NewRegistry()
	bkt, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), reg)
	noError(t, err)
	t.Cleanup(func() { _ = bkt.Close() })
	blocks := bucket.NewBlocks(bkt, nil)
	noError(t, blocks.PutBlock(t.Context(), dir, map[string]string{"tenant_id": "t1", "receive_replica": "m1"}, "receive"))

	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute})
	ask := func(q storage.Queryable, expr string) string {
		t.Helper()
		query, err := engine.NewRangeQuery(t.Context(), q, nil, expr, time.UnixMilli(0), time.UnixMilli(7_200_000), time.Minute)
		noError(t, err)
		defer query.Close()
		r := query.Exec(t.Context())
		noError(t, r.Err)
		return r.String()
	}
	onDisk := storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) { return tsdb.NewBlockQuerier(local, mint, maxt) })
	cache := t.TempDir()
	first := "sum by (job) (rate(metric_07[5m]))"
	for _, run := range []string{"cold", "after a restart"} {
		s, err := blockstore.New(blockstore.Config{Blocks: blocks, Dir: cache}, nil, nil)
		noError(t, err)
		noError(t, s.Sync(t.Context()))
		inBucket := storage.QueryableFunc(func(mint, maxt int64) (storage.Querier, error) { return s.Querier("t1", mint, maxt) })
		before := rangeRequests(t, reg)
		if got, want := ask(inBucket, first), ask(onDisk, first); got != want || got == "" {
			t.Fatalf("%s: %s: got\n%s\nwant\n%s", run, first, got, want)
		}
		switch n := rangeRequests(t, reg) - before; {
		case run == "cold" && (n == 0 || n > coldRequestsMax), run != "cold" && n != 0:
			t.Errorf("%s: %s took %v requests", run, first, n)
		default:
			t.Logf("%s: %s took %v requests", run, first, n)
		}
		for _, expr := range []string{
			`count by (__name__) ({job=~"job-[1-3]"})`, `metric_03{instance!~"host-1.*",job!="job-2"}`,
			`sum(increase({__name__=~"metric_0.",instance=~".*7"}[10m]))`, `histogram_quantile(0.9, sum(rate(latency[5m])))`,
			`count({job="job-1",zone=""})`, `max_over_time(nothing[5m])`,
		} {
			if got, want := ask(inBucket, expr), ask(onDisk, expr); got != want {
				t.Errorf("%s: %s: got\n%.1000s\nwant\n%.1000s", run, expr, got, want)
			}
		}
		noError(t, s.Close())
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// localBlock writes a block of two hours: floats and native histograms, an index of more than a megabyte.
func localBlock(t *testing.T) (*tsdb.Block, string) {
	t.Helper()
	var all []storage.Series
	add := func(sample func(i int64) chunks.Sample, pairs ...string) {
		samples := make([]chunks.Sample, 0, 240)
		for i := range int64(240) {
			samples = append(samples, sample(i))
		}
		all = append(all, storage.NewListSeries(labels.FromStrings(pairs...), samples))
	}
	for n := range 10_000 {
		pairs := []string{
			"__name__", fmt.Sprintf("metric_%02d", n%20), "instance", fmt.Sprintf("host-%d", n/20), "job", fmt.Sprintf("job-%d", n%7),
			"pod", fmt.Sprintf("pod-%08x-%s", n*7919, strings.Repeat("x", 40)),
		}
		if n%3 == 0 {
			pairs = append(pairs, "zone", "a")
		}
		add(func(i int64) chunks.Sample { return floatSample(i*30_000, float64(i*int64(n%13))) }, pairs...)
	}
	for n := range 20 {
		add(func(i int64) chunks.Sample { return histogramSample(i * 30_000) }, "__name__", "latency", "instance", fmt.Sprint("host-", n))
	}
	dir, err := tsdb.CreateBlock(all, t.TempDir(), (4 * time.Hour).Milliseconds(), promslog.NewNopLogger())
	noError(t, err)
	block, err := tsdb.OpenBlock(nil, filepath.Clean(dir), nil, nil)
	noError(t, err)
	t.Cleanup(func() { _ = block.Close() })
	return block, dir
}

// point is a sample of a float, or of a histogram if it has one.
type point struct {
	t int64
	v float64
	h *histogram.Histogram
}

func floatSample(t int64, v float64) chunks.Sample { return point{t: t, v: v} }

func histogramSample(t int64) chunks.Sample {
	return point{t: t, h: tsdbutil.GenerateTestHistogram(t / 30_000)}
}

func (p point) T() int64                    { return p.t }
func (point) ST() int64                     { return 0 }
func (p point) F() float64                  { return p.v }
func (p point) H() *histogram.Histogram     { return p.h }
func (point) FH() *histogram.FloatHistogram { return nil }
func (p point) Copy() chunks.Sample         { return p }

func (p point) Type() chunkenc.ValueType {
	if p.h != nil {
		return chunkenc.ValHistogram
	}
	return chunkenc.ValFloat
}

// rangeRequests returns how many ranges were asked for so far.
func rangeRequests(t *testing.T, reg prometheus.Gatherer) float64 {
	t.Helper()
	families, err := reg.Gather()
	noError(t, err)
	for _, f := range families {
		if f.GetName() != "penstock_bucket_operations_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			if m.GetLabel()[0].GetValue() == "get_range" {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("range requests are not counted")
	return 0
}
