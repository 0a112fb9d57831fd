// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// TestMetadataOnAllMembers: what any member was told, all know, also the one that was
// not there, and each of them after a restart. What a late member knows stays.
func TestMetadataOnAllMembers(t *testing.T) {
	t.Parallel()
	c := newStoreCluster(t, 3, 3)
	late := func(joined bool) {
		c.setMembers(func(i int) (ring.State, bool) {
			if i == 2 && !joined {
				return ring.Left, false
			}
			return ring.Active, true
		})
	}
	late(false)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(c.members))
	for _, m := range c.members {
		go func() { done <- m.dist.Run(ctx) }()
	}

	now := nowMillis()
	v1 := &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{MetricFamilyName: "up", Type: prompb.MetricMetadata_GAUGE, Help: "old"},
		{MetricFamilyName: "latency", Type: prompb.MetricMetadata_SUMMARY, Help: "Latency.", Unit: "seconds"},
	}}
	require.Equal(t, 204, post(t, c.members[0].handler, typeV1, encodeV1(t, v1)).Code)
	v2 := &writev2.Request{
		Symbols: []string{"", "__name__", "requests_total", "Requests."},
		Timeseries: []writev2.TimeSeries{{
			LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: now, Value: 1}},
			Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: 3},
		}},
	}
	require.Equal(t, 204, post(t, c.members[1].handler, typeV2, encodeV2(t, v2), headerTenant, "other").Code)
	newer := Metadata{Name: "up", Type: "gauge", Help: "new"}
	c.members[2].meta.Apply(testTenant, []Metadata{newer})

	latency := Metadata{Name: "latency", Type: "summary", Help: "Latency.", Unit: "seconds"}
	requests := Metadata{Name: "requests_total", Type: "counter", Help: "Requests."}
	old := Metadata{Name: "up", Type: "gauge", Help: "old"}
	want := func(up Metadata) map[string][]Metadata {
		return map[string][]Metadata{testTenant: {latency, up}, "other": {requests}}
	}
	knows := func(i int, up Metadata) {
		t.Helper()
		require.Eventually(t, func() bool {
			return reflect.DeepEqual(want(up), c.members[i].meta.All())
		}, 30*time.Second, 10*time.Millisecond)
	}
	knows(0, old)
	knows(1, old)
	late(true)
	knows(2, newer)

	cancel()
	for i, m := range c.members {
		require.NoError(t, <-done)
		require.NoError(t, m.meta.Flush())
		again := openMeta(t, MetadataConfig{Dir: m.meta.cfg.Dir})
		require.Equal(t, m.meta.All(), again.All(), i)
	}
}
