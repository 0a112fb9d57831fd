// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestReplication stores every series on RF members, for every RF and more members.
func TestReplication(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) { cfg.StragglerWait = time.Millisecond })
	release := c.block(0)
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, []string{"x"}, c.hints.series(t, "m0"))
	release()
	c.dist.Close()
}

// TestMetadataReachesEveryMember by a request that has nothing else.
func TestMetadataReachesEveryMember(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	c := newCluster(t, 3, 3)
	var seen atomic.Pointer[[]byte]
	c.servers[1].Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := readBody(r, nil, 1<<20, nil)
		seen.Store(&body)
		w.WriteHeader(http.StatusNoContent)
	})
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "x")}})
	require.Equal(t, http.StatusNoContent, post(t, c.handler, typeV1, body).Code)
	c.dist.Close()
	require.Equal(t, body, *seen.Load())
}

// TestPeersGetOnlyWhatIsValid has a bad series and a bad sample in a request whose
// body could be forwarded as it came, if it were not for them.
func TestPeersGetOnlyWhatIsValid(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, 3)
	for _, o := range c.owners {
		o.verdict = func(series string) Verdict {
			if series == "refused" {
				return Rejected
			}
			return Accepted
		}
	}
	ts := nowMillis()
	half := seriesV1(ts, 1, "__name__", "half")
	half.Samples = append(half.Samples, prompb.Sample{Timestamp: ts + 3600_000, Value: 2})
	w := post(t, c.handler, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		seriesV1(ts, 1, "no", "name"), half, seriesV1(ts, 3, "__name__", "refused"), seriesV1(ts, 4, "__name__", "good"),
	}}))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, w.Body.String(), "3 of 4 series refused in whole or part (3 samples")
	c.dist.Close()
	for _, o := range c.owners {
		require.Equal(t, map[string][]Sample{"half": {{T: ts, V: 1}}, "good": {{T: ts, V: 4}}}, o.stored)
	}
}

// TestStartTimestampsTravel from a 2.0 sender to every owner, though 1.0 between
// members has no field for them.
func TestStartTimestampsTravel(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
	c := newCluster(t, 3, 3, func(cfg *DistributorConfig) {
		cfg.MaxInflightBytes, cfg.StragglerWait = 1, time.Millisecond
	})
	release := c.block(1)
	require.Equal(t, http.StatusNoContent, c.send("x").Code)
	require.Equal(t, http.StatusNoContent, c.send("y").Code)
	require.Equal(t, []string{"x", "y"}, c.hints.series(t, "m1"))
	// The second waits a moment to be joined with others before it finds no room.
	refused := c.dist.metrics.peerRequests.WithLabelValues(peerOverloaded)
	require.Eventually(t, func() bool { return testutil.ToFloat64(refused) == 1 }, 10*time.Second, time.Millisecond)
	release()
	c.dist.Close()
	require.Equal(t, int64(1), c.owners[1].calls.Load(), "the second was not sent")
}
