// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// countedChunk counts how often it is opened for decoding.
type countedChunk struct {
	chunkenc.Chunk
	decodes *int
}

func (c countedChunk) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	*c.decodes++
	return c.Chunk.Iterator(it)
}

// countedCopy returns a copy of its own memory whose chunks count.
func countedCopy(copied storage.ChunkSeries, decodes *int) storage.ChunkSeries {
	var metas []chunks.Meta
	for _, m := range copied.(*bufferedSeries).chunks {
		own, err := chunkenc.FromData(m.Chunk.Encoding(), append([]byte(nil), m.Chunk.Bytes()...))
		if err != nil {
			panic(err)
		}
		m.Chunk = countedChunk{own, decodes}
		metas = append(metas, m)
	}
	return &bufferedSeries{lset: testSeries, chunks: metas}
}

// TestIdenticalChunksAreDecodedOnce: of three copies whose chunks have the same bytes, in memory of their own, one is decoded when
// samples are asked for, and none when chunks are. Where one copy differs in its last chunk, as heads do, only that is decoded more than once.
func TestIdenticalChunksAreDecodedOnce(t *testing.T) {
	const n, perChunk = 600, 120
	every := func(i int) bool { return i%perChunk == 0 }
	for name, samples := range map[string][]tsample{
		"floats":     floats(0, (n-1)*1000, 1000, func(i int64) float64 { return float64(i) }),
		"histograms": histograms(rand.New(rand.NewPCG(1, 1)), n),
	} {
		t.Run(name, func(t *testing.T) {
			whole := copyOf(t, samples, every)
			distinct := len(whole.(*bufferedSeries).chunks)
			decodes := 0
			three := func(last storage.ChunkSeries) *series {
				s, _ := merged([]storage.ChunkSeries{countedCopy(whole, &decodes), countedCopy(whole, &decodes), countedCopy(last, &decodes)}, everything())
				return s
			}
			requireSame(t, samples, drain(t, three(whole).samples(nil)))
			require.Equal(t, distinct, decodes, "samples of identical copies")

			decodes = 0
			require.Len(t, metasOf(t, three(whole).chunks(nil)), distinct)
			require.Zero(t, decodes, "chunks of identical copies")

			shorter := copyOf(t, samples[:len(samples)-1], every)
			decodes = 0
			requireSame(t, samples, drain(t, three(shorter).samples(nil)))
			require.Equal(t, distinct+1, decodes, "samples of copies whose last chunk differs")

			decodes = 0
			metasOf(t, three(shorter).chunks(nil))
			require.Equal(t, 2, decodes, "chunks of copies whose last chunk differs")
		})
	}
}
