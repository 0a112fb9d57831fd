// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// TestMergeChunks: copies that differ are merged by the one rule, in any order.
func TestMergeChunks(t *testing.T) {
	q := New(Config{}, nil, nil)
	whole := func(int) bool { return false }
	a := copyOf(t, []tsample{{t: 1, f: 10}, {t: 2, f: 20}}, whole)
	b := copyOf(t, []tsample{{t: 2, f: 25}, {t: 3, f: 30}}, whole)
	for _, copies := range [][]storage.ChunkSeries{{a, b}, {b, a}} {
		merged := q.MergeChunks(copies...)
		require.Equal(t, testSeries, merged.Labels())
		var got []tsample
		it := merged.Iterator(nil)
		for it.Next() {
			samples := it.At().Chunk.Iterator(nil)
			for samples.Next() == chunkenc.ValFloat {
				ts, v := samples.At()
				got = append(got, tsample{t: ts, f: v})
			}
		}
		require.NoError(t, it.Err())
		requireSame(t, []tsample{{t: 1, f: 10}, {t: 2, f: 25}, {t: 3, f: 30}}, got)
	}
	require.Same(t, a, q.MergeChunks(a), "one copy is passed on as it is")
	require.Equal(t, 2.0, testutil.ToFloat64(q.metrics.conflicts))
}
