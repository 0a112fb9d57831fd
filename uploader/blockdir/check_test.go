// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/blockdir"
)

const (
	blockStart = int64(7200_000)
	blockEnd   = 2 * blockStart
	step       = int64(15_000)
)

// xor returns a chunk with samples at the given times.
func xor(t *testing.T, times ...int64) chunks.Meta {
	t.Helper()
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	require.NoError(t, err)
	for i, ts := range times {
		app.Append(0, ts, float64(i))
	}
	return chunks.Meta{Chunk: c, MinTime: times[0], MaxTime: times[len(times)-1]}
}

func times(from int64, n int) []int64 {
	ts := make([]int64, n)
	for i := range ts {
		ts[i] = from + int64(i)*step
	}
	return ts
}

type testSeries struct {
	lset   labels.Labels
	chunks []chunks.Meta
}

// someSeries returns n series with two chunks each, and one of histograms.
func someSeries(t *testing.T, n int) []testSeries {
	t.Helper()
	all := make([]testSeries, 0, n+1)
	for i := range n {
		all = append(all, testSeries{
			lset:   labels.FromStrings("__name__", "m", "i", fmt.Sprintf("%03d", i), "odd", fmt.Sprint(i%2)),
			chunks: []chunks.Meta{xor(t, times(blockStart, 100)...), xor(t, times(blockStart+100*step, 50)...)},
		})
	}
	h := chunkenc.NewHistogramChunk()
	app, err := h.Appender()
	require.NoError(t, err)
	for _, ts := range times(blockStart, 10) {
		_, _, _, err := app.AppendHistogram(nil, 0, ts, &histogram.Histogram{
			Count: 3, Sum: 4, Schema: 1, PositiveSpans: []histogram.Span{{Offset: 0, Length: 1}}, PositiveBuckets: []int64{3},
		}, false)
		require.NoError(t, err)
	}
	return append(all, testSeries{
		lset:   labels.FromStrings("__name__", "n"),
		chunks: []chunks.Meta{{Chunk: h, MinTime: blockStart, MaxTime: blockStart + 9*step}},
	})
}

// write makes a block of series.
func write(t *testing.T, series []testSeries) (string, tsdb.BlockMeta) {
	t.Helper()
	id := ulid.Make()
	dir := filepath.Join(t.TempDir(), id.String())
	var symbols []string
	for _, s := range series {
		s.lset.Range(func(l labels.Label) { symbols = append(symbols, l.Name, l.Value) })
	}
	slices.Sort(symbols)
	w, err := blockdir.NewWriter(t.Context(), dir, slices.Compact(symbols))
	require.NoError(t, err)
	for _, s := range series {
		require.NoError(t, w.Add(s.lset, s.chunks))
	}
	meta, err := w.Commit(tsdb.BlockMeta{
		ULID: id, MinTime: blockStart, MaxTime: blockEnd, Compaction: tsdb.BlockMetaCompaction{Level: 1, Sources: []ulid.ULID{id}},
	})
	require.NoError(t, err)
	require.NoDirExists(t, dir+".tmp-for-creation")
	return dir, meta
}

func check(t *testing.T, dir string, opts blockdir.Options) blockdir.Report {
	t.Helper()
	r, err := blockdir.Check(t.Context(), dir, opts)
	require.NoError(t, err)
	return r
}

func kinds(r blockdir.Report) []blockdir.Kind {
	var out []blockdir.Kind
	for _, i := range r.Issues {
		out = append(out, i.Kind)
	}
	return out
}

func TestCheckSound(t *testing.T) {
	dir, meta := write(t, someSeries(t, 20))
	seen := 0
	r := check(t, dir, blockdir.Options{Meta: meta, Progress: func(n int) { seen = n }})
	require.Empty(t, r.Issues)
	require.Equal(t, uint64(21), r.Series)
	require.Equal(t, uint64(41), r.Chunks)
	require.Equal(t, uint64(3010), r.Samples)
	require.Equal(t, uint64(10), r.HistogramSamples)
	require.Equal(t, tsdb.BlockStats{NumSeries: 21, NumChunks: 41, NumSamples: 3010, NumFloatSamples: 3000, NumHistogramSamples: 10}, meta.Stats)
	require.Equal(t, map[string]uint64{"XOR": 40, "histogram": 1}, r.Encodings)
	require.Equal(t, blockStart, r.MinTime)
	require.Equal(t, blockStart+149*step, r.MaxTime)
	require.Equal(t, blockdir.LabelStat{Name: "i", Values: 20, Series: 20}, r.Index.Labels[0])
	require.Equal(t, 3, r.Index.LabelNames)
	require.Equal(t, 24, r.Index.LabelPairs)
	require.Equal(t, uint64(61), r.Index.Postings)
	require.Zero(t, seen, "fewer series than one report of progress")

	// TSDB takes the same block, and finds the samples.
	b, err := tsdb.OpenBlock(nil, dir, nil, nil)
	require.NoError(t, err)
	q, err := tsdb.NewBlockQuerier(b, blockStart, blockEnd)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "odd", "1"))
	found := 0
	for set.Next() {
		found++
	}
	require.NoError(t, set.Err())
	require.Equal(t, 10, found)
	require.NoError(t, q.Close())
	require.NoError(t, b.Close())
}

// TestCheckFlippedBits flips bits of index and chunks: none may go unseen but those in padding and unused space.
func TestCheckFlippedBits(t *testing.T) {
	dir, meta := write(t, someSeries(t, 4))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, file := range []string{"index", "chunks/000001"} {
		name := filepath.Join(dir, file)
		sound, err := os.ReadFile(name)
		require.NoError(t, err)
		unseen := 0
		for i := range sound {
			bad := slices.Clone(sound)
			bad[i] ^= 1 << rnd.IntN(8)
			require.NoError(t, os.WriteFile(name, bad, 0o600))
			r := check(t, dir, blockdir.Options{Meta: meta})
			if len(r.Issues) == 0 {
				require.Zero(t, sound[i], "byte %d of %s was flipped, and is not padding", i, file)
				unseen++
			}
		}
		require.NoError(t, os.WriteFile(name, sound, 0o600))
		require.Less(t, unseen, 100, "in %s", file)
		require.Empty(t, check(t, dir, blockdir.Options{Meta: meta}).Issues)
	}
}

// TestCheckCutOff cuts index and chunks at every length.
func TestCheckCutOff(t *testing.T) {
	dir, meta := write(t, someSeries(t, 2))
	for _, file := range []string{"index", "chunks/000001"} {
		name := filepath.Join(dir, file)
		sound, err := os.ReadFile(name)
		require.NoError(t, err)
		for n := range sound {
			require.NoError(t, os.WriteFile(name, sound[:n], 0o600))
			require.NotEmpty(t, check(t, dir, blockdir.Options{Meta: meta}).Issues, "%s of %d bytes", file, n)
		}
		require.NoError(t, os.WriteFile(name, sound, 0o600))
	}
}

func TestCheckMissingFiles(t *testing.T) {
	dir, meta := write(t, someSeries(t, 2))
	require.NoError(t, os.Remove(filepath.Join(dir, "chunks", "000001")))
	r := check(t, dir, blockdir.Options{Meta: meta})
	require.True(t, r.Has(blockdir.ChunkUnreadable))
	require.NoError(t, os.Remove(filepath.Join(dir, "chunks")))
	require.Equal(t, []blockdir.Kind{blockdir.FilesMissing}, kinds(check(t, dir, blockdir.Options{Meta: meta})))
	require.Empty(t, check(t, dir, blockdir.Options{Meta: meta, IndexOnly: true}).Issues)
	require.NoError(t, os.Remove(filepath.Join(dir, "index")))
	require.Equal(t, []blockdir.Kind{blockdir.IndexUnreadable}, kinds(check(t, dir, blockdir.Options{Meta: meta})))
}

// TestCheckContent is about blocks whose checksums are right and whose content is not.
func TestCheckContent(t *testing.T) {
	one := labels.FromStrings("__name__", "m")
	lied := xor(t, times(blockStart, 10)...)
	lied.MaxTime += step
	backwards := xor(t, blockStart, blockStart+2*step, blockStart+step, blockStart+3*step)
	xor2 := chunks.Meta{Chunk: chunkenc.NewXOR2Chunk(), MinTime: blockStart, MaxTime: blockStart}
	app, err := xor2.Chunk.Appender()
	require.NoError(t, err)
	app.Append(0, blockStart, 1)
	for _, tc := range []struct {
		name  string
		chunk chunks.Meta
		want  blockdir.Kind
	}{
		{"before the block", xor(t, times(blockStart-step, 10)...), blockdir.OutsideOfRange},
		{"at its end, which is exclusive", xor(t, blockEnd), blockdir.OutsideOfRange},
		{"a chunk that ends before the index says", lied, blockdir.SampleOrder},
		{"samples backwards", backwards, blockdir.SampleOrder},
		{"an encoding that others cannot read", xor2, blockdir.ChunkEncoding},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, meta := write(t, []testSeries{{one, []chunks.Meta{tc.chunk}}})
			r := check(t, dir, blockdir.Options{Meta: meta})
			require.Contains(t, kinds(r), tc.want)
			require.Equal(t, 1, r.Issues[0].Count)
			require.Contains(t, r.Issues[0].String(), `{__name__="m"}`)
		})
	}

	t.Run("counts", func(t *testing.T) {
		dir, meta := write(t, someSeries(t, 10))
		meta.Stats.NumSamples++
		meta.Stats.NumSeries--
		meta.Stats.NumChunks = 0
		r := check(t, dir, blockdir.Options{Meta: meta})
		require.Equal(t, []blockdir.Kind{blockdir.StatsWrong}, kinds(r))
		require.Equal(t, 3, r.Issues[0].Count)
	})
}

// TestCheckAggregates reads chunks as downsampling writes them.
func TestCheckAggregates(t *testing.T) {
	plain := xor(t, times(blockStart, 10)...)
	last := blockStart + 9*step
	counter := xor(t, append(times(blockStart, 10), last)...)
	before := xor(t, append([]int64{blockStart - 299_000}, times(blockStart, 10)...)...) // The first raw sample of the window.
	tooEarly := xor(t, append([]int64{blockStart - 301_000}, times(blockStart, 10)...)...)
	build := func(parts ...chunks.Meta) chunks.Meta {
		var data []byte
		for _, p := range parts {
			if p.Chunk == nil {
				data = append(data, 0)
				continue
			}
			data = binary.AppendUvarint(data, uint64(len(p.Chunk.Bytes())))
			data = append(data, byte(p.Chunk.Encoding()))
			data = append(data, p.Chunk.Bytes()...)
		}
		return chunks.Meta{Chunk: rawChunk{plain.Chunk, data}, MinTime: blockStart, MaxTime: last}
	}
	five := blockdir.Options{Resolution: 300_000}
	for _, tc := range []struct {
		name  string
		chunk chunks.Meta
		want  []blockdir.Kind
	}{
		{"all", build(plain, plain, plain, plain, counter), nil},
		{"some", build(plain, plain, chunks.Meta{}, chunks.Meta{}, counter), nil},
		{"first raw sample", build(plain, plain, plain, plain, before), nil},
		{"before its window", build(plain, plain, plain, plain, tooEarly), []blockdir.Kind{blockdir.SampleOrder}},
		{"not a counter", build(plain, plain, before, plain, counter), []blockdir.Kind{blockdir.SampleOrder}},
		{"cut off", build(plain, plain), []blockdir.Kind{blockdir.ChunkUnreadable}},
		{"a time twice", build(counter, plain, plain, plain, counter), []blockdir.Kind{blockdir.SampleOrder}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, meta := write(t, []testSeries{{labels.FromStrings("__name__", "m"), []chunks.Meta{tc.chunk}}})
			five.Meta = meta
			r := check(t, dir, five)
			require.Equal(t, tc.want, kinds(r))
			if tc.want == nil {
				require.Equal(t, uint64(10), r.Samples)
			}
			five.Meta.Stats = tsdb.BlockStats{NumSeries: 1, NumChunks: 1}
			require.True(t, func() bool { r := check(t, dir, blockdir.Options{Meta: meta}); return r.Has(blockdir.ChunkEncoding) }())
		})
	}
}

type rawChunk struct {
	chunkenc.Chunk

	data []byte
}

func (c rawChunk) Bytes() []byte             { return c.data }
func (rawChunk) Encoding() chunkenc.Encoding { return 0xff }

func TestWriterAbort(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ulid.Make().String())
	w, err := blockdir.NewWriter(t.Context(), dir, []string{"__name__", "m"})
	require.NoError(t, err)
	require.NoError(t, w.Add(labels.FromStrings("__name__", "m"), []chunks.Meta{xor(t, blockStart)}))
	require.Error(t, w.Add(labels.FromStrings("__name__", "a"), []chunks.Meta{xor(t, blockStart)}), "an unknown symbol, and out of order")
	require.NoError(t, w.Abort())
	entries, err := os.ReadDir(filepath.Dir(dir))
	require.NoError(t, err)
	require.Empty(t, entries)
}
