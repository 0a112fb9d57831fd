// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

// otlpRequest has count counters of one service, and a histogram with exponential buckets.
func otlpRequest(t *testing.T, count int, at time.Time, value int64) []byte {
	t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "cart")
	rm.Resource().Attributes().PutStr("deployment.environment.name", "test")
	ms := rm.ScopeMetrics().AppendEmpty().Metrics()
	m := ms.AppendEmpty()
	m.SetName("cart.items")
	m.SetEmptySum().SetIsMonotonic(true)
	m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i := range count {
		p := m.Sum().DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(at))
		p.SetIntValue(value)
		p.Attributes().PutInt("shelf", int64(i))
	}
	m = ms.AppendEmpty()
	m.SetName("cart.latency")
	m.SetUnit("s")
	m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := m.ExponentialHistogram().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetCount(3)
	p.SetSum(4.5)
	p.Positive().BucketCounts().FromRaw([]uint64{1, 2})
	body, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	require.NoError(t, err)
	return body
}

func sendOTLP(t *testing.T, n *testNode, body []byte) (int, http.Header) {
	t.Helper()
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(body)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/otlp/v1/metrics", &zipped)
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Logf("OTLP answered %s: %q", resp.Status, answer)
	} else {
		require.Empty(t, answer, "nothing may be refused")
	}
	return resp.StatusCode, resp.Header
}

// TestClusterTakesOTLP sends OTLP to one member of three, asks the others, and goes on with
// one and two of them gone.
func TestClusterTakesOTLP(t *testing.T) {
	const count = 100
	nodes := startCluster(t, 3)
	now := time.Now()
	status, _ := sendOTLP(t, nodes[0], otlpRequest(t, count, now.Add(-time.Second), 1))
	require.Equal(t, http.StatusOK, status)
	for _, n := range nodes {
		require.Len(t, query(t, n, `cart_items_total{job="cart"} == 1`).Data.Result, count)
		require.Equal(t, "1.5", query(t, n, "histogram_avg(cart_latency_seconds)").Data.Result[0].Value[1])
		require.Equal(t, "test", query(t, n, "target_info").Data.Result[0].Metric["deployment_environment_name"])
	}

	nodes[2].stop(t)
	status, _ = sendOTLP(t, nodes[1], otlpRequest(t, count, now, 2))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, strconv.Itoa(count), query(t, nodes[0], "count(cart_items_total == 2)").Data.Result[0].Value[1])

	nodes[1].stop(t)
	status, header := sendOTLP(t, nodes[0], otlpRequest(t, count, now.Add(time.Second), 3))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, header.Get("Retry-After"))
}

// TestOTLPConfigFile promotes a resource attribute to a label.
func TestOTLPConfigFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "otlp.yml")
	require.NoError(t, os.WriteFile(file, []byte("promote_resource_attributes: [deployment.environment.name]\ntranslation_strategy: NoUTF8EscapingWithSuffixes\n"), 0o600))
	n := &testNode{args: []string{
		"--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
		"--otlp.config-file=" + file,
	}}
	n.start(t)
	status, _ := sendOTLP(t, n, otlpRequest(t, 1, time.Now(), 1))
	require.Equal(t, http.StatusOK, status)
	a := query(t, n, `{"cart.items_total", "deployment.environment.name"="test"}`)
	require.Len(t, a.Data.Result, 1, a.Error)
}
