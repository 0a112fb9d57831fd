// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// newBlock writes a raw block with a Thanos section like the bucket's, and returns its directory.
func newBlock(t testing.TB, dir string, all map[string]series) string {
	t.Helper()
	var list []storage.Series
	for name, s := range all {
		list = append(list, s.storage(labels.FromStrings("__name__", name)))
	}
	src, err := tsdb.CreateBlock(list, dir, 60*day, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	m := readJSON(t, src)
	m["thanos"] = map[string]any{
		"version": 1, "labels": map[string]any{"tenant_id": "t1"}, "downsample": map[string]any{"resolution": 0}, "source": "receive",
		"files": []any{map[string]any{"rel_path": "index"}}, "upload_time": "2026-01-01T00:00:00Z", "extensions": map[string]any{"a": "b"},
	}
	content, err := json.Marshal(m)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(src, metaName), content, 0o600))
	return src
}

func readJSON(t testing.TB, dir string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, metaName))
	require.NoError(t, err)
	m := map[string]any{}
	require.NoError(t, json.Unmarshal(content, &m))
	return m
}

// readBlock returns the parts of all series of a block.
func readBlock(t testing.TB, dir string) map[string][]Part {
	t.Helper()
	b, err := tsdb.OpenBlock(nil, dir, NewPool(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	meta := b.Meta()
	q, err := tsdb.NewBlockChunkQuerier(b, meta.MinTime, meta.MaxTime)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, q.Close()) })
	m, err := readMeta(dir)
	require.NoError(t, err)
	resolution, err := m.resolution()
	require.NoError(t, err)

	hints := &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, DisableTrimming: true}
	set := q.Select(context.Background(), true, hints, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	parts := map[string][]Part{}
	for set.Next() {
		p := Part{Resolution: resolution, Pieces: []Piece{{Mint: meta.MinTime, Maxt: meta.MaxTime - 1}}}
		for it := set.At().Iterator(nil); it.Next(); {
			p.Chunks = append(p.Chunks, it.At())
		}
		parts[set.At().Labels().Get("__name__")] = []Part{p}
	}
	require.NoError(t, set.Err())
	return parts
}

func TestBlockToBlock(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(3, 14)
	onlyStale := series{stale(day), stale(day + hour)}
	src := newBlock(t, dir, map[string]series{
		"counter": w.counter, "gauge": w.gauge, "gone": onlyStale, "h": newHistogramSeries(1, 14, 0, 1),
	})
	reg := prometheus.NewPedanticRegistry()
	d := New(nil, reg, nil)
	id5m, written, err := d.Downsample(t.Context(), src, FiveMinutes, dir)
	require.NoError(t, err)
	require.True(t, written)
	id1h, written, err := d.Downsample(t.Context(), filepath.Join(dir, id5m.String()), OneHour, dir)
	require.NoError(t, err)
	require.True(t, written)
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.blocks.WithLabelValues("5m")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(d.metrics.blocks.WithLabelValues("1h")), 0)

	was := readJSON(t, src)
	for id, resolution := range map[string]int64{id5m.String(): FiveMinutes, id1h.String(): OneHour} {
		m := readJSON(t, filepath.Join(dir, id))
		require.Equal(t, id, m["ulid"])
		for _, same := range []string{"minTime", "maxTime", "compaction", "version"} {
			require.Equal(t, was[same], m[same], same)
		}
		thanos := m["thanos"].(map[string]any)
		require.Equal(t, map[string]any{"resolution": float64(resolution)}, thanos["downsample"])
		require.Equal(t, "compactor", thanos["source"])
		require.Equal(t, map[string]any{"tenant_id": "t1"}, thanos["labels"])
		require.Equal(t, map[string]any{"a": "b"}, thanos["extensions"])
		require.Equal(t, []any{"000001"}, thanos["segment_files"])
		require.NotContains(t, thanos, "files")
		require.NotContains(t, thanos, "upload_time")
		require.EqualValues(t, 3, m["stats"].(map[string]any)["numSeries"])

		// What is in the block is what the functions make of the samples.
		parts := readBlock(t, filepath.Join(dir, id))
		require.Len(t, parts, 3)
		require.Equal(t, aggregate(t, at(t, w.counter.chunks(t), resolution), Counter), aggregate(t, parts["counter"][0].Chunks, Counter))
		require.Equal(t, aggregate(t, at(t, w.gauge.chunks(t), resolution), Sum), aggregate(t, parts["gauge"][0].Chunks, Sum))
	}

	// The compactor goes on with such blocks as with any: it must be able to move their chunks.
	var dirs []string
	for _, days := range []int64{0, 2} {
		part := newBlock(t, dir, map[string]series{"counter": w.counter.between(days*day, days*day+2*day)})
		id, _, err := d.Downsample(t.Context(), part, FiveMinutes, dir)
		require.NoError(t, err)
		dirs = append(dirs, filepath.Join(dir, id.String()))
	}
	c, err := tsdb.NewLeveledCompactor(t.Context(), nil, slog.New(slog.DiscardHandler), []int64{4 * day}, NewPool(), nil)
	require.NoError(t, err)
	ids, err := c.Compact(dir, dirs, nil)
	require.NoError(t, err)
	require.Len(t, ids, 1)
	var want series
	for _, from := range dirs {
		want = append(want, aggregate(t, readBlock(t, from)["counter"][0].Chunks, Counter)...)
	}
	require.Equal(t, want, aggregate(t, readBlock(t, filepath.Join(dir, ids[0].String()))["counter"][0].Chunks, Counter))
}

func TestNothingLeft(t *testing.T) {
	dir := t.TempDir()
	src := newBlock(t, dir, map[string]series{"gone": {stale(day), stale(day + hour)}})
	out := t.TempDir()
	_, written, err := New(nil, nil, nil).Downsample(t.Context(), src, FiveMinutes, out)
	require.NoError(t, err)
	require.False(t, written)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestWhatCannotBeDownsampled(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(1, 3)
	src := newBlock(t, dir, map[string]series{"a": w.gauge})
	d := New(nil, nil, nil)
	id, _, err := d.Downsample(t.Context(), src, OneHour, dir)
	require.NoError(t, err, "straight to an hour")
	_, _, err = d.Downsample(t.Context(), filepath.Join(dir, id.String()), FiveMinutes, dir)
	require.ErrorContains(t, err, "cannot become")
	_, _, err = d.Downsample(t.Context(), filepath.Join(dir, id.String()), OneHour, dir)
	require.ErrorContains(t, err, "cannot become")

	out := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = d.Downsample(ctx, src, FiveMinutes, out)
	require.ErrorIs(t, err, context.Canceled)

	// A flipped bit in a chunk is found by its checksum.
	segment := filepath.Join(src, chunksName, "000001")
	content, err := os.ReadFile(segment)
	require.NoError(t, err)
	content[len(content)/2] ^= 1
	require.NoError(t, os.WriteFile(segment, content, 0o600))
	_, _, err = d.Downsample(t.Context(), src, FiveMinutes, out)
	require.ErrorContains(t, err, `__name__="a"`)
	require.ErrorContains(t, err, "checksum")
	require.InDelta(t, 2, testutil.ToFloat64(d.metrics.failures.WithLabelValues("5m")), 1)

	require.NoError(t, os.WriteFile(filepath.Join(src, metaName), []byte("{"), 0o600))
	_, _, err = d.Downsample(t.Context(), src, FiveMinutes, out)
	require.ErrorIs(t, err, errBadMeta)
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	require.Empty(t, left, "no half of a block stays")
}

// TestRawChunksInADownsampledBlock: Thanos has written such.
func TestRawChunksInADownsampledBlock(t *testing.T) {
	w := newWorld(2, 2)
	first, second := w.gauge.between(0, day), w.gauge.between(day, 2*day)
	mixed := append(at(t, first.chunks(t), FiveMinutes), second.chunks(t)...)
	got, err := newWriter(OneHour).coarser(mixed, FiveMinutes)
	require.NoError(t, err)
	total := 0.0
	for _, x := range aggregate(t, got, Count) {
		total += x.v
	}
	want := 0
	for _, x := range w.gauge {
		if !math.IsNaN(x.v) {
			want++
		}
	}
	require.EqualValues(t, want, total)

	_, err = newWriter(FiveMinutes).raw(append(first.chunks(t), first.chunks(t)...))
	require.ErrorIs(t, err, errOverlap)
}
