// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ingest"
)

// testSender is one Prometheus of a pair: it makes requests and delivers them.
type testSender struct {
	replica string
	next    int64 // timestamp of the next sample
	metric  int
}

// sample is a series with one sample that no other request has.
func (s *testSender) sample() prompb.TimeSeries {
	s.next++
	s.metric = (s.metric + 1) % 40
	return s.series(s.metric, s.next, 1)
}

func (s *testSender) series(metric int, ts int64, value float64) prompb.TimeSeries {
	return prompb.TimeSeries{
		Labels: []prompb.Label{
			{Name: "__name__", Value: "delivered"},
			{Name: "cluster", Value: "prod"},
			{Name: "metric", Value: strconv.Itoa(metric)},
			{Name: "replica", Value: s.replica},
		},
		Samples: []prompb.Sample{{Timestamp: ts, Value: value}},
	}
}

// request has as many good samples, and the others besides.
func (s *testSender) request(t *testing.T, good int, others ...prompb.TimeSeries) []byte {
	t.Helper()
	req := prompb.WriteRequest{Timeseries: others}
	for range good {
		req.Timeseries = append(req.Timeseries, s.sample())
	}
	raw, err := req.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func deliver(t *testing.T, n *testNode, body []byte, attempt int) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/write", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	if attempt > 0 {
		req.Header.Set("Retry-Attempt", strconv.Itoa(attempt))
	}
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestLedgerEqualsReadBack delivers what two senders have through all members: at
// once, again after a 503, again although it was answered, and with parts that are
// refused. What the ledger calls distinct is what a query of everything finds.
func TestLedgerEqualsReadBack(t *testing.T) {
	nodes := startCluster(t, 3)
	start := time.Now().Add(-10 * time.Minute).UnixMilli()
	a, b := &testSender{replica: "a", next: start}, &testSender{replica: "b", next: start}

	// The counts of a member that restarts begin anew, so that outages come first.
	nodes[1].stop(t)
	nodes[2].stop(t)
	waiting := a.request(t, 30)
	require.Equal(t, http.StatusServiceUnavailable, deliver(t, nodes[0], waiting, 0))
	nodes[1].start(t)
	waitMembers(t, nodes[:2], 2)
	require.Equal(t, http.StatusNoContent, deliver(t, nodes[1], waiting, 1))
	require.Equal(t, http.StatusNoContent, deliver(t, nodes[0], b.request(t, 20), 0))
	nodes[2].start(t)
	waitMembers(t, nodes, 3)

	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	anywhere := func() *testNode { return nodes[rng.IntN(len(nodes))] }
	for range 20 {
		for _, s := range []*testSender{a, b} {
			body := s.request(t, 10)
			for again := range 1 + rng.IntN(3) { // The answer was lost.
				require.Equal(t, http.StatusNoContent, deliver(t, anywhere(), body, again))
			}
		}
	}
	future := time.Now().Add(time.Hour).UnixMilli()
	refused := b.request(t, 5, b.series(1, future, 1), b.series(b.metric, b.next, 2))
	require.Equal(t, http.StatusBadRequest, deliver(t, nodes[0], refused, 0))
	require.Equal(t, http.StatusBadRequest, deliver(t, nodes[2], refused, 0), "a proxy delivers again what was answered")

	stored := readBack(t, nodes[1])
	require.Equal(t, map[string]uint64{"a": 30 + 20*10, "b": 20 + 20*10 + 5}, stored, "seed %d", seed)
	var status *ingest.LedgerStatus
	require.Eventually(t, func() bool {
		var err error
		status, err = fetchSenders(t.Context(), nodes[1].url(), defaultTenant, true)
		require.NoError(t, err)
		require.Len(t, status.Senders, 2)
		return status.Senders[0].Samples.Distinct == stored["a"] && status.Senders[1].Samples.Distinct == stored["b"]
	}, eventually, 50*time.Millisecond, "seed %d", seed)
	checkSenders(t, nodes, status)
}

// readBack counts every stored sample of each replica.
func readBack(t *testing.T, n *testNode) map[string]uint64 {
	t.Helper()
	answer := query(t, n, `sum by (replica) (count_over_time({__name__=~".+"}[1h]))`, "dedup", "false")
	require.Equal(t, http.StatusOK, answer.code, answer.Error)
	found := map[string]uint64{}
	for _, r := range answer.Data.Result {
		n, err := strconv.ParseUint(r.Value[1].(string), 10, 64)
		require.NoError(t, err)
		found[r.Metric["replica"]] = n
	}
	return found
}

// checkSenders checks what else TestLedgerEqualsReadBack left in the ledgers.
func checkSenders(t *testing.T, nodes []*testNode, status *ingest.LedgerStatus) {
	t.Helper()
	for _, s := range status.Senders {
		require.Equal(t, s.Samples.Received, s.Samples.Accepted+s.Samples.Rejected+s.Samples.Unavailable)
	}
	a, b := status.Senders[0], status.Senders[1]
	require.Equal(t, "prod/a", senderTitle(&a))
	require.EqualValues(t, 30, a.Samples.Unavailable)
	require.NotZero(t, a.Requests.Retried)
	require.EqualValues(t, 4, b.Samples.Rejected)
	require.Equal(t, map[ingest.Reason]uint64{ingest.ReasonFuture: 2, ingest.ReasonDuplicate: 2}, b.Reasons)
	require.GreaterOrEqual(t, b.Samples.Hinted, uint64(20), "one member was down")
	require.InDelta(t, 600, b.LagSeconds, 120)

	var out strings.Builder
	require.NoError(t, run(t.Context(), []string{"senders", "--url=" + nodes[0].url()}, &out))
	require.Contains(t, out.String(), "received by node-0, node-1, node-2")
	require.Contains(t, out.String(), "prod/b rejected: duplicate_timestamp=2 too_far_in_future=2")
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"senders", "--url=" + nodes[0].url(), "--no-cluster", "--json"}, &out))
	require.Contains(t, out.String(), `"node-0"`)
	require.NotContains(t, out.String(), `"node-1"`)

	resp, err := (&http.Client{}).Get(nodes[0].url() + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	metrics, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(metrics), `penstock_sender_unavailable_samples_total{sender_address="",sender_cluster="prod",sender_replica="a",tenant="default-tenant"} 30`)
}

// The labels of the election name senders too; without it they are what most senders have.
func TestSenderLabels(t *testing.T) {
	for _, c := range []struct {
		election         electionConfig
		replicaLabels    []string
		cluster, replica string
	}{
		{electionConfig{}, []string{"rep", "other"}, "cluster", "rep"},
		{electionConfig{}, nil, "cluster", "prometheus_replica"},
		{electionConfig{}, []string{"cluster", "other"}, "cluster", "other"},
		{electionConfig{"c", "r"}, []string{"rep", "r"}, "c", "r"},
	} {
		cfg := config{election: c.election, query: queryConfig{replicaLabels: c.replicaLabels}}
		require.NoError(t, cfg.checkElection())
		cfg.nameSenders()
		require.Equal(t, c.cluster, cfg.senders.clusterLabel)
		require.Equal(t, c.replica, cfg.senders.replicaLabel)
	}
}

func TestSenderTitlesCannotBreakTheTable(t *testing.T) {
	for _, c := range []struct {
		sender ingest.SenderStatus
		want   string
	}{
		{ingest.SenderStatus{Cluster: "prod", Replica: "a"}, "prod/a"},
		{ingest.SenderStatus{Address: "10.0.0.1"}, "10.0.0.1"},
		{ingest.SenderStatus{Cluster: "x\ty", Replica: "a b"}, `"x\ty/a b"`},
	} {
		require.Equal(t, c.want, senderTitle(&c.sender))
	}
}
