// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/refill"
)

var refillTenants = []string{"default-tenant", "team-b"}

// gate is a refill's source that can be held.
type gate struct {
	refill.Source
	// passes is how many reads go through before all wait for open.
	passes int64
	open   chan struct{}
	reads  *atomic.Int64
}

func newGate(passes int64) *gate {
	return &gate{passes: passes, open: make(chan struct{}), reads: new(atomic.Int64)}
}

func (g *gate) wrap(s refill.Source) refill.Source {
	return &gate{Source: s, passes: g.passes, open: g.open, reads: g.reads}
}

func (g *gate) Read(ctx context.Context, q refill.Query) (refill.Reading, error) {
	if g.reads.Add(1) > g.passes {
		select {
		case <-g.open:
		case <-ctx.Done():
			return refill.Reading{}, ctx.Err()
		}
	}
	return g.Source.Read(ctx, q)
}

// writeMixed sends floats, a stale marker, histograms of both kinds and samples out of order, at
// minutes from now, to a tenant by way of a node.
func writeMixed(t *testing.T, n *testNode, tenant string, now time.Time, minutes ...int) {
	t.Helper()
	for _, minute := range minutes {
		at := now.Add(time.Duration(minute) * time.Minute).UnixMilli()
		var req prompb.WriteRequest
		for i := range 60 {
			ts := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: "mixed"}, {Name: "i", Value: fmt.Sprint(i)}, {Name: "of", Value: tenant}}}
			switch {
			case i%5 == 1:
				ts.Histograms = []prompb.Histogram{prompb.FromIntHistogram(at, tsdbutil.GenerateTestHistogram(int64(minute+500)))}
			case i%5 == 2:
				ts.Histograms = []prompb.Histogram{prompb.FromFloatHistogram(at, tsdbutil.GenerateTestFloatHistogram(int64(minute+500)))}
			case i%5 == 3 && minute%3 == 0:
				ts.Samples = []prompb.Sample{{Timestamp: at, Value: math.Float64frombits(value.StaleNaN)}}
			default:
				ts.Samples = []prompb.Sample{{Timestamp: at, Value: float64(minute) + float64(i)/64}}
			}
			req.Timeseries = append(req.Timeseries, ts)
		}
		raw, err := req.Marshal()
		require.NoError(t, err)
		hreq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
		require.NoError(t, err)
		hreq.Header.Set("Content-Type", "application/x-protobuf")
		hreq.Header.Set("Content-Encoding", "snappy")
		hreq.Header.Set("X-Scope-OrgID", tenant)
		resp, err := (&http.Client{}).Do(hreq)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
	}
}

// everything is each sample that a querier has, as text, by series.
func everything(ctx context.Context, open func(mint, maxt int64) (storage.Querier, error)) (map[string][]string, error) {
	q, err := open(math.MinInt64/2, math.MaxInt64/2)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	out := map[string][]string{}
	set := q.Select(ctx, true, nil, labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".*"))
	for set.Next() {
		s := set.At()
		it := s.Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			name := s.Labels().String()
			out[name] = append(out[name], sampleText(it, kind))
		}
		if it.Err() != nil {
			return nil, it.Err()
		}
	}
	return out, set.Err()
}

func sampleText(it chunkenc.Iterator, kind chunkenc.ValueType) string {
	switch kind {
	case chunkenc.ValHistogram:
		at, h := it.AtHistogram(nil)
		h.CounterResetHint = histogram.UnknownCounterReset
		return fmt.Sprint(at, h)
	case chunkenc.ValFloatHistogram:
		at, h := it.AtFloatHistogram(nil)
		h.CounterResetHint = histogram.UnknownCounterReset
		return fmt.Sprint(at, h)
	default:
		at, v := it.At()
		return fmt.Sprintf("%d %x", at, math.Float64bits(v))
	}
}

// clusterHas is what the cluster answers by way of a node, or why it does not.
func clusterHas(n *testNode) (map[string][]string, error) {
	all := map[string][]string{}
	for _, tenant := range refillTenants {
		got, err := everything(querier.WithTenant(context.Background(), tenant), n.srv.querier.Querier)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, got)
	}
	return all, nil
}

// nodeHas is what is on one node.
func nodeHas(t *testing.T, n *testNode) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, tenant := range refillTenants {
		got, err := everything(context.Background(), func(mint, maxt int64) (storage.Querier, error) { return n.srv.store.Querier(tenant, mint, maxt) })
		require.NoError(t, err)
		maps.Copy(all, got)
	}
	return all
}

func requireClusterHas(t *testing.T, want map[string][]string, nodes ...*testNode) {
	t.Helper()
	for _, n := range nodes {
		got, err := clusterHas(n)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func wipe(t *testing.T, n *testNode) {
	t.Helper()
	for _, arg := range n.args {
		if dir, ok := strings.CutPrefix(arg, "--storage.path="); ok {
			require.NoError(t, os.RemoveAll(dir))
			require.NoDirExists(t, filepath.Join(dir, "tsdb"))
			return
		}
	}
	t.Fatal("no data directory")
}

// whole tells whether all nodes see a member as whole or not.
func sees(nodes []*testNode, name string, whole bool) func() bool {
	return func() bool {
		for _, n := range nodes {
			if m, ok := n.srv.members.View().Member(name); !ok || m.Whole() != whole || !m.Alive {
				return false
			}
		}
		return true
	}
}

// waitWhole waits until all nodes see the i-th as whole. A refill syncs dozens of small blocks.
func waitWhole(t *testing.T, nodes []*testNode, i int) {
	t.Helper()
	whole := sees(nodes, fmt.Sprintf("node-%d", i), true)
	for deadline := time.Now().Add(4 * eventually); !whole(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("node-%d is not whole: %+v", i, refillStatus(t, nodes[i]))
		}
	}
}

func noHints(nodes []*testNode) func() bool {
	return func() bool {
		for _, n := range nodes {
			if len(n.srv.hints.Pending()) > 0 {
				return false
			}
		}
		return true
	}
}

func refillStatus(t *testing.T, n *testNode) refill.Status {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/api/v1/status/refill", nil)
	require.NoError(t, err)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct{ Data refill.Status }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer.Data
}

// TestReplacedDiskIsRefilled: a member that comes back with an empty disk counts as missing from its first moment, is
// given everything back, and may then be relied on.
func TestReplacedDiskIsRefilled(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	now := time.Now()
	for _, tenant := range refillTenants {
		writeMixed(t, nodes[0], tenant, now, -100, -90, -80, -60, -30, -20, -10)
		writeMixed(t, nodes[1], tenant, now, -70, -25) // Out of order.
	}
	// Acknowledged by nodes 1 and 2 alone; the hint for node 0 is on the disk of node 2.
	nodes[0].stop(t)
	for _, tenant := range refillTenants {
		writeMixed(t, nodes[2], tenant, now, -9, -8)
	}
	want, err := clusterHas(nodes[1])
	require.NoError(t, err)
	require.Len(t, want, 120)
	nodes[2].stop(t)
	wipe(t, nodes[2])
	nodes[0].start(t)
	held := newGate(3)
	nodes[2].refillSource = held.wrap
	nodes[2].start(t)
	waitMembers(t, nodes, 3)

	// It is not relied on: whoever else is missing, answers would be short.
	require.Eventually(t, sees(nodes, "node-2", false), eventually, 10*time.Millisecond)
	requireClusterHas(t, want, nodes...)
	nodes[1].stop(t)
	for _, n := range []*testNode{nodes[0], nodes[2]} {
		_, err := clusterHas(n)
		require.ErrorContains(t, err, "node-2 (")
		require.Equal(t, http.StatusServiceUnavailable, query(t, n, "mixed").code)
	}
	writeMixed(t, nodes[2], "team-b", now, -1) // It takes writes as any other.
	nodes[1].start(t)
	waitMembers(t, nodes, 3)
	want, err = clusterHas(nodes[1])
	require.NoError(t, err)

	// It dies in the middle, and goes on where it was.
	require.Eventually(t, func() bool { return held.reads.Load() > 3 }, eventually, 10*time.Millisecond)
	before := refillStatus(t, nodes[2])
	require.Equal(t, 3, before.RangesDone)
	require.NotEmpty(t, before.Losses)
	nodes[2].stop(t)
	again := newGate(0)
	nodes[2].refillSource = again.wrap
	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	require.Eventually(t, func() bool { return refillStatus(t, nodes[2]).RangesTotal > 0 }, eventually, 10*time.Millisecond)
	require.Less(t, refillStatus(t, nodes[2]).RangesTotal, before.RangesTotal)
	require.True(t, sees(nodes, "node-2", false)())

	close(again.open)
	waitWhole(t, nodes, 2)
	status := refillStatus(t, nodes[2])
	require.Empty(t, status.Losses)
	require.Zero(t, status.Figures.Short)
	require.Equal(t, want, nodeHas(t, nodes[2]))
	require.Eventually(t, noHints(nodes), eventually, 10*time.Millisecond)

	// Any one of the others may go now.
	nodes[1].stop(t)
	requireClusterHas(t, want, nodes[0], nodes[2])
	nodes[1].start(t)
	waitMembers(t, nodes, 3)
	nodes[0].stop(t)
	requireClusterHas(t, want, nodes[1], nodes[2])
	nodes[0].start(t)
	waitMembers(t, nodes, 3)

	// A restart does not start over.
	nodes[2].stop(t)
	third := newGate(0)
	nodes[2].refillSource = third.wrap
	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	require.True(t, sees(nodes, "node-2", true)())
	requireClusterHas(t, want, nodes...)
	require.Equal(t, want, nodeHas(t, nodes[2]))
	require.Zero(t, third.reads.Load())
}

// TestTwoDisksReplacedAtOnce: two members that both lack data do not wait for each other. What the third has is given to
// both, and it is said that this may not be all.
func TestTwoDisksReplacedAtOnce(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	now := time.Now()
	for _, tenant := range refillTenants {
		writeMixed(t, nodes[0], tenant, now, -50, -20, -10)
	}
	want, err := clusterHas(nodes[0])
	require.NoError(t, err)
	held := newGate(0)
	for _, n := range nodes[1:] {
		n.stop(t)
		wipe(t, n)
		n.refillSource = held.wrap
	}
	for _, n := range nodes[1:] {
		n.start(t)
	}
	waitMembers(t, nodes, 3)
	require.Eventually(t, sees(nodes, "node-1", false), eventually, 10*time.Millisecond)
	require.Eventually(t, sees(nodes, "node-2", false), eventually, 10*time.Millisecond)
	_, err = clusterHas(nodes[0])
	require.ErrorContains(t, err, "2 of 3 members are missing")
	close(held.open)
	waitWhole(t, nodes, 1)
	waitWhole(t, nodes, 2)
	require.Positive(t, refillStatus(t, nodes[1]).Figures.Short+refillStatus(t, nodes[2]).Figures.Short)
	for _, n := range nodes[1:] {
		require.Equal(t, want, nodeHas(t, n))
	}
	nodes[0].stop(t)
	requireClusterHas(t, want, nodes[1], nodes[2])
}
