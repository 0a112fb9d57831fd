// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// haSender is a server of an HA pair in TestElectionUnderLoad.
type haSender struct {
	cluster, replica string
	targets          int
	up               bool
	backlog          []int64 // timestamps of scrapes that were not delivered yet
}

func (s *haSender) series(at int64, stale bool) (out []prompb.TimeSeries) {
	v := 1.0
	if stale {
		v = math.Float64frombits(value.StaleNaN)
	}
	for i := range s.targets {
		out = append(out, seriesV1(at, v, "__name__", fmt.Sprintf("%s_%s_%d", s.cluster, s.replica, i), "cluster", s.cluster, "replica", s.replica))
	}
	return out
}

// TestElectionUnderLoad drives two pairs through three nodes for some minutes of virtual
// time: servers that die together and come back, take turns, fall behind and deliver
// late and out of order, write one request through a proxy, or the same one twice, and mark
// series as stale. At any time the ledgers say what is stored; in the end one server of each
// pair is, and every request was accepted.
func TestElectionUnderLoad(t *testing.T) {
	seed := simSeed(t)
	c := newElectionNodes(t)
	rnd := rand.New(rand.NewPCG(seed, 2))
	senders := []*haSender{
		{cluster: "prod", replica: "a", targets: 2}, {cluster: "prod", replica: "b", targets: 3}, // Not the same targets.
		{cluster: "lab", replica: "a", targets: 1}, {cluster: "lab", replica: "b", targets: 1},
	}
	deliver := func(times int, series ...prompb.TimeSeries) {
		n := c.nodes[rnd.IntN(len(c.nodes))]
		contentType, body := typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})
		if rnd.IntN(2) == 0 {
			contentType, body = typeV2, encodeV2(t, toV2(series))
		}
		for range times {
			w := post(t, n.handler, contentType, body)
			require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		}
	}
	second := func(calm bool) {
		now := c.now.Add(1000)
		var proxied []prompb.TimeSeries
		for _, s := range senders {
			if !calm && rnd.IntN(20) == 0 {
				s.up = !s.up
				if !s.up {
					deliver(1, s.series(now, true)...)
				}
			}
			if s.up = s.up || calm; !s.up {
				continue
			}
			s.backlog = append(s.backlog, now)
			if !calm && rnd.IntN(4) == 0 && len(s.backlog) < 30 {
				continue // It cannot reach anybody.
			}
			if len(s.backlog) == 1 && rnd.IntN(3) == 0 {
				proxied = append(proxied, s.series(now, false)...)
			} else {
				rnd.Shuffle(len(s.backlog), func(i, j int) { s.backlog[i], s.backlog[j] = s.backlog[j], s.backlog[i] })
				for _, at := range s.backlog {
					deliver(1+rnd.IntN(2), s.series(at, false)...)
				}
			}
			s.backlog = s.backlog[:0]
		}
		if len(proxied) > 0 {
			deliver(1, proxied...)
		}
		for _, n := range c.nodes {
			n.election.round(t.Context())
			n.election.storeHeld(t.Context())
		}
	}
	for range 8 {
		for range 30 {
			second(false)
		}
		c.requireAllBooked(seed)
	}
	for range 80 {
		second(true)
	}
	c.requireAllBooked(seed)
	before := c.countStored()
	for range 10 {
		second(true)
	}
	grown := c.countStored() - before
	require.Less(t, grown, 10*7, "seed %d: somebody is dropped of each pair", seed)
	require.GreaterOrEqual(t, grown, 10*3, "seed %d: nobody is dropped with the other", seed)
	for _, n := range c.nodes {
		require.NoError(t, n.election.StoreHeld(t.Context()))
	}
	c.requireAllBooked(seed)
}

// countStored counts the samples that the first node has, each once.
func (c *electionNodes) countStored() (n int) {
	o := c.nodes[0].owner
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, samples := range o.stored {
		times := map[int64]bool{}
		for _, s := range samples {
			times[s.T] = true
		}
		n += len(times)
	}
	return n
}

func (c *electionNodes) requireAllBooked(seed uint64) {
	c.t.Helper()
	var sum SampleCounts
	for _, n := range c.nodes {
		for _, row := range n.ledger.tenantStatuses(testTenant) {
			sum.add(row.Samples)
		}
	}
	require.Equal(c.t, sum.Received, sum.Accepted)
	require.EqualValues(c.t, c.countStored(), sum.Distinct, "seed %d: %+v", seed, sum)
}
