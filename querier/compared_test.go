// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"
)

// chunkAt is a chunk of one sample.
func chunkAt(t *testing.T, at int64, value float64) chunks.Meta {
	t.Helper()
	c := chunkenc.NewXORChunk()
	app, err := c.Appender()
	require.NoError(t, err)
	app.Append(0, at, value)
	return chunks.Meta{Chunk: c, MinTime: at, MaxTime: at}
}

// localSeries is a series of this member that counts how often it is read.
type localSeries struct {
	storage.ChunkSeries
	reads *int
}

func (s localSeries) Iterator(it chunks.Iterator) chunks.Iterator {
	*s.reads++
	return s.ChunkSeries.Iterator(it)
}

type localSeriesSet struct {
	storage.ChunkSeriesSet
	reads int
}

func (s *localSeriesSet) At() storage.ChunkSeries {
	return localSeries{s.ChunkSeriesSet.At(), &s.reads}
}

// seriesOf makes a set of so many series with the same chunks.
func seriesOf(n int, all ...chunks.Meta) *bufferedSet {
	set := &bufferedSet{next: -1}
	for i := range n {
		set.series = append(set.series, bufferedSeries{lset: labels.FromStrings("__name__", "m", "i", fmt.Sprintf("%04d", i)), chunks: all})
	}
	return set
}

// TestEqualCopiesAreOne: what another member has as well is left out, and nothing else is.
func TestEqualCopiesAreOne(t *testing.T) {
	a, b := chunkAt(t, 1, 1), chunkAt(t, 2, 2)
	local := func(all ...chunks.Meta) storage.ChunkSeriesSet {
		return boundedChunks{&localSeriesSet{ChunkSeriesSet: seriesOf(1, all...)}, 2}
	}
	for _, c := range []struct {
		name   string
		peer   []chunks.Meta
		other  storage.ChunkSeriesSet
		copies int
	}{
		{"this member has the same", []chunks.Meta{a, b}, local(chunkAt(t, 1, 1), chunkAt(t, 2, 2)), 1},
		{"it has less", []chunks.Meta{a, b}, local(a), 2},
		{"it has more", []chunks.Meta{a}, local(a, b), 2},
		{"it has another value", []chunks.Meta{a, b}, local(a, chunkAt(t, 2, 3)), 2},
		{"it has another time", []chunks.Meta{a, b}, local(a, chunkAt(t, 3, 2)), 2},
		{"it has none", []chunks.Meta{a}, local(), 2},
		{"another peer has the same", []chunks.Meta{a, b}, seriesOf(1, a, b), 1},
		{"another peer has more", []chunks.Meta{a}, seriesOf(1, a, b), 2},
		{"what is not at hand is not read for it", []chunks.Meta{a}, &localSeriesSet{ChunkSeriesSet: seriesOf(1, a)}, 2},
		{"where holders are named nobody is left out", []chunks.Meta{a}, namedSet{seriesOf(1, a), "b"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			u := newUnorderedSet([]storage.ChunkSeriesSet{seriesOf(1, c.peer...), c.other}, &mergeEnv{})
			require.True(t, u.Next())
			require.Len(t, u.At().copies, c.copies)
			require.False(t, u.Next())
			require.NoError(t, u.Err())
		})
	}
}

// TestCopiesThatDifferAreReadOnce: a member that has other chunks than the others is not compared with them for long.
func TestCopiesThatDifferAreReadOnce(t *testing.T) {
	const n = 1000
	set := &localSeriesSet{ChunkSeriesSet: seriesOf(n, chunkAt(t, 1, 1))}
	u := newUnorderedSet([]storage.ChunkSeriesSet{seriesOf(n, chunkAt(t, 1, 2)), boundedChunks{set, 1}}, &mergeEnv{})
	for range n {
		require.True(t, u.Next())
		require.Len(t, u.At().copies, 2)
	}
	require.False(t, u.Next())
	require.Equal(t, differBegin+1, set.reads)
}
