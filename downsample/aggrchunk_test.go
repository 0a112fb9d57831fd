// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write golden files")

func TestLayoutOfAChunk(t *testing.T) {
	empty := func(e chunkenc.Encoding, header ...byte) chunkenc.Chunk {
		c, err := chunkenc.FromData(e, header)
		require.NoError(t, err)
		return c
	}
	p := Parts{
		Count:   empty(chunkenc.EncXOR, 0, 0),
		Sum:     empty(chunkenc.EncFloatHistogram, 0, 0, 0),
		Counter: empty(chunkenc.EncXOR, 0, 0),
	}
	c := p.Encode()
	require.Equal(t, "02"+"01"+"0000"+"03"+"03"+"000000"+"00"+"00"+"02"+"01"+"0000", hex.EncodeToString(c.Bytes()))
	require.EqualValues(t, 0xff, c.Encoding())

	got, err := c.Parse()
	require.NoError(t, err)
	require.Nil(t, got[Min])
	require.Nil(t, got[Max])
	require.Equal(t, chunkenc.EncFloatHistogram, got[Sum].Encoding())
	_, err = got.need(Max)
	require.ErrorIs(t, err, ErrAbsent)
	require.ErrorContains(t, err, "max")
	require.ErrorIs(t, c.Iterator(nil).Err(), errPlain)
	_, err = c.Appender()
	require.Error(t, err)
}

func TestDamageIsNamed(t *testing.T) {
	for name, c := range map[string]struct{ data, says string }{
		"nothing":            {"", "the length of count is cut off"},
		"endless length":     {"ffffffffffffffffffffffff", "the length of count is cut off or too large"},
		"beyond the end":     {"ffff7f0100", "count has 2097151 bytes and 2 are left"},
		"no encoding":        {"02", "count has 2 bytes and 0 are left"},
		"encoding":           {"02070000", "count has encoding 7"},
		"histogram of min":   {"000003030000000000", "min has encoding 3"},
		"itself":             {"02ff0000", "count has encoding 255"},
		"less than a header": {"010100", "count has 1 bytes, less than its header"},
		"behind the last":    {"000000000001", "1 bytes behind the last aggregate"},
		"huge histogram":     {"0012030001000074c4ffffffffffffffffffffffff", "sum"},
	} {
		data, err := hex.DecodeString(c.data)
		require.NoError(t, err)
		_, err = NewChunk(data).Parse()
		require.ErrorIs(t, err, ErrDamaged, name)
		require.ErrorContains(t, err, c.says, name)
		require.Zero(t, NewChunk(data).NumSamples(), name)
	}
}

func TestPool(t *testing.T) {
	pool := NewPool()
	c, err := pool.Get(Encoding, []byte{1})
	require.NoError(t, err)
	require.Equal(t, []byte{1}, c.Bytes())
	require.NoError(t, pool.Put(c))
	c, err = pool.Get(chunkenc.EncXOR, []byte{0, 0})
	require.NoError(t, err)
	require.NoError(t, pool.Put(c))
}

// goldenSeries are small and have everything: a window with one sample, a gap, a reset, a stale marker.
func goldenSeries() map[string]series {
	floats := series{
		{t: 1_000, v: 10},
		{t: 61_000, v: 12},
		{t: 290_000, v: 15},
		{t: 310_000, v: 3},
		stale(370_000),
		{t: 1_500_000, v: 4.5},
		{t: 1_560_000, v: 9},
		{t: 3_600_000, v: 1},
	}
	var hists series
	for i, count := range []float64{2, 5, 9, 12} {
		hists = append(hists, sample{t: int64(i)*150_000 + 1000, fh: &histogram.FloatHistogram{
			Schema: 1, ZeroThreshold: 0.001, ZeroCount: 1, Count: count, Sum: 10 * count,
			PositiveSpans: []histogram.Span{{Offset: -1, Length: 2}}, PositiveBuckets: []float64{1, count - 2},
		}})
	}
	return map[string]series{"floats": floats, "histograms": hists}
}

// TestGoldenBytes: what is written must not change. Whether it is Thanos' format is for the module in interop to say.
func TestGoldenBytes(t *testing.T) {
	for name, s := range goldenSeries() {
		for _, resolution := range []int64{FiveMinutes, OneHour} {
			var lines []string
			for _, c := range at(t, s.chunks(t), resolution) {
				lines = append(lines, strings.Join([]string{
					"# " + label(c.MinTime) + " to " + label(c.MaxTime), hex.EncodeToString(c.Chunk.Bytes()), "",
				}, "\n"))
			}
			got := strings.Join(lines, "")
			file := filepath.Join("testdata", name+"_"+label(resolution)+".hex")
			if *update {
				require.NoError(t, os.MkdirAll("testdata", 0o750))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "%s: see -update", file)
		}
	}
}

// FuzzParse: any bytes are a chunk or an error that says what is wrong with them, and what is a chunk can be read to its end.
func FuzzParse(f *testing.F) {
	for _, s := range goldenSeries() {
		for _, resolution := range []int64{FiveMinutes, OneHour} {
			for _, c := range at(f, s.chunks(f), resolution) {
				f.Add(c.Chunk.Bytes())
			}
		}
	}
	f.Add([]byte{0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := NewChunk(data).Parse()
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			return
		}
		require.LessOrEqual(t, len(p.Encode().Bytes()), len(data)) // Lengths may have been written in more bytes than needed.
		part := Part{
			Chunks: []chunks.Meta{{MinTime: 0, MaxTime: 1 << 40, Chunk: NewChunk(data)}}, Resolution: FiveMinutes,
			Pieces: []Piece{{Mint: 0, Maxt: 1 << 40}},
		}
		for r := ReadAverage; r <= ReadCounter; r++ {
			it := seriesOf(lset, r, []Part{part}).Iterator(nil)
			for range 10_000 {
				if it.Next() == chunkenc.ValNone {
					break
				}
			}
			_ = it.Err() // What is damaged shows here, or it reads as something.
		}
	})
}
