// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// randomSet is sorted series with chunks that nobody has to understand, one of which is longer than a frame.
func randomSet(rnd *rand.Rand) *bufferedSet {
	set := &bufferedSet{next: -1, sorted: true}
	for i := range 300 {
		lset := labels.FromStrings("__name__", "m", "i", strconv.Itoa(10_000+i), "z", strings.Repeat("z", rnd.IntN(300)))
		s := bufferedSeries{lset: lset}
		n := rnd.IntN(4)
		if i == 100 {
			n = 3*frameBytes/5000 + 1
		}
		for c := range n {
			data := make([]byte, 3+rnd.IntN(200))
			if i == 100 {
				data = make([]byte, 5000)
			}
			for b := range data {
				data[b] = byte(rnd.Uint32())
			}
			chunk, err := chunkenc.FromData([]chunkenc.Encoding{chunkenc.EncXOR, chunkenc.EncHistogram, chunkenc.EncFloatHistogram, chunkenc.EncXOR2}[rnd.IntN(4)], data)
			if err != nil {
				panic(err)
			}
			s.chunks = append(s.chunks, chunks.Meta{Chunk: chunk, MinTime: rnd.Int64N(2000) - 1000, MaxTime: int64(c) << 40})
		}
		set.series = append(set.series, s)
	}
	return set
}

// requireSameSet wants the series that have chunks.
func requireSameSet(t *testing.T, want, got *bufferedSet) {
	t.Helper()
	n := 0
	for _, s := range want.series {
		if len(s.chunks) == 0 {
			continue
		}
		g := got.series[n]
		n++
		require.True(t, labels.Equal(s.lset, g.lset), "%s is not %s", g.lset, s.lset)
		require.Len(t, g.chunks, len(s.chunks))
		for i, c := range s.chunks {
			require.Equal(t, c.MinTime, g.chunks[i].MinTime)
			require.Equal(t, c.MaxTime, g.chunks[i].MaxTime)
			require.True(t, sameBytes(c.Chunk, g.chunks[i].Chunk))
		}
	}
	require.Len(t, got.series, n)
}

// TestFramesArePrometheus: Prometheus' own code reads what is written here, and is read.
func TestFramesArePrometheus(t *testing.T) {
	for seed := range uint64(10) {
		want := randomSet(rand.New(rand.NewPCG(seed, 1)))
		var ours bytes.Buffer
		w := &frameWriter{}
		w.reset(&ours)
		require.NoError(t, w.writeAll(want))

		reader := remote.NewChunkedReader(bytes.NewReader(ours.Bytes()), frameBytesMax, nil)
		got := &bufferedSet{sorted: true}
		b := labels.NewScratchBuilder(0)
		for range w.frames {
			var frame prompb.ChunkedReadResponse
			require.NoError(t, reader.NextProto(&frame))
			for _, s := range frame.ChunkedSeries {
				var found []chunks.Meta
				for _, c := range s.Chunks {
					chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data)
					require.NoError(t, err)
					found = append(found, chunks.Meta{Chunk: chunk, MinTime: c.MinTimeMs, MaxTime: c.MaxTimeMs})
				}
				require.NoError(t, got.add(s.ToLabels(&b, nil), found))
			}
		}
		requireSameSet(t, want, got)
		require.Greater(t, w.frames, 3, "the long one alone")

		read, err := readFrames(&ours, true)
		require.NoError(t, err)
		require.Equal(t, w.frames, read.frames)
		requireSameSet(t, want, read)

		want.next = -1
		var theirs bytes.Buffer
		_, err = remote.StreamChunkedReadResponses(remote.NewChunkedWriter(&theirs, nil), 0, want, nil, frameBytes, &sync.Pool{})
		require.NoError(t, err)
		read, err = readFrames(&theirs, true)
		require.NoError(t, err)
		requireSameSet(t, want, read)
	}
}

// TestFramesOfErrors: an error of the set, a chunk that was not read.
func TestFramesOfErrors(t *testing.T) {
	w := &frameWriter{}
	var out bytes.Buffer
	w.reset(&out)
	require.ErrorContains(t, w.writeAll(&bufferedSet{next: -1, series: []bufferedSeries{{lset: lset("a"), chunks: []chunks.Meta{{}}}}}), "was not read")
	w.reset(&out)
	require.ErrorIs(t, w.writeAll(storage.ErrChunkSeriesSet(errLocalNotReady)), errLocalNotReady)
	require.Zero(t, out.Len())
}

// FuzzFrames: whatever arrives is an answer or an error.
func FuzzFrames(f *testing.F) {
	var out bytes.Buffer
	w := &frameWriter{}
	w.reset(&out)
	set := randomSet(rand.New(rand.NewPCG(1, 1)))
	set.series = set.series[:3]
	if err := w.writeAll(set); err != nil {
		f.Fatal(err)
	}
	f.Add(out.Bytes()[frameHead-1:])
	f.Add([]byte{10, 2, 10, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		d := frameDecoder{set: &bufferedSet{next: -1, sorted: true}}
		if d.decode(message) != nil {
			return
		}
		var frame prompb.ChunkedReadResponse
		if frame.Unmarshal(message) != nil {
			return // It is stricter about what nobody reads.
		}
		n := 0
		for _, s := range frame.ChunkedSeries {
			n += len(s.Chunks)
		}
		for _, s := range d.set.series {
			n -= len(s.chunks)
		}
		if n != 0 {
			t.Fatalf("%d chunks more or less", n)
		}
	})
}
