// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

const day = 24 * 60 * minute

// counted is a counter with a sample each half minute, which is reset every ten hours and grows by 1 a sample.
func counted(from, to int64) series {
	s := newSeries(0, 0, "__name__", "requests_total", "job", "a")
	for t := from + 7000; t < to; t += minute / 2 {
		s.samples = append(s.samples, buckettest.Float(t, float64(t%(10*60*minute)/(minute/2))))
	}
	return s
}

// addAll puts a raw block and its downsampled ones into the bucket. Sources are those of the raw block.
func (f *fixture) addAll(from, to int64, resolutions ...int64) (ids []ulid.ULID) {
	f.t.Helper()
	dir := f.t.TempDir()
	s := counted(from, to)
	src, _ := buckettest.WriteBlock(f.t, dir, 60*day, storage.NewListSeries(s.labels, s.samples))
	var sources []ulid.ULID
	for _, resolution := range append([]int64{downsample.Raw}, resolutions...) {
		if resolution > downsample.Raw {
			id, _, err := downsample.New(nil, nil, nil).Downsample(f.t.Context(), src, resolution, dir)
			require.NoError(f.t, err)
			src = filepath.Join(dir, id.String())
		}
		require.NoError(f.t, f.blocks.PutBlock(f.t.Context(), src, map[string]string{bucket.LabelTenant: "t1"}, bucket.SourceReceive))
		id := ulid.MustParse(filepath.Base(src))
		meta, err := f.blocks.Meta(f.t.Context(), id)
		require.NoError(f.t, err)
		sources = append(sources, id)
		meta.MinTime, meta.MaxTime = from, to
		meta.Thanos.Downsample.Resolution, meta.Compaction.Sources = resolution, sources[:1]
		content, err := meta.Encode()
		require.NoError(f.t, err)
		f.put(id.String()+"/meta.json", content)
		ids = append(ids, id)
	}
	return ids
}

// asQueryable is a tenant's blocks for an engine.
type asQueryable struct{ s *Store }

func (q asQueryable) Querier(mint, maxt int64) (storage.Querier, error) {
	return q.s.Querier("t1", mint, maxt)
}

func evaluate(t *testing.T, ctx context.Context, q storage.Queryable, query string, at int64) (float64, int64, []string) {
	t.Helper()
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{}),
		LookbackDelta: downsample.LimitFrom(ctx).Lookback(5 * time.Minute),
	})
	qry, err := engine.NewInstantQuery(ctx, q, nil, query, time.UnixMilli(at))
	require.NoError(t, err)
	defer qry.Close()
	r := qry.Exec(ctx)
	require.NoError(t, r.Err)
	warnings, _ := r.Warnings.AsStrings(query, 10, 10)
	v, err := r.Vector()
	require.NoError(t, err)
	if len(v) == 0 {
		return math.NaN(), 0, warnings
	}
	require.Len(t, v, 1)
	return v[0].F, qry.Stats().Samples.TotalSamples, warnings
}

// TestResolutions asks the same of blocks of three resolutions, and of what retention left of them.
func TestResolutions(t *testing.T) {
	f := newFixture(t)
	first := f.addAll(0, 2*day, downsample.FiveMinutes, downsample.OneHour)
	second := f.addAll(2*day, 4*day, downsample.FiveMinutes)
	f.addAll(4*day, 5*day)
	s := f.open(nil)
	limited := func(text string) context.Context {
		limit, err := downsample.ParseLimit(text, 5*time.Hour)
		require.NoError(t, err)
		return downsample.WithLimit(t.Context(), limit)
	}
	const increase, count = "increase(requests_total[4d])", "count_over_time(requests_total[4d])"
	end := 5*day - 60*minute
	exact, all, _ := evaluate(t, limited("0s"), asQueryable{s}, increase, end)
	counts, _, _ := evaluate(t, limited("0s"), asQueryable{s}, count, end)
	require.InEpsilon(t, 4*day/(minute/2), exact, 0.01)
	for _, text := range []string{"5m", "1h", "auto", "30s", ""} {
		got, read, warnings := evaluate(t, limited(text), asQueryable{s}, increase, end)
		require.InEpsilon(t, exact, got, 0.01, text)
		require.Empty(t, warnings)
		if text == "30s" || text == "" {
			require.Equal(t, all, read, text)
		} else {
			require.Less(t, read, all/2, text)
		}
		got, _, _ = evaluate(t, limited(text), asQueryable{s}, count, end)
		require.InDelta(t, counts, got, 0, text)
	}

	// A function that needs two samples in ten minutes gets raw ones.
	exact, _, _ = evaluate(t, limited("0s"), asQueryable{s}, "rate(requests_total[9m])", day)
	got, _, _ := evaluate(t, limited("1h"), asQueryable{s}, "rate(requests_total[9m])", day)
	require.Equal(t, exact, got)

	// A late block is not in the downsampled one of its time, which is set aside.
	late := f.add(ours("t1", "m9"), nil, newSeries(3*day, 10, "__name__", "other"))
	f.now = f.now.Add(time.Minute)
	require.NoError(t, s.Sync(t.Context()))
	got, _, _ = evaluate(t, limited("5m"), asQueryable{s}, "sum(count_over_time(other[1h]))", 3*day+30*minute)
	require.InDelta(t, 10, got, 0)
	require.NoError(t, f.blocks.Delete(t.Context(), late))

	// Raw samples of the first four days are past retention, and those of the first two at five minutes.
	for _, id := range []ulid.ULID{first[0], first[1], second[0]} {
		require.NoError(t, f.blocks.Delete(t.Context(), id))
	}
	f.now = f.now.Add(time.Minute)
	require.NoError(t, s.Sync(t.Context()))
	exact, _, _ = evaluate(t, limited(""), asQueryable{s}, increase, end)
	require.InEpsilon(t, 4*day/(minute/2), exact, 0.01)
	for _, at := range []int64{day + 17*minute, 3*day + 2*minute} {
		got, _, warnings := evaluate(t, limited(""), asQueryable{s}, "requests_total", at)
		require.False(t, math.IsNaN(got), "coarser samples are spread over their windows")
		require.Empty(t, warnings)
		got, _, warnings = evaluate(t, limited("0s"), asQueryable{s}, "requests_total", at)
		require.True(t, math.IsNaN(got))
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], "leave max_source_resolution out")
	}
	got, _, warnings := evaluate(t, limited(""), asQueryable{s}, "rate(requests_total[5m])", 3*day)
	require.True(t, math.IsNaN(got))
	require.Len(t, warnings, 1, "%f", got)
	require.Contains(t, warnings[0], "too far apart for rate over 5m0s: take a longer range")

	// What is read as chunks is the same, and of an encoding that everybody knows.
	samples, err := query(t, s, "t1", 0, 5*day, equal("job", "a"))
	require.NoError(t, err)
	require.Len(t, samples, 1)
}
