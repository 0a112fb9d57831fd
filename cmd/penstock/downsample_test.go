// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestMembersDownsample: what is long enough is downsampled, in blocks that are shorter than others by as much as the first ones
// are, and queries read it when they may.
func TestMembersDownsample(t *testing.T) {
	n := loneNode(t, "--storage.block-duration=10s", "--compact.deletion-delay=1m")
	const series, every = 3, 2 * time.Second
	length := 24 * 10 * time.Second // The third level of compaction.
	start := time.Now().Add(-3 * length).Truncate(length)
	for at := start; at.Before(start.Add(length)); at = at.Add(every) {
		require.Equal(t, http.StatusNoContent, writeSeries(t, n, series, at, 1))
	}
	require.NoError(t, n.srv.store.FlushHead(t.Context(), defaultTenant))
	_, err := n.srv.uploader.Sync(t.Context())
	require.NoError(t, err)

	var made *bucket.Listed
	require.Eventually(t, func() bool {
		live, _ := bucketBlocksOf(t, n)
		for _, b := range live {
			if b.Meta.Thanos.Downsample.Resolution == downsample.FiveMinutes {
				made = &b
			}
		}
		return made != nil
	}, eventually, 50*time.Millisecond)
	require.EqualValues(t, series, made.Meta.Stats.NumSeries)
	require.Equal(t, "compactor", made.Meta.Thanos.Source)
	require.LessOrEqual(t, made.Meta.Stats.NumSamples, uint64(2*series), "a window or two")

	require.NoError(t, n.srv.blocks.Sync(t.Context()))
	for _, resolution := range []string{"0s", "5m"} {
		a := query(t, n, "sum(count_over_time(test_metric[10m]))", "time", fmt.Sprint(start.Add(length).Unix()), paramResolution, resolution)
		require.Equal(t, http.StatusOK, a.code, a.Error)
		require.Len(t, a.Data.Result, 1)
		require.Equal(t, fmt.Sprint(int(series*length/every)), a.Data.Result[0].Value[1], resolution)
	}
}
