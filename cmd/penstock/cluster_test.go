// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/golang/snappy"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/refill"
)

// eventually is how long a test waits for gossip, replay or hints. It decides
// nothing but how long a failure takes.
const eventually = 30 * time.Second

// testNode is a node in this process that can be stopped and started again on
// the same directory and ports.
type testNode struct {
	args []string
	srv  *server
	// logger is where the node logs; nil: nowhere.
	logger *slog.Logger
	// refillSource puts something between a refill and the other members.
	refillSource func(refill.Source) refill.Source
}

func (n *testNode) url() string { return "http://" + n.srv.public.addr() }

func (n *testNode) start(t *testing.T) {
	t.Helper()
	n.prepare(t)
	n.run(t)
}

// prepare does what a node does before it serves: its ports are bound.
func (n *testNode) prepare(t *testing.T) {
	t.Helper()
	app := kingpin.New("penstock", "")
	cmd := app.Command("run", "").Default()
	cfg := addNodeFlags(cmd)
	_, err := app.Parse(n.args)
	require.NoError(t, err)
	cfg.flags = flagValues(cmd)
	require.NoError(t, cfg.finish())
	cfg.refillSettle, cfg.refillSource = 100*time.Millisecond, n.refillSource
	logger := n.logger
	if logger == nil {
		logger = promslog.NewNopLogger()
	}
	n.srv, err = newServer(cfg, logger)
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.srv.stop() })
}

func (n *testNode) run(t *testing.T) {
	t.Helper()
	require.NoError(t, n.srv.start(t.Context()))
	require.Eventually(t, func() bool { return n.srv.ready() == nil }, eventually, 10*time.Millisecond)
}

func (n *testNode) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, n.srv.stop())
}

// startCluster runs size nodes with one bucket and one key, and waits until
// all see all. All get the extra flags.
func startCluster(t *testing.T, size int, extra ...string) []*testNode {
	t.Helper()
	nodes := layOut(t, size, extra...)
	for _, n := range nodes {
		n.start(t)
	}
	waitMembers(t, nodes, size)
	return nodes
}

// layOut is startCluster without the start.
func layOut(t *testing.T, size int, extra ...string) []*testNode {
	t.Helper()
	dir := t.TempDir()
	key := filepath.Join(dir, "cluster.key")
	require.NoError(t, os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600))

	var shared []string
	gossip := freePorts(t, size)
	for _, addr := range gossip {
		shared = append(shared, "--cluster.peer="+addr)
	}
	shared = append(shared,
		"--cluster.key-file="+key,
		"--web.listen-address=127.0.0.1:0",
		"--internal.listen-address=127.0.0.1:0",
		"--query.replica-label=replica",
		"--objstore.config=type: FILESYSTEM\nconfig:\n  directory: "+filepath.Join(dir, "bucket"),
	)
	shared = append(shared, extra...)
	nodes := make([]*testNode, size)
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i)
		nodes[i] = &testNode{args: append([]string{
			"--cluster.name=" + name,
			"--cluster.listen-address=" + gossip[i],
			"--cluster.advertise-address=" + gossip[i],
			"--storage.path=" + filepath.Join(dir, name),
		}, shared...)}
	}
	return nodes
}

// waitMembers waits until each of nodes sees want members alive and ACTIVE, and
// all of them the same ring.
func waitMembers(t *testing.T, nodes []*testNode, want int) {
	t.Helper()
	require.Eventually(t, func() bool {
		versions := map[string]bool{}
		for _, n := range nodes {
			status, err := fetchRing(t.Context(), n.url())
			if err != nil {
				return false
			}
			alive := 0
			for _, m := range status.Members {
				if m.Alive && m.State == "ACTIVE" {
					alive++
				}
			}
			if alive != want || !n.srv.introduction.done.Load() {
				return false
			}
			versions[status.Version] = true
		}
		return len(versions) == 1
	}, eventually, 20*time.Millisecond)
}

// freePorts returns n loopback addresses that were free for TCP a moment ago. They
// are below the ports that the system gives out by itself, so that no other test
// running at the same time gets one of them for its port 0.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	const from, to = 20_000, 30_000
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		require.Less(t, tries, 100, "no free ports")
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", from+rand.IntN(to-from)))
		if err != nil {
			continue
		}
		addrs = append(addrs, ln.Addr().String())
		defer ln.Close()
	}
	return addrs
}

// write sends one sample of each of count series of one HA replica.
func write(t *testing.T, n *testNode, replica string, count int, ts int64, value float64) int {
	t.Helper()
	var req prompb.WriteRequest
	for i := range count {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels: []prompb.Label{
				{Name: "__name__", Value: "test_metric"},
				{Name: "i", Value: strconv.Itoa(i)},
				{Name: "replica", Value: replica},
			},
			Samples: []prompb.Sample{{Timestamp: ts, Value: value}},
		})
	}
	raw, err := req.Marshal()
	require.NoError(t, err)
	hreq, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
	require.NoError(t, err)
	hreq.Header.Set("Content-Type", "application/x-protobuf")
	hreq.Header.Set("Content-Encoding", "snappy")
	resp, err := (&http.Client{}).Do(hreq)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusNoContent {
		t.Logf("write answered %s: %s", resp.Status, body)
	}
	return resp.StatusCode
}

// answer is a Prometheus API answer.
type answer struct {
	code     int
	Status   string   `json:"status"`
	Error    string   `json:"error"`
	Warnings []string `json:"warnings"`
	Data     struct {
		Result []struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
			Values [][2]any          `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

func query(t *testing.T, n *testNode, promql string, params ...string) answer {
	t.Helper()
	values := url.Values{"query": {promql}}
	for i := 0; i < len(params); i += 2 {
		values.Set(params[i], params[i+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/api/v1/query?"+values.Encode(), nil)
	require.NoError(t, err)
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	a := answer{code: resp.StatusCode}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&a))
	return a
}

func TestClusterReplicatesAndDeduplicates(t *testing.T) {
	const series = 200
	nodes := startCluster(t, 3)
	now := time.Now().UnixMilli()
	require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", series, now, 1))
	require.Equal(t, http.StatusNoContent, write(t, nodes[1], "b", series, now, 1))

	for _, n := range nodes {
		a := query(t, n, "test_metric")
		require.Equal(t, http.StatusOK, a.code, a.Error)
		require.Empty(t, a.Warnings)
		require.Len(t, a.Data.Result, series, "each series once with dedup")
		require.NotContains(t, a.Data.Result[0].Metric, "replica")
		require.Len(t, query(t, n, "test_metric", "dedup", "false").Data.Result, 2*series)
	}
}

func TestClusterSurvivesTheLossOfOneMember(t *testing.T) {
	const series = 200
	nodes := startCluster(t, 3)
	now := time.Now().UnixMilli()
	require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", series, now-2000, 1))

	nodes[2].stop(t)
	require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", series, now-1000, 2))
	a := query(t, nodes[1], "count(test_metric == 2)")
	require.Equal(t, http.StatusOK, a.code, a.Error)
	require.Equal(t, strconv.Itoa(series), a.Data.Result[0].Value[1])
	require.Empty(t, a.Warnings)

	// Its hints bring back what it missed, and with the other two gone it has it.
	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	require.Eventually(t, func() bool {
		for _, n := range nodes {
			if len(n.srv.hints.Pending()) > 0 {
				return false
			}
		}
		return true
	}, eventually, 20*time.Millisecond)
	nodes[0].stop(t)
	nodes[1].stop(t)
	require.Equal(t, http.StatusServiceUnavailable, write(t, nodes[2], "a", series, now, 3))
	require.Equal(t, http.StatusServiceUnavailable, query(t, nodes[2], "test_metric").code)
	a = query(t, nodes[2], "count(test_metric == 2)", "partial_response", "true")
	require.Equal(t, http.StatusOK, a.code, a.Error)
	require.Equal(t, strconv.Itoa(series), a.Data.Result[0].Value[1])
	require.NotEmpty(t, a.Warnings)
	require.Contains(t, strings.Join(a.Warnings, " "), "node-0")
}

// Of two members, with RF 3, one may be missing. But the one that is left has no majority, so
// after half of --cluster.forget-after it does not trust itself any more.
func TestMemberCutOffFromTheMajority(t *testing.T) {
	nodes := startCluster(t, 2, "--cluster.forget-after=1s")
	require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", 10, time.Now().UnixMilli(), 1))
	require.Equal(t, http.StatusOK, query(t, nodes[0], "test_metric").code)
	nodes[1].stop(t)
	var a answer
	require.Eventually(t, func() bool {
		a = query(t, nodes[0], "test_metric")
		return a.code == http.StatusServiceUnavailable
	}, eventually, 10*time.Millisecond)
	require.Contains(t, a.Error, "cut off from the majority of the 2 members")
	require.Contains(t, a.Error, "node-1 (unreachable)")
	require.Equal(t, http.StatusServiceUnavailable, write(t, nodes[0], "a", 10, time.Now().UnixMilli(), 1))
	a = query(t, nodes[0], "test_metric", "partial_response", "true")
	require.Equal(t, http.StatusOK, a.code)
	require.Len(t, a.Data.Result, 10)
	require.Contains(t, strings.Join(a.Warnings, " "), "cut off from the majority")
	status, err := fetchRing(t.Context(), nodes[0].url())
	require.NoError(t, err)
	require.Len(t, status.Members, 2)
	require.False(t, status.Members[1].Forgotten, "without a majority nobody is forgotten")

	nodes[1].start(t)
	waitMembers(t, nodes, 2)
	require.Equal(t, http.StatusOK, query(t, nodes[0], "test_metric").code)
	require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", 10, time.Now().UnixMilli(), 1))
}

// TestRestartedMemberKnowsTheOthersBeforeItAnswers: a request that arrives while a
// member starts, as from a load balancer that has not noticed the restart, waits until
// the member has joined, and is then answered in full.
func TestRestartedMemberKnowsTheOthersBeforeItAnswers(t *testing.T) {
	nodes := startCluster(t, 3)
	nodes[0].stop(t)
	nodes[0].prepare(t)
	type result struct {
		status int
		body   string
		err    error
	}
	answered := make(chan result, 1)
	target := nodes[0].url() + "/api/v1/query?query=test_metric"
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			answered <- result{err: err}
			return
		}
		resp, err := (&http.Client{Timeout: eventually}).Do(req)
		if err != nil {
			answered <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answered <- result{resp.StatusCode, string(body), err}
	}()
	nodes[0].run(t)
	got := <-answered
	require.NoError(t, got.err)
	require.Equal(t, http.StatusOK, got.status, got.body)
}

func TestLoneNodeNeedsNoFlags(t *testing.T) {
	n := &testNode{args: []string{
		"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
	}}
	n.start(t)
	now := time.Now().UnixMilli()
	require.Equal(t, http.StatusNoContent, write(t, n, "a", 10, now, 1))
	require.Len(t, query(t, n, "test_metric").Data.Result, 10)
	n.stop(t)
	n.start(t)
	require.Len(t, query(t, n, "test_metric").Data.Result, 10, "after a restart")
}

// TestMemberDoesNotStartAlone shows that a member that has lost its list of peers does not pass for a cluster of one.
func TestMemberDoesNotStartAlone(t *testing.T) {
	dir := t.TempDir()
	known, err := os.ReadFile(filepath.Join("..", "..", "ring", "testdata", "members.json"))
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cluster"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cluster", "members.json"), known, 0o600))

	app := kingpin.New("penstock", "")
	cfg := addNodeFlags(app.Command("run", "").Default())
	_, err = app.Parse([]string{
		"--storage.path=" + dir, "--cluster.name=penstock-1",
		"--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
	})
	require.NoError(t, err)
	require.NoError(t, cfg.finish())
	_, err = newServer(cfg, promslog.NewNopLogger())
	require.ErrorContains(t, err, "belongs to a cluster of 2 members (penstock-2)")
	require.ErrorContains(t, err, "--cluster.peer")

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "cluster")))
	s, err := newServer(cfg, promslog.NewNopLogger())
	require.NoError(t, err)
	require.NoError(t, s.stop())
}
