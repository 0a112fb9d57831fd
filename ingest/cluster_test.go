// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/penstock-io/penstock/ring"
)

// testOwner is a member's storage in memory, whose answers a test chooses.
type testOwner struct {
	mu      sync.Mutex
	stored  map[string][]Sample
	verdict func(series string) Verdict // nil: accepted
	items   func(series string) []uint32
	panics  bool
	block   chan struct{} // if set, writes wait for it to be closed
	calls   atomic.Int64
	told    []Metadata
	starts  []int64 // start timestamps of histograms
}

func newTestOwner() *testOwner { return &testOwner{stored: map[string][]Sample{}} }

func (o *testOwner) Write(_ context.Context, b *Batch, part []uint32) Reply {
	o.calls.Add(1)
	if o.block != nil {
		<-o.block
	}
	if o.panics {
		panic("storage defect")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Reply{All: Accepted}
	for pos, i := range part {
		s := &b.series[i]
		name := nameOf(b, s)
		if o.verdict != nil {
			if v := o.verdict(name); v != Accepted {
				r.Faults = append(r.Faults, Fault{Pos: uint32(pos), Verdict: v, Reason: ReasonOutOfOrder, Detail: "because " + name})
				continue
			}
		}
		if o.items != nil {
			if items := o.items(name); items != nil {
				r.Faults = append(r.Faults, Fault{Pos: uint32(pos), Verdict: Rejected, Items: items, Reason: ReasonTooOld, Detail: "old"})
			}
		}
		o.stored[name] = append(o.stored[name], b.samplesOf(s)...)
		for _, h := range b.histogramsOf(s) {
			o.starts = append(o.starts, h.st)
		}
	}
	return r
}

func (o *testOwner) ApplyMetadata(_ string, entries []Metadata) []Metadata {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, entries...)
	return entries
}

func (o *testOwner) has(series string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.stored[series]) > 0
}

// testCluster is a coordinator, member m0, over HTTP peers.
type testCluster struct {
	t       *testing.T
	owners  []*testOwner
	servers []*httptest.Server
	hints   *memHints
	dist    *Distributor
	handler http.Handler

	mu   sync.Mutex
	view *ring.View
	rf   int
}

func newCluster(t *testing.T, members, rf int, change ...func(*DistributorConfig)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, hints: newMemHints(), rf: rf}
	for range members {
		o := newTestOwner()
		srv := httptest.NewServer(NewInternalHandler(InternalHandlerConfig{Local: o, Tenant: tenantOf}, quietLogger(), nil))
		t.Cleanup(srv.Close)
		c.owners, c.servers = append(c.owners, o), append(c.servers, srv)
	}
	c.setMembers(func(int) (ring.State, bool) { return ring.Active, true })
	cfg := DistributorConfig{
		RF: rf, View: c.currentView, Local: c.owners[0], Hints: c.hints,
		// Long, so that no verdict of a test hangs on how fast the machine is.
		StragglerWait: 10 * time.Second, PeerTimeout: 20 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	c.dist = NewDistributor(cfg, quietLogger(), nil)
	c.handler = NewHandler(HandlerConfig{Writer: c.dist, Tenant: tenantOf}, quietLogger(), nil)
	t.Cleanup(c.dist.Close)
	return c
}

func (c *testCluster) currentView() *ring.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.view
}

func memberName(i int) string { return "m" + string(rune('0'+i)) }

// setMembers sets the state of every member and whether it is alive.
func (c *testCluster) setMembers(f func(i int) (ring.State, bool)) {
	var members []ring.Member
	view := &ring.View{Self: memberName(0)}
	for i, srv := range c.servers {
		state, alive := f(i)
		m := ring.Member{Name: memberName(i), State: state, InternalAddr: strings.TrimPrefix(srv.URL, "http://")}
		if state != ring.Left {
			members = append(members, m)
		}
		view.Members = append(view.Members, ring.MemberStatus{Member: m, Alive: alive})
	}
	view.Ring = ring.New(members, c.rf)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view = view
}

func (c *testCluster) kill(dead ...int) {
	c.setMembers(func(i int) (ring.State, bool) {
		for _, d := range dead {
			if d == i {
				return ring.Active, false
			}
		}
		return ring.Active, true
	})
}

// block makes the writes of an owner wait until release is called, at the end of the
// test at the latest.
func (c *testCluster) block(owner int) (release func()) {
	block := make(chan struct{})
	c.owners[owner].block = block
	release = sync.OnceFunc(func() { close(block) })
	c.t.Cleanup(release)
	return release
}

// send posts one series per name.
func (c *testCluster) send(names ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	req := &prompb.WriteRequest{}
	for _, n := range names {
		s := seriesV1(nowMillis()-1, 1, "__name__", n)
		s.Samples = append(s.Samples, prompb.Sample{Timestamp: nowMillis(), Value: 2})
		req.Timeseries = append(req.Timeseries, s)
	}
	return post(c.t, c.handler, typeV2, encodeV2(c.t, toV2(req.Timeseries)))
}

// copies counts the members that have a series.
func (c *testCluster) copies(series string) (n int) {
	for _, o := range c.owners {
		if o.has(series) {
			n++
		}
	}
	return n
}

func (c *testCluster) hinted() (n int) {
	for i := range c.owners {
		n += c.hints.count(memberName(i))
	}
	return n
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = "series_" + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	return names
}
