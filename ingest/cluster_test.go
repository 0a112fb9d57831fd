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
	"github.com/stretchr/testify/require"

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
		name := s.labels.Get("__name__")
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
		o.stored[name] = append(o.stored[name], s.samples...)
		for _, h := range s.histograms {
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
		members = append(members, m)
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

// TestReplication stores every series on RF members, for every RF and more members.
func TestReplication(t *testing.T) {
	for rf := 1; rf <= 5; rf++ {
		for members := rf; members <= rf+2; members++ {
			c := newCluster(t, members, rf)
			names := manyNames(40)
			w := c.send(names...)
			require.Equal(t, http.StatusNoContent, w.Code, w.Body)
			require.Equal(t, "80", w.Header().Get(headerSamplesWritten))
			c.dist.Close()
			for _, n := range names {
				require.Equal(t, rf, c.copies(n), "rf %d, members %d, %s", rf, members, n)
			}
			require.Zero(t, c.hinted())
		}
	}
}

// TestOneMemberDown acks with a quorum and has the missing copies hinted before the
// ack, whether gossip knows of the death or not.
func TestOneMemberDown(t *testing.T) {
	for _, known := range []bool{true, false} {
		for rf := 1; rf <= 5; rf++ {
			c := newCluster(t, 5, rf)
			const dead = 2
			if known {
				c.kill(dead)
			} else {
				c.servers[dead].Close()
			}
			names := manyNames(60)
			for _, n := range names {
				w := c.send(n)
				missing := 0
				for _, member := range c.hints.series(t, memberName(dead)) {
					if member == n {
						missing = 1
					}
				}
				owned := rf - c.copies(n) // what the dead member should have had
				if rf < 3 && owned > 0 {
					// One copy missing leaves no quorum: no ack, and so no promise.
					require.Equal(t, http.StatusServiceUnavailable, w.Code)
					require.NotEmpty(t, w.Header().Get("Retry-After"))
					require.Zero(t, missing)
					continue
				}
				require.Equal(t, http.StatusNoContent, w.Code, w.Body)
				require.Equal(t, owned, missing, "rf %d, %s", rf, n)
			}
			c.dist.Close()
		}
	}
}

// TestBelowQuorum says how many members there are, asks nobody, and hints nothing.
func TestBelowQuorum(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.kill(1, 2)
	w := c.send("x")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "have 1 of 2 members")
	require.Equal(t, "0", w.Header().Get(headerSamplesWritten))
	require.Zero(t, c.owners[0].calls.Load())
	require.Zero(t, c.hinted())

	lone := newCluster(t, 1, 3)
	require.Contains(t, lone.send("x").Body.String(), "have 1 of 2 members")
}

// TestMinority refuses writes on a member that has been cut off for long.
func TestMinority(t *testing.T) {
	c := newCluster(t, 1, 1, func(cfg *DistributorConfig) { cfg.MinorityAfter = time.Minute })
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	view := *c.currentView()
	view.MinoritySince = time.Now().Add(-2 * time.Minute)
	c.mu.Lock()
	c.view = &view
	c.mu.Unlock()
	require.Equal(t, http.StatusServiceUnavailable, c.send("x").Code)
}

// TestNoHintsWithoutAck has members of whose series some have a quorum and some have
// not: the request is a 503, the sender delivers all of it again, and so nothing is
// hinted however often it does.
func TestNoHintsWithoutAck(t *testing.T) {
	c := newCluster(t, 5, 3)
	c.kill(1, 2)
	for range 5 {
		w := c.send(manyNames(60)...)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, w.Body.String(), "of 60 series not written")
	}
	require.Zero(t, c.hinted())
}

// TestSlowOwner acks without it, having hinted it first; its late answer changes
// nothing.
func TestSlowOwner(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) { cfg.StragglerWait = time.Millisecond })
	release := c.block(1)
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m1"))
	release()
	c.dist.Close()
	require.Equal(t, 3, c.copies("x"))
	require.Equal(t, 1, c.hinted())
}

// TestSlowSelf treats this member's own storage as any other owner.
func TestSlowSelf(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) { cfg.StragglerWait = time.Millisecond })
	release := c.block(0)
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
	release()
	c.dist.Close()
}

// TestRejections combines what three owners say of one series with a good series in
// the same request.
func TestRejections(t *testing.T) {
	f := func(status int, written string, hints int, verdicts ...Verdict) {
		t.Helper()
		c := newCluster(t, 3, 3)
		for i, v := range verdicts {
			c.owners[i].verdict = func(series string) Verdict {
				if series == "bad" {
					return v
				}
				return Accepted
			}
		}
		w := c.send("good", "bad")
		require.Equal(t, status, w.Code, "%v: %s", verdicts, w.Body)
		require.Equal(t, written, w.Header().Get(headerSamplesWritten), verdicts)
		if status == http.StatusBadRequest {
			require.Contains(t, w.Body.String(), "because bad")
			require.Contains(t, w.Body.String(), "1 of 2 series")
		}
		c.dist.Close()
		require.Equal(t, 3, c.copies("good"))
		require.Equal(t, hints, c.hinted(), verdicts)
	}
	f(204, "4", 0, Accepted, Accepted, Accepted)
	f(204, "4", 0, Accepted, Rejected, Accepted)
	f(400, "2", 0, Rejected, Accepted, Rejected)
	f(400, "2", 0, Rejected, Rejected, Rejected)
	f(503, "2", 0, Accepted, Rejected, Unavailable)
	f(503, "2", 0, Unavailable, Unavailable, Accepted)
	f(204, "4", 1, Unavailable, Accepted, Accepted)
}

// TestMixedVerdicts has two owners that disagree. While the third is merely slow to
// be known as dead that is a 503; once it is known, a retry cannot change anything.
func TestMixedVerdicts(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.owners[0].verdict = func(string) Verdict { return Rejected }
	c.servers[2].Close()
	var codes []int
	for range circuitFailures {
		codes = append(codes, c.send("x").Code)
	}
	require.Equal(t, []int{503, 503, 400}, codes)
	require.Contains(t, c.send("x").Body.String(), "owners disagree")
	require.Zero(t, c.hinted())
}

// TestPartialSeries counts samples exactly when owners refuse different samples of one
// series: each sample has a quorum or has not.
func TestPartialSeries(t *testing.T) {
	f := func(status int, written string, refused ...[]uint32) {
		t.Helper()
		c := newCluster(t, 3, 3)
		for i, items := range refused {
			c.owners[i].items = func(string) []uint32 { return items }
		}
		w := c.send("x")
		require.Equal(t, status, w.Code, "%v: %s", refused, w.Body)
		require.Equal(t, written, w.Header().Get(headerSamplesWritten), refused)
		require.Zero(t, c.hinted())
	}
	f(204, "2", []uint32{0}, nil, nil)
	f(400, "1", []uint32{0}, []uint32{0}, nil)
	f(204, "2", []uint32{0}, []uint32{1}, nil)
	f(400, "1", []uint32{0}, []uint32{0, 1}, nil)
	f(400, "0", []uint32{0, 1}, []uint32{0, 1}, nil)
}

// TestPartialSeriesWithAMemberDown still hints the series: the accepted sample of it
// is promised.
func TestPartialSeriesWithAMemberDown(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.kill(2)
	for _, o := range c.owners {
		o.items = func(string) []uint32 { return []uint32{0} }
	}
	w := c.send("x")
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, "1", w.Header().Get(headerSamplesWritten))
	require.Equal(t, []string{"x"}, c.hints.series(t, "m2"))
}

func TestPanicInStorage(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.owners[0].panics = true
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
}

// TestLostHint is counted, and the ack goes.
func TestLostHint(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.kill(1)
	c.hints.broken = http.ErrBodyNotAllowed
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
}

// TestLeavingAndJoining members: the first is not asked any more, the second says
// itself whether it is ready.
func TestLeavingAndJoining(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.setMembers(func(i int) (ring.State, bool) {
		return []ring.State{ring.Active, ring.Leaving, ring.Joining}[i], true
	})
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Zero(t, c.owners[1].calls.Load())
	require.Equal(t, int64(1), c.owners[2].calls.Load())
	require.Equal(t, []string{"x"}, c.hints.series(t, "m1"))
}

// TestReplay delivers the hints of a member that is back, and of this member itself.
func TestReplay(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.kill(2)
	c.owners[0].verdict = func(string) Verdict { return Unavailable }
	// Two of three cannot take it: no ack. With the third back there is a quorum.
	require.Equal(t, 503, c.send("x").Code)
	c.kill()
	require.Equal(t, 204, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
	c.owners[0].verdict = nil
	c.kill(2)
	require.Equal(t, 204, c.send("y").Code)
	require.Equal(t, []string{"y"}, c.hints.series(t, "m2"))
	require.False(t, c.owners[2].has("y"))
	c.kill()

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.dist.Run(ctx) }()
	require.Eventually(t, func() bool { return c.hinted() == 0 }, 15*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	require.True(t, c.owners[2].has("y"))
	require.True(t, c.owners[0].has("x"))
}

// TestReplayKeepsWhatIsNotTaken leaves a hint where it is while its owner is
// unavailable, and drops what can never be read.
func TestReplayKeepsWhatIsNotTaken(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.kill(2)
	require.Equal(t, 204, c.send("x").Code)
	c.kill()
	view := c.currentView()
	m, _ := view.Member("m2")
	require.NoError(t, c.hints.Append("m2", []byte("not a hint")))

	c.owners[2].verdict = func(string) Verdict { return Unavailable }
	c.dist.replayTo(t.Context(), view, m)
	require.Equal(t, 2, c.hints.count("m2"))
	c.owners[2].verdict = func(string) Verdict { return Rejected }
	c.dist.replayTo(t.Context(), view, m)
	require.Equal(t, 0, c.hints.count("m2"))
}

// TestMetadataReachesEveryMember by a request that has nothing else.
func TestMetadataReachesEveryMember(t *testing.T) {
	c := newCluster(t, 3, 2)
	body := encodeV1(t, &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_GAUGE, MetricFamilyName: "up", Help: "is it up?", Unit: "bool"},
	}})
	require.Equal(t, http.StatusNoContent, post(t, c.handler, typeV1, body).Code)
	c.dist.Close()
	for _, o := range c.owners {
		require.Equal(t, []Metadata{{Name: "up", Type: "gauge", Help: "is it up?", Unit: "bool"}}, o.told)
	}
}

// TestBodyIsForwardedAsItCame when a peer owns all of a 1.0 request and nothing of it
// was refused.
func TestBodyIsForwardedAsItCame(t *testing.T) {
	c := newCluster(t, 3, 3)
	var seen atomic.Pointer[[]byte]
	c.servers[1].Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := readBody(r, nil, 1<<20)
		seen.Store(&body)
		w.WriteHeader(http.StatusNoContent)
	})
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "x")}})
	require.Equal(t, http.StatusNoContent, post(t, c.handler, typeV1, body).Code)
	c.dist.Close()
	require.Equal(t, body, *seen.Load())
}

// TestStartTimestampsTravel from a 2.0 sender to every owner, though 1.0 between
// members has no field for them.
func TestStartTimestampsTravel(t *testing.T) {
	c := newCluster(t, 3, 3)
	ts := nowMillis()
	req := toV2([]prompb.TimeSeries{
		seriesV1(ts, 1, "__name__", "x"),
		{Labels: labelsV1("__name__", "h"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(ts, intHistogram())}},
	})
	req.Timeseries[0].Samples[0].StartTimestamp = ts - 5000
	req.Timeseries[1].Histograms[0].StartTimestamp = ts - 6000
	require.Equal(t, http.StatusNoContent, post(t, c.handler, typeV2, encodeV2(t, req)).Code)
	c.dist.Close()
	for _, o := range c.owners {
		require.Equal(t, []Sample{{T: ts, V: 1, ST: ts - 5000}}, o.stored["x"])
		require.Equal(t, []int64{ts - 6000}, o.starts)
	}
}

// TestOverloadedPeer does not queue behind a peer that has too much under way.
func TestOverloadedPeer(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) {
		cfg.MaxInflightBytes, cfg.StragglerWait = 1, time.Millisecond
	})
	release := c.block(1)
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, http.StatusNoContent, c.send("y").Code)
	require.Equal(t, int64(1), c.owners[1].calls.Load())
	require.Equal(t, []string{"x", "y"}, c.hints.series(t, "m1"))
	release()
	c.dist.Close()
}
