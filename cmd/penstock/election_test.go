// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestClusterElectsOneReplica runs a pair against three nodes until one of it is dropped,
// kills the elected one, and finds every sample of the other from then on.
func TestClusterElectsOneReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("the least bounds of an election are seconds")
	}
	nodes := startCluster(t, 3, "--ingest.ha-cluster-label=cluster", "--ingest.ha-replica-label=replica")
	const every = 250 * time.Millisecond
	sent := map[string][]int64{}
	n := 0
	send := func(replicas ...string) {
		time.Sleep(every)
		for _, r := range replicas {
			n++
			now := time.Now().UnixMilli()
			sent[r] = append(sent[r], now)
			require.Equal(t, http.StatusNoContent, writeOfPair(t, nodes[n%len(nodes)], r, now))
		}
	}
	stored := func(replica string) int {
		a := query(t, nodes[0], `count_over_time(pair{replica="`+replica+`"}[10m])`, "dedup", "false")
		if len(a.Data.Result) == 0 {
			return 0
		}
		count, err := strconv.Atoi(a.Data.Result[0].Value[1].(string))
		require.NoError(t, err)
		return count
	}
	dropped := func() (sum int) {
		for _, node := range nodes {
			sum += metric(t, node, `penstock_ingest_ha_dropped_items_total{type="float"}`)
		}
		return sum
	}
	require.Eventually(t, func() bool { send("a", "b"); return dropped() > 4 }, eventually, time.Millisecond)
	elected, other := "a", "b"
	if stored("b") == len(sent["b"]) {
		elected, other = "b", "a"
	}
	require.Equal(t, len(sent[elected]), stored(elected), "the elected one is whole")
	require.Less(t, stored(other), len(sent[other]))
	require.Len(t, query(t, nodes[1], "pair").Data.Result, 1, "one series for users")

	// The elected one dies. What the other sends is there from then on, once noticed.
	died := len(sent[other])
	require.Eventually(t, func() bool {
		send(other)
		since := time.Now().UnixMilli() - sent[other][died] + every.Milliseconds()/2
		a := query(t, nodes[2], `count_over_time(pair{replica="`+other+`"}[`+strconv.FormatInt(since, 10)+`ms])`, "dedup", "false")
		return len(a.Data.Result) == 1 && a.Data.Result[0].Value[1] == strconv.Itoa(len(sent[other])-died)
	}, eventually, time.Millisecond)
}

// writeOfPair sends one sample of a series of a replica of the pair.
func writeOfPair(t *testing.T, n *testNode, replica string, ts int64) int {
	t.Helper()
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: "pair"}, {Name: "cluster", Value: "prod"}, {Name: "replica", Value: replica}},
		Samples: []prompb.Sample{{Timestamp: ts, Value: float64(ts)}},
	}}}).Marshal()
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
	require.NoError(t, err)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	return resp.StatusCode
}

// metric returns the value of one line of /metrics, 0 if it is not there.
func metric(t *testing.T, n *testNode, name string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/metrics", nil)
	require.NoError(t, err)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return int(v)
		}
	}
	return 0
}
