// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/penstock-io/penstock/ring"
)

// electedNode is one member by which replica a of cluster prod is elected, until a test
// says otherwise.
type electedNode struct {
	t       *testing.T
	owner   *testOwner
	e       *Election
	cache   *SeriesCache
	ledger  *Ledger
	remote  http.Handler
	otlp    http.Handler
	cluster *haCluster
}

func newElectedNode(t *testing.T, change ...func(*HandlerConfig)) *electedNode {
	n := &electedNode{t: t, owner: newTestOwner(), cache: NewSeriesCache(CacheConfig{}, nil), ledger: newTestLedger(t)}
	view := ring.NewStatic(ring.Member{Name: "m"}, 1).View
	d := NewDistributor(DistributorConfig{RF: 1, View: view, Local: n.owner, Hints: newMemHints()}, quietLogger(), nil)
	t.Cleanup(d.Close)
	n.e = NewElection(ElectionConfig{
		ClusterLabel: "cluster", ReplicaLabel: "replica", View: view, Writer: d, Cache: n.cache,
	}, quietLogger(), prometheus.NewRegistry())
	cfg := HandlerConfig{Writer: d, Tenant: tenantOf, Election: n.e, Cache: n.cache, Ledger: n.ledger}
	for _, f := range change {
		f(&cfg)
	}
	translation := promconfig.DefaultOTLPConfig
	translation.PromoteResourceAttributes = []string{"cluster", "replica"}
	n.remote, n.otlp = NewHandlers(cfg, translation, quietLogger(), nil)
	n.cluster = n.e.cluster(testTenant, []byte("prod"))
	n.elect(true)
	return n
}

func (n *electedNode) elect(lease bool) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	n.cluster.lease, n.cluster.until = ballot{claim: claim{1, "a"}}, time.Time{}
	if lease {
		n.cluster.until = time.Now().Add(time.Hour)
	}
}

func (n *electedNode) times(name string) int {
	n.owner.mu.Lock()
	defer n.owner.mu.Unlock()
	return len(n.owner.stored[name])
}

func (n *electedNode) samples(replica string) SampleCounts {
	n.t.Helper()
	for _, row := range n.ledger.tenantStatuses(testTenant) {
		if row.Replica == replica {
			return row.Samples
		}
	}
	n.t.Fatalf("no row of %s", replica)
	return SampleCounts{}
}

// Series of a dropped replica are not looked up, decoded or kept, also not in a request
// that has others.
func TestElectionKeepsTheDroppedOutOfTheCache(t *testing.T) {
	for _, contentType := range []string{typeV1, typeV2} {
		n := newElectedNode(t)
		now := nowMillis()
		encode := func(series ...prompb.TimeSeries) []byte {
			if contentType == typeV2 {
				return encodeV2(t, toV2(series))
			}
			return encodeV1(t, &prompb.WriteRequest{Timeseries: series})
		}
		post(t, n.remote, contentType, encode(haSeries(now, "b")...))
		require.Zero(t, n.cache.entries.Load())
		post(t, n.remote, contentType, encode(append(haSeries(now, "b"), haSeries(now, "a")...)...))
		require.Equal(t, int64(2), n.cache.entries.Load())
		require.Equal(t, 1, n.times("one_a"))
		require.Zero(t, n.times("one_b"))
	}
}

// A tenant with room for one replica of its pairs is not refused for the other, by remote
// write or OTLP.
func TestElectionDoesNotChargeTheDropped(t *testing.T) {
	limits, now := &liveLimits{}, time.Now()
	limits.set(testTenant, func(l *Limits) { l.SamplesPerSecond, l.BurstSamples = 0.01, 4 })
	n := newElectedNode(t, limits.use, func(c *HandlerConfig) { c.Now = func() time.Time { return now } })
	at := now.UnixMilli()
	for range 10 {
		w := post(t, n.remote, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: haSeries(at, "b")}))
		require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		require.Equal(t, http.StatusOK, postOTLP(t, n.otlp, otlpOfReplica(t, at, "b", 3)).Code)
	}
	w := post(t, n.remote, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: append(haSeries(at, "b"), haSeries(at, "a")...)}))
	require.Equal(t, http.StatusNoContent, w.Code, w.Body)
	require.Equal(t, http.StatusTooManyRequests, postOTLP(t, n.otlp, otlpOfReplica(t, at, "a", 3)).Code)
}

// otlpOfReplica is an OTLP request of a replica with as many data points.
func otlpOfReplica(t *testing.T, at int64, replica string, points int) []byte {
	t.Helper()
	md, metrics := oneScope("cluster", "prod", "replica", replica)
	m := metrics.AppendEmpty()
	m.SetName("gauge_" + replica)
	g := m.SetEmptyGauge()
	for i := range points {
		p := g.DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.Timestamp(at * 1_000_000))
		p.Attributes().PutInt("i", int64(i))
		p.SetDoubleValue(1)
	}
	return otlpBody(t, md)
}

// OTLP is sifted as remote write is, once resource attributes are labels; what is held of
// it is stored like the rest, and booked. A request has three data points and target_info.
func TestElectionOfOTLPSenders(t *testing.T) {
	n := newElectedNode(t)
	at := nowMillis()
	for _, replica := range []string{"a", "b", "b"} {
		require.Equal(t, http.StatusOK, postOTLP(t, n.otlp, otlpOfReplica(t, at, replica, 3)).Code)
	}
	require.Equal(t, 3, n.times("gauge_a"))
	require.Zero(t, n.times("gauge_b"))
	require.Equal(t, SampleCounts{Received: 8, Accepted: 8, Deduplicated: 8}, n.samples("b"))
	n.elect(false)
	n.e.storeHeld(t.Context())
	require.Equal(t, 6, n.times("gauge_b"), "each delivery was held")
	require.Equal(t, 3, n.times("gauge_a"))
	require.Zero(t, n.e.heldBytes.Load())
	require.Equal(t, SampleCounts{Received: 8, Accepted: 8, Duplicate: 4, Deduplicated: 8, Restored: 8, Distinct: 4}, n.samples("b"))
	require.Equal(t, SampleCounts{Received: 4, Accepted: 4, Distinct: 4}, n.samples("a"))
}

// What is stored of a held request is what its replica had in it: the rest was stored
// when it came.
func TestElectionRestoresOneReplicaOfARequest(t *testing.T) {
	for _, v2 := range []bool{false, true} {
		n := newElectedNode(t)
		now := nowMillis()
		series := append(haSeries(now, "b"), haSeries(now, "a")...)
		series = append(series, haSeries(now, "c")...)
		series = append(series, seriesV1(now, 1, "__name__", "plain"))
		encode, contentType := encodeV1(t, &prompb.WriteRequest{Timeseries: series}), typeV1
		if v2 {
			encode, contentType = encodeV2(t, toV2(series)), typeV2
		}
		require.Equal(t, http.StatusNoContent, post(t, n.remote, contentType, encode).Code)
		require.Len(t, n.cluster.held, 2)
		n.elect(false)
		n.e.storeHeld(t.Context())
		for _, name := range []string{"one_a", "two_a", "one_b", "two_b", "one_c", "two_c", "plain"} {
			require.Equal(t, 1, n.times(name), name)
		}
		require.Equal(t, 4.0, testutil.ToFloat64(n.e.metrics.heldStored.samples))
		s := n.samples("a") // Its series are the first valid ones.
		require.Equal(t, SampleCounts{Received: 7, Accepted: 7, Deduplicated: 4, Restored: 4, Distinct: 7}, s)
	}
}

// However often a request is delivered, and whatever is done with it each time, the
// ledger says what is stored.
func TestLedgerBooksTheDropped(t *testing.T) {
	now := nowMillis()
	for name, c := range map[string]struct {
		deliver func(n *electedNode, body []byte)
		want    SampleCounts
	}{
		"dropped": {func(n *electedNode, body []byte) {
			post(t, n.remote, typeV1, body)
		}, SampleCounts{Accepted: 2, Deduplicated: 2}},
		"dropped twice": {func(n *electedNode, body []byte) {
			post(t, n.remote, typeV1, body)
			post(t, n.remote, typeV1, body)
		}, SampleCounts{Accepted: 4, Deduplicated: 4}},
		"dropped and restored": {func(n *electedNode, body []byte) {
			post(t, n.remote, typeV1, body)
			n.elect(false)
			n.e.storeHeld(t.Context())
		}, SampleCounts{Accepted: 2, Deduplicated: 2, Restored: 2, Distinct: 2}},
		"dropped and restored twice": {func(n *electedNode, body []byte) {
			post(t, n.remote, typeV1, body)
			post(t, n.remote, typeV1, body)
			n.elect(false)
			n.e.storeHeld(t.Context())
		}, SampleCounts{Accepted: 4, Duplicate: 2, Deduplicated: 4, Restored: 4, Distinct: 2}},
		"dropped, stored, restored": {func(n *electedNode, body []byte) {
			post(t, n.remote, typeV1, body)
			n.elect(false)
			post(t, n.remote, typeV1, body)
			n.e.storeHeld(t.Context())
		}, SampleCounts{Accepted: 4, Duplicate: 2, Deduplicated: 2, Restored: 2, Distinct: 2}},
		"stored, dropped, restored": {func(n *electedNode, body []byte) {
			n.elect(false)
			post(t, n.remote, typeV1, body)
			n.elect(true)
			post(t, n.remote, typeV1, body)
			n.elect(false)
			n.e.storeHeld(t.Context())
		}, SampleCounts{Accepted: 4, Duplicate: 2, Deduplicated: 2, Restored: 2, Distinct: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newElectedNode(t)
			c.deliver(n, encodeV1(t, &prompb.WriteRequest{Timeseries: haSeries(now, "b")}))
			c.want.Received = c.want.Accepted
			require.Equal(t, c.want, n.samples("b"))
			distinct := 0
			if n.times("one_b") > 0 {
				distinct = 2
			}
			require.EqualValues(t, distinct, n.samples("b").Distinct)
		})
	}
}

// A request that is answered 503 is promised nothing of, so that what is held of it is no
// business of the ledger.
func TestLedgerBooksNothingDroppedOfAnUnavailableRequest(t *testing.T) {
	n := newElectedNode(t)
	now := nowMillis()
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: append(haSeries(now, "b"), haSeries(now, "a")...)})
	n.owner.verdict = func(string) Verdict { return Unavailable }
	require.Equal(t, http.StatusServiceUnavailable, post(t, n.remote, typeV1, body).Code)
	n.owner.verdict = nil
	require.Equal(t, http.StatusNoContent, post(t, n.remote, typeV1, body).Code)
	n.elect(false)
	n.e.storeHeld(t.Context())
	require.Equal(t, SampleCounts{Received: 8, Accepted: 4, Unavailable: 4, Deduplicated: 2, Restored: 2, Distinct: 4}, n.samples("a"))
}

// A member that stops stores what it holds and drops nobody any more.
func TestElectionStoresWhatIsHeldAtTheEnd(t *testing.T) {
	n := newElectedNode(t)
	now := nowMillis()
	body := func(at int64) []byte { return encodeV1(t, &prompb.WriteRequest{Timeseries: haSeries(at, "b")}) }
	post(t, n.remote, typeV1, body(now-1000))
	n.owner.verdict = func(string) Verdict { return Unavailable }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, n.e.StoreHeld(ctx), context.DeadlineExceeded)
	n.owner.verdict = nil
	require.NoError(t, n.e.StoreHeld(t.Context()))
	require.Equal(t, 1, n.times("one_b"))
	n.elect(true)
	post(t, n.remote, typeV1, body(now))
	require.Equal(t, 2, n.times("one_b"))
	require.NoError(t, n.e.StoreHeld(t.Context()))
}

// Memory that is short keeps what is held where it is, and a body that cannot be read
// again is given up with a count.
func TestElectionStoresWhenItCan(t *testing.T) {
	n := newElectedNode(t)
	now := nowMillis()
	post(t, n.remote, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: haSeries(now, "b")}))
	n.elect(false)
	n.e.cfg.Admit = func() error { return errors.New("memory") }
	n.e.storeHeld(t.Context())
	require.Zero(t, n.times("one_b"))
	require.Len(t, n.cluster.held, 1)
	n.e.cfg.Admit = func() error { return nil }
	n.cluster.held[0].body = n.cluster.held[0].body[:10]
	n.e.storeHeld(t.Context())
	require.Equal(t, 1.0, testutil.ToFloat64(n.e.metrics.heldLost))
	require.Empty(t, n.cluster.held)
}
