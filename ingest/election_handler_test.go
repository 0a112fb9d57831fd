// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// electionNodes is three whole nodes on HTTP, whose clock and rounds a test drives.
type electionNodes struct {
	t     *testing.T
	now   atomic.Int64 // ms
	nodes []*electionNode
}

type electionNode struct {
	owner    *testOwner
	election *Election
	ledger   *Ledger
	handler  http.Handler
}

func newElectionNodes(t *testing.T) *electionNodes {
	c := &electionNodes{t: t}
	c.now.Store(nowMillis())
	var members []ring.Member
	for i := range 3 {
		n := &electionNode{owner: newTestOwner()}
		mux := http.NewServeMux()
		mux.Handle(PathInternalWrite, NewInternalHandler(InternalHandlerConfig{Local: n.owner, Tenant: tenantOf}, quietLogger(), nil))
		mux.HandleFunc(PathInternalElection, func(w http.ResponseWriter, r *http.Request) { n.election.ServeHTTP(w, r) })
		srv := httptest.NewServer(mux)
		t.Cleanup(srv.Close)
		c.nodes = append(c.nodes, n)
		members = append(members, ring.Member{Name: memberName(i), State: ring.Active, InternalAddr: strings.TrimPrefix(srv.URL, "http://")})
	}
	for i, n := range c.nodes {
		view := &ring.View{Self: memberName(i), Ring: ring.New(members, 3)}
		for _, m := range members {
			view.Members = append(view.Members, ring.MemberStatus{Member: m, Alive: true})
		}
		of := func() *ring.View { return view }
		now := func() time.Time { return time.UnixMilli(c.now.Load()) }
		dist := NewDistributor(DistributorConfig{
			RF: 3, View: of, Local: n.owner, Hints: newMemHints(), StragglerWait: 10 * time.Second, PeerTimeout: 20 * time.Second,
		}, quietLogger(), nil)
		t.Cleanup(dist.Close)
		n.election = NewElection(ElectionConfig{
			ClusterLabel: "cluster", ReplicaLabel: "replica", RF: 3, View: of, Writer: dist, Now: now,
		}, quietLogger(), nil)
		n.ledger = newTestLedger(t)
		n.handler = NewHandler(HandlerConfig{Writer: dist, Tenant: tenantOf, Election: n.election, Ledger: n.ledger, Now: now}, quietLogger(), nil)
	}
	return c
}

// second lets a second pass, in which the given replicas send one request each, of both
// versions in turn.
func (c *electionNodes) second(replicas ...string) {
	c.t.Helper()
	now := c.now.Add(1000)
	for i, replica := range replicas {
		n := c.nodes[(int(now/1000)+i)%len(c.nodes)]
		series := haSeries(now, replica)
		var w *httptest.ResponseRecorder
		if now/1000%2 == 0 {
			w = post(c.t, n.handler, typeV1, encodeV1(c.t, &prompb.WriteRequest{Timeseries: series}))
			require.Empty(c.t, w.Header().Get(headerSamplesWritten))
		} else {
			w = post(c.t, n.handler, typeV2, encodeV2(c.t, toV2(series)))
			require.Equal(c.t, "2", w.Header().Get(headerSamplesWritten), "dropped samples count as written")
		}
		require.Equal(c.t, http.StatusNoContent, w.Code, w.Body)
	}
	for _, n := range c.nodes {
		n.election.round(c.t.Context())
		n.election.storeHeld(c.t.Context())
	}
}

func (c *electionNodes) seconds(n int, replicas ...string) {
	c.t.Helper()
	for range n {
		c.second(replicas...)
	}
}

// haSeries is two series of a replica of cluster prod, named after it.
func haSeries(now int64, replica string) []prompb.TimeSeries {
	return []prompb.TimeSeries{
		seriesV1(now, 1, "__name__", "one_"+replica, "cluster", "prod", "replica", replica, "zone", "x"),
		seriesV1(now, 1, "__name__", "two_"+replica, "cluster", "prod", "replica", replica),
	}
}

// stored returns the timestamps that the first node has of a replica, in seconds before
// now, ascending in time.
func (c *electionNodes) stored(replica string) []int64 {
	o := c.nodes[0].owner
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []int64
	for _, s := range o.stored["one_"+replica] {
		out = append(out, (s.T-c.now.Load())/1000)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// requireBooked fails unless the ledgers say what is stored, of two series.
func (c *electionNodes) requireBooked(replica string) {
	c.t.Helper()
	var sum SampleCounts
	for _, n := range c.nodes {
		for _, row := range n.ledger.tenantStatuses(testTenant) {
			if row.Replica == replica {
				sum.add(row.Samples)
			}
		}
	}
	require.EqualValues(c.t, 2*len(c.stored(replica)), sum.Distinct, "%+v", sum)
}

func TestElectionDropsOneOfAPair(t *testing.T) {
	c := newElectionNodes(t)
	c.seconds(12, "a", "b")
	before := len(c.stored("b"))
	require.Positive(t, before, "both are admitted until an election")
	c.seconds(20, "a", "b")
	require.Len(t, c.stored("a"), 32)
	require.Len(t, c.stored("b"), before)
	dropped := 0.0
	for _, n := range c.nodes {
		dropped += testutil.ToFloat64(n.election.metrics.dropped.samples)
	}
	require.GreaterOrEqual(t, dropped, 40.0)

	// The elected one dies. All that the other one sent since then, and some before, is
	// there in the end; what was covered before is not.
	c.seconds(15, "b")
	got := c.stored("b")
	for ago := int64(0); ago >= -14-coverMargin/1000; ago-- {
		require.Contains(t, got, ago)
	}
	require.NotContains(t, got, int64(-30))

	// And the first stays away when it comes back.
	c.seconds(10, "a", "b")
	require.NotContains(t, c.stored("a"), int64(0))
	require.Contains(t, c.stored("b"), int64(0))
	c.requireBooked("a")
	c.requireBooked("b")
	for _, n := range c.nodes {
		require.Equal(t, 1.0, testutil.ToFloat64(n.election.metrics.changes))
		require.Zero(t, testutil.ToFloat64(n.election.metrics.heldLost))
	}
}

func TestElectionPassesWhatItCannotTell(t *testing.T) {
	c := newElectionNodes(t)
	c.seconds(12, "a", "b")
	now := c.now.Load()
	h := c.nodes[0].handler
	send := func(series ...prompb.TimeSeries) *httptest.ResponseRecorder {
		t.Helper()
		w := post(t, h, typeV2, encodeV2(t, toV2(series)))
		post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series}))
		return w
	}
	has := func(name string) bool { return c.nodes[0].owner.has(name) }

	w := send(
		seriesV1(now, 1, "__name__", "plain"),
		seriesV1(now, 1, "__name__", "half", "cluster", "prod"),
		seriesV1(now, 1, "__name__", "half_b", "replica", "b"),
		seriesV1(now, 1, "__name__", "empty_b", "cluster", "", "replica", "b"),
		seriesV1(now, 1, "__name__", "long_b", "cluster", "prod", "replica", strings.Repeat("b", haNameBytesMax+1)),
		seriesV1(now, 1, "__name__", "mixed_b", "cluster", "prod", "replica", "b"),
		seriesV1(now, 1, "__name__", "mixed_a", "cluster", "prod", "replica", "a"),
		seriesV1(now, 1, "__name__", "unsorted_b", "replica", "b", "cluster", "prod"),
		seriesV1(now, 1, "__name__", "other_b", "cluster", "lab", "replica", "b"),
		seriesV1(now, 1, "__name__", "swapped", "cluster", "b", "replica", "prod"),
	)
	require.Equal(t, http.StatusNoContent, w.Code, w.Body)
	require.Equal(t, "10", w.Header().Get(headerSamplesWritten))
	for _, name := range []string{"plain", "half", "half_b", "empty_b", "long_b", "mixed_a", "other_b", "swapped"} {
		require.True(t, has(name), name)
	}
	for _, name := range []string{"mixed_b", "unsorted_b"} {
		require.False(t, has(name), name)
	}

	// A proxy that mixes more pairs than are told apart: all of the rest is admitted.
	var many []prompb.TimeSeries
	for i := range haSharesMax {
		many = append(many, seriesV1(now, 1, "__name__", "many", "cluster", fmt.Sprint(i), "replica", "b"))
	}
	send(append(many, seriesV1(now, 1, "__name__", "ninth_b", "cluster", "prod", "replica", "b"))...)
	require.True(t, has("ninth_b"))

	// Time that the elected one has not covered is nobody's to drop.
	send(seriesV1(now-3_600_000, 1, "__name__", "late_b", "cluster", "prod", "replica", "b"))
	require.True(t, has("late_b"))
}

// A dropped request is read as any other: what is no request is refused, and a bad series
// beside a dropped one is named.
func TestElectionRefusesBadRequests(t *testing.T) {
	c := newElectionNodes(t)
	c.seconds(12, "a", "b")
	now := c.now.Load()
	h := c.nodes[0].handler
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: haSeries(now, "b")})
	require.Equal(t, http.StatusBadRequest, post(t, h, typeV2, body).Code)
	w := post(t, h, typeV2, encodeV2(t, toV2([]prompb.TimeSeries{
		haSeries(now, "b")[0], seriesV1(now, 1, "no_name", "x"),
	})))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, "1", w.Header().Get(headerSamplesWritten))
	require.Contains(t, w.Body.String(), "no metric name")
	// Metadata comes without series, so that nobody can be dropped for it.
	w = post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "m", Type: 1}}}))
	require.Equal(t, http.StatusNoContent, w.Code)
	require.NotEmpty(t, c.nodes[0].owner.told)
}

// What is held back is bounded, and so is what is known.
func TestElectionBounds(t *testing.T) {
	c := newElectionNodes(t)
	e := c.nodes[0].election
	e.cfg.MaxHeldBytes = 100
	c.seconds(12, "a", "b")
	c.seconds(6, "a", "b")
	require.LessOrEqual(t, e.heldBytes.Load(), int64(100))
	require.Positive(t, testutil.ToFloat64(e.metrics.heldLost))

	e.cfg.MaxClusters = 1
	require.Nil(t, e.cluster(testTenant, []byte("another")))
	require.NotNil(t, e.cluster(testTenant, []byte("prod")))

	c.now.Add(electionForget.Milliseconds() + 1000)
	e.storeHeld(t.Context())
	require.Empty(t, e.list(e.cfg.Now()), "nobody has written for long")
	require.Zero(t, e.heldBytes.Load())
}

func TestElectionEndpointRefuses(t *testing.T) {
	e := newElectionNodes(t).nodes[0].election
	f := func(status int, method, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		e.ServeHTTP(w, httptest.NewRequest(method, PathInternalElection, strings.NewReader(body)))
		require.Equal(t, status, w.Code)
	}
	f(http.StatusMethodNotAllowed, http.MethodGet, "")
	f(http.StatusBadRequest, http.MethodPost, "{")
	f(http.StatusBadRequest, http.MethodPost, `{"version":2}`)
	f(http.StatusBadRequest, http.MethodPost, `{"version":1,"questions":[]}`)
	f(http.StatusBadRequest, http.MethodPost, `{"version":1,"cluster_label":"cluster","replica_label":"other","questions":[]}`)
	f(http.StatusOK, http.MethodPost, `{"version":1,"cluster_label":"cluster","replica_label":"replica","questions":[{"tenant":"t","cluster":"c","seen":[{"name":"a"}]}]}`)
}
