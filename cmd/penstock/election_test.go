// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// testPair is two servers that write one series each, in turn to all nodes.
type testPair struct {
	t     *testing.T
	nodes []*testNode
	sent  map[string][]pairSample
}

type pairSample struct {
	at   int64
	node *testNode
}

const pairInterval = 250 * time.Millisecond

// send lets an interval pass and sends a sample of each of the replicas.
func (p *testPair) send(replicas ...string) {
	time.Sleep(pairInterval)
	for _, r := range replicas {
		n := len(p.sent[r])
		s := pairSample{time.Now().UnixMilli(), p.nodes[n%len(p.nodes)]}
		p.sent[r] = append(p.sent[r], s)
		p.deliver(r, s, 1+n/2%2) // Half of the answers are lost.
	}
}

func (p *testPair) deliver(replica string, s pairSample, times int) {
	p.t.Helper()
	raw, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels:  []prompb.Label{{Name: "__name__", Value: "pair"}, {Name: "cluster", Value: "prod"}, {Name: "replica", Value: replica}},
		Samples: []prompb.Sample{{Timestamp: s.at, Value: 1}},
	}}}).Marshal()
	require.NoError(p.t, err)
	for attempt := range times {
		require.Equal(p.t, http.StatusNoContent, deliver(p.t, s.node, snappy.Encode(nil, raw), attempt))
	}
}

// stored returns the timestamps that a query of everything finds.
func (p *testPair) stored(replica string) map[int64]bool {
	p.t.Helper()
	a := query(p.t, p.nodes[0], `pair{replica="`+replica+`"}[10m]`, "dedup", "false")
	require.Equal(p.t, http.StatusOK, a.code, a.Error)
	times := map[int64]bool{}
	for _, r := range a.Data.Result {
		for _, v := range r.Values {
			times[int64(v[0].(float64)*1000+0.5)] = true
		}
	}
	return times
}

// requireBooked waits until the ledgers say what a query of everything finds.
func (p *testPair) requireBooked() {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		status, err := fetchSenders(p.t.Context(), p.nodes[0].url(), defaultTenant, true)
		require.NoError(p.t, err)
		require.Len(p.t, status.Senders, 2)
		equal := true
		for _, s := range status.Senders {
			c := s.Samples
			require.Equal(p.t, c.Received, c.Accepted)
			require.GreaterOrEqual(p.t, c.Deduplicated, c.Restored)
			equal = equal && c.Distinct == uint64(len(p.stored(s.Replica)))
		}
		return equal
	}, eventually, 50*time.Millisecond)
}

func (p *testPair) dropped() (sum int) {
	for _, node := range p.nodes {
		sum += metric(p.t, node, `penstock_ingest_ha_dropped_items_total{type="float"}`)
	}
	return sum
}

// TestClusterElectsOneReplica runs a pair against four nodes until one of it is dropped.
// Then a node is drained and another one stopped, and what they had dropped last is on the
// others. Then the elected server dies, and every sample of the other is found from then on.
func TestClusterElectsOneReplica(t *testing.T) {
	if testing.Short() {
		t.Skip("the least bounds of an election are seconds")
	}
	nodes := startCluster(t, 4, "--ingest.ha-cluster-label=cluster", "--ingest.ha-replica-label=replica")
	p := &testPair{t: t, nodes: nodes, sent: map[string][]pairSample{}}
	require.Eventually(t, func() bool { p.send("a", "b"); return p.dropped() > 12 }, eventually, time.Millisecond)
	elected, other := "a", "b"
	if len(p.stored("b")) == len(p.sent["b"]) {
		elected, other = "b", "a"
	}
	require.Len(t, p.stored(elected), len(p.sent[elected]), "the elected one is whole")
	require.Less(t, len(p.stored(other)), len(p.sent[other]))
	require.Len(t, query(t, nodes[1], "pair").Data.Result, 1, "one series for users")
	p.requireBooked()

	require.NoError(t, runDrain(t.Context(), io.Discard, "http://"+nodes[3].srv.internal.addr(), false))
	p.requireLastStored(elected, other, nodes[3])
	p.nodes = nodes[:3]
	for range 6 {
		p.send(elected, other)
	}
	nodes[2].stop(t)
	p.requireLastStored(elected, other, nodes[2])

	p.nodes = nodes[:2]
	died := len(p.sent[other])
	require.Eventually(t, func() bool {
		p.send(other)
		stored := p.stored(other)
		return !slices.ContainsFunc(p.sent[other][died:], func(s pairSample) bool { return !stored[s.at] })
	}, eventually, time.Millisecond)
}

// requireLastStored looks for the samples that a node dropped which has left: nobody can
// have covered the last 10 s, so that it still had them.
func (p *testPair) requireLastStored(elected, other string, left *testNode) {
	p.t.Helper()
	newest := p.sent[elected][len(p.sent[elected])-1].at
	stored, last := p.stored(other), 0
	for _, s := range p.sent[other] {
		if s.at+10_000 > newest && s.node == left {
			require.True(p.t, stored[s.at], "sample of %d", s.at)
			last++
		}
	}
	require.Positive(p.t, last)
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
	for line := range bytes.Lines(text) {
		if value, ok := strings.CutPrefix(string(line), name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			return int(v)
		}
	}
	return 0
}
