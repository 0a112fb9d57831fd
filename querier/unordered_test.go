// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// read returns all of a Select as text, and the labels in the order in which they came.
func (c *cluster) read(t *testing.T, sorted bool, hints *storage.SelectHints) (text []string, order []labels.Labels) {
	t.Helper()
	q, err := c.Querier.Querier(0, math.MaxInt64)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	set := q.Select(tenantCtx(), sorted, hints, all())
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		it = s.Iterator(it)
		line := s.Labels().String()
		for it.Next() != chunkenc.ValNone {
			at, v := it.At()
			line += fmt.Sprint(" ", at, "=", v)
		}
		require.NoError(t, it.Err())
		text, order = append(text, line), append(order, s.Labels())
	}
	require.NoError(t, set.Err())
	slices.Sort(text)
	return text, order
}

// TestUnorderedIsTheSame: whoever wants no order gets the series and samples of those who do, each once, in the same order: the engine shows it
// in its answers, and they must not depend on who is asked and who is up.
func TestUnorderedIsTheSame(t *testing.T) {
	rnd := seeded(t)
	c := newCluster(t, 3, 3)
	for i := range 200 {
		l := labels.FromStrings("__name__", "m", "i", fmt.Sprint(rnd.IntN(1000)), "j", fmt.Sprint(i))
		for _, s := range c.stores {
			if rnd.IntN(3) > 0 {
				s.write(t, l, floats(0, int64(rnd.IntN(5000)), 1000, func(n int64) float64 { return float64(n * int64(i)) })...)
			}
		}
	}
	want, sorted := c.read(t, true, nil)
	require.True(t, slices.IsSortedFunc(sorted, labels.Compare))
	got, unsorted := c.read(t, false, nil)
	require.Equal(t, want, got)
	require.Equal(t, sorted, unsorted)
	_, first := c.read(t, false, &storage.SelectHints{End: math.MaxInt64, Limit: 7})
	require.Equal(t, sorted[:7], first, "a limit is on the first")
}

// TestUnorderedFails: a set that fails makes no short answer.
func TestUnorderedFails(t *testing.T) {
	u := newUnorderedSet([]storage.ChunkSeriesSet{
		&bufferedSet{next: -1, series: []bufferedSeries{{lset: lset("a")}}},
		storage.ErrChunkSeriesSet(errBucket),
	}, &mergeEnv{})
	require.False(t, u.Next())
	require.ErrorIs(t, u.Err(), errBucket)
}
