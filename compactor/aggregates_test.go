// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// aggregateOf is a chunk of aggregates that has nothing but counts.
func aggregateOf(samples ...sample) *downsample.Chunk {
	x := chunkenc.NewXORChunk()
	app, _ := x.Appender()
	for _, s := range samples {
		app.Append(0, s.Time, s.Value)
	}
	data := []byte{byte(len(x.Bytes())), byte(chunkenc.EncXOR)}
	return downsample.NewChunk(append(append(data, x.Bytes()...), 0, 0, 0, 0))
}

// writeAggregates makes a block of one chunk for each series.
func writeAggregates(t testing.TB, dst string, meta tsdb.BlockMeta, series map[string]chunks.Meta) ulid.ULID {
	t.Helper()
	dir := filepath.Join(dst, meta.ULID.String())
	cw, err := chunks.NewWriter(filepath.Join(dir, "chunks"))
	require.NoError(t, err)
	iw, err := index.NewWriter(t.Context(), filepath.Join(dir, "index"))
	require.NoError(t, err)
	for _, symbol := range []string{"0", "1", "2", "__name__", "i", "m"} {
		require.NoError(t, iw.AddSymbol(symbol))
	}
	for i, name := range []string{"0", "1", "2"} {
		c, ok := series[name]
		if !ok {
			continue
		}
		list := []chunks.Meta{c}
		require.NoError(t, cw.WriteChunks(list...))
		require.NoError(t, iw.AddSeries(storage.SeriesRef(i), labels.FromStrings("__name__", "m", "i", name), list...))
		meta.Stats.NumSeries++
		meta.Stats.NumChunks++
		meta.Stats.NumSamples += uint64(c.Chunk.NumSamples())
	}
	require.NoError(t, errors.Join(cw.Close(), iw.Close()))
	meta.Version = 1
	raw, err := json.Marshal(meta)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "meta.json"), raw, 0o600))
	return meta.ULID
}

// chunksOf returns the chunks of one series of a block.
func (f *fixture) chunksOf(b bucket.Listed, name string) (found []chunks.Meta) {
	f.t.Helper()
	dir := filepath.Join(f.t.TempDir(), b.Meta.ULID.String())
	_, err := f.blocks.Download(f.t.Context(), b.Meta.ULID, dir)
	require.NoError(f.t, err)
	opened, err := tsdb.OpenBlock(nil, dir, downsample.NewPool(), nil)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { opened.Close() })
	q, err := tsdb.NewBlockChunkQuerier(opened, b.Meta.MinTime, b.Meta.MaxTime)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { q.Close() })
	set := q.Select(f.t.Context(), true, &storage.SelectHints{DisableTrimming: true, Start: b.Meta.MinTime, End: b.Meta.MaxTime},
		labels.MustNewMatcher(labels.MatchEqual, "i", name))
	for set.Next() {
		it := set.At().Iterator(nil)
		for it.Next() {
			found = append(found, it.At())
		}
		require.NoError(f.t, it.Err())
	}
	require.NoError(f.t, set.Err())
	return found
}

// TestAggregatesArePassedOn: blocks of one resolution, side by side, become one with the same chunks.
func TestAggregatesArePassedOn(t *testing.T) {
	f := newFixture(t)
	o := f.origin()
	first := aggregateOf(buckettest.Float(o+1, 5), buckettest.Float(o+2, 7))
	second := aggregateOf(buckettest.Float(o+48*hour, 6))
	for i, series := range []map[string]chunks.Meta{
		{"0": {Chunk: first, MinTime: o + 1, MaxTime: o + 2}, "1": {Chunk: first, MinTime: o + 1, MaxTime: o + 2}},
		{"0": {Chunk: second, MinTime: o + 48*hour, MaxTime: o + 48*hour}},
	} {
		meta := tsdb.BlockMeta{ULID: blockNumber(o, i), MinTime: o + int64(i)*48*hour, MaxTime: o + int64(i+1)*48*hour}
		dst := t.TempDir()
		id := writeAggregates(t, dst, meta, series)
		require.NoError(t, f.blocks.PutBlockAs(t.Context(), filepath.Join(dst, id.String()), bucket.Thanos{
			Labels: map[string]string{"tenant_id": "t"}, Downsample: bucket.Downsample{Resolution: downsample.FiveMinutes}, Source: sourceCompactor,
		}))
	}
	f.now = f.now.Add(400 * time.Hour)
	require.NoError(t, f.compactor(nil).Once(t.Context()))
	live := f.live()
	require.Len(t, live, 1)
	require.Equal(t, downsample.FiveMinutes, live[0].Meta.Thanos.Downsample.Resolution)
	require.EqualValues(t, 5, live[0].Meta.Stats.NumSamples)
	got := f.chunksOf(live[0], "0")
	require.Len(t, got, 2)
	require.Equal(t, first.Bytes(), got[0].Chunk.Bytes())
	require.Equal(t, second.Bytes(), got[1].Chunk.Bytes())
	require.Len(t, f.chunksOf(live[0], "1"), 1)
}

// hourly is a Downsampler that keeps how many samples there were.
type hourly struct {
	t     testing.TB
	calls int
	fail  error
	empty bool
}

func (h *hourly) Downsample(_ context.Context, src string, resolution int64, dst string) (ulid.ULID, bool, error) {
	h.calls++
	require.Equal(h.t, downsample.FiveMinutes, resolution)
	require.FileExists(h.t, filepath.Join(src, "index"))
	if h.fail != nil || h.empty {
		return ulid.ULID{}, false, h.fail
	}
	raw, err := os.ReadFile(filepath.Join(src, "meta.json"))
	require.NoError(h.t, err)
	var meta tsdb.BlockMeta
	require.NoError(h.t, json.Unmarshal(raw, &meta))
	out := meta
	out.ULID = blockNumber(meta.MaxTime, h.calls)
	out.Stats = tsdb.BlockStats{}
	return writeAggregates(h.t, dst, out, map[string]chunks.Meta{
		"0": {Chunk: aggregateOf(buckettest.Float(meta.MinTime, float64(meta.Stats.NumSamples))), MinTime: meta.MinTime, MaxTime: meta.MinTime},
	}), true, nil
}

// TestDownsampling asks the Downsampler when a block is long enough and its copies are merged, and once.
func TestDownsampling(t *testing.T) {
	f := newFixture(t)
	long := func() content {
		return content{"0": {buckettest.Float(f.origin(), 1), buckettest.Float(f.origin()+47*hour, 2)}}
	}
	f.add(member("a"), long())
	f.add(member("b"), long())
	h := &hourly{t: t, fail: errors.New("no idea")}
	comp := f.compactor(func(c *Config) { c.Downsampler = h })
	f.now = f.now.Add(49 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.Zero(t, h.calls, "copies are to be merged first, and are too young")
	f.now = f.now.Add(2 * time.Hour)
	require.ErrorIs(t, comp.Once(t.Context()), h.fail)
	require.Len(t, f.live(), 1)
	h.fail = nil
	require.NoError(t, comp.Once(t.Context()))
	live := f.live()
	require.Len(t, live, 2)
	require.Equal(t, downsample.FiveMinutes, live[1].Meta.Thanos.Downsample.Resolution+live[0].Meta.Thanos.Downsample.Resolution)
	require.Equal(t, live[0].Meta.Compaction.Sources, live[1].Meta.Compaction.Sources)
	require.Equal(t, live[0].Meta.Thanos.Labels, live[1].Meta.Thanos.Labels)
	require.NoError(t, comp.Once(t.Context()))
	require.Equal(t, 2, h.calls)

	f = newFixture(t)
	f.add(member("a"), long())
	h.empty = true
	comp = f.compactor(func(c *Config) { c.Downsampler = h })
	f.now = f.now.Add(60 * time.Hour)
	require.NoError(t, comp.Once(t.Context()))
	require.NoError(t, comp.Once(t.Context()))
	require.Equal(t, 3, h.calls)
	require.NotNil(t, f.live()[0].Marks.NoDownsample)
}
