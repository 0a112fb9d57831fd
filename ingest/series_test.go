// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"
	"unsafe"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// TestSeriesSize: one cache line, and nothing for the garbage collector to follow.
func TestSeriesSize(t *testing.T) {
	t.Parallel()
	require.Equal(t, uintptr(64), unsafe.Sizeof(Series{}))
}

// TestMetadataLeavesLabelsAlone sends a 2.0 request in which a series that the cache
// knows follows one that it does not, both with metadata: what is forwarded of the
// first must be its own labels.
func TestMetadataLeavesLabelsAlone(t *testing.T) {
	t.Parallel()
	pool := batchPool{limits: Limits{}.withDefaults(), cache: NewSeriesCache(CacheConfig{}, nil)}
	parse := func(series ...prompb.TimeSeries) *Batch {
		req := toV2(series)
		for i := range req.Timeseries {
			req.Timeseries[i].Metadata.Type = writev2.Metadata_METRIC_TYPE_COUNTER
		}
		body, err := req.Marshal()
		require.NoError(t, err)
		b := pool.get(testTenant)
		b.bodyBuf = body
		require.NoError(t, b.parse(protoV2, anyTime()))
		return b
	}
	known := seriesV1(1, 1, "__name__", "known_total", "a", "1")
	fresh := seriesV1(1, 1, "__name__", "a_fresh_one_total", "label", "with a long value")
	parse(known)
	b := parse(fresh, known)
	require.True(t, b.series[1].known)

	var got prompb.WriteRequest
	require.NoError(t, got.Unmarshal(b.appendRequest(nil, b.valid)))
	require.Equal(t, []prompb.TimeSeries{fresh, known}, got.Timeseries)
	require.Len(t, b.metadata, 2)
}
