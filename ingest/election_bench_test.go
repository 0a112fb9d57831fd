// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"

	"github.com/penstock-io/penstock/ring"
)

// BenchmarkHandlerElection is BenchmarkHandlerLocal for one of a pair: the elected
// replica, whose samples are stored, and the other, whose samples are dropped.
func BenchmarkHandlerElection(b *testing.B) {
	for _, replica := range []string{"elected", "other"} {
		for _, version := range []string{"1.0", "2.0"} {
			b.Run(replica+"/"+version, func(b *testing.B) {
				benchmarkElection(b, replica, version == "2.0")
			})
		}
	}
}

func benchmarkElection(b *testing.B, replica string, v2 bool) {
	e := NewElection(ElectionConfig{
		ClusterLabel: "cluster", ReplicaLabel: "replica", MaxHeldBytes: 1 << 20,
		View: ring.NewStatic(ring.Member{Name: "a"}, 1).View,
	}, quietLogger(), nil)
	c := e.cluster(testTenant, []byte("prod"))
	c.lease, c.until = ballot{claim: claim{1, "elected"}}, time.Now().Add(time.Hour)
	h := cachedNode(steadyStore{openStore(b)}, func(cfg *HandlerConfig) { cfg.Election = e })
	now := time.Now().Add(-time.Hour).UnixMilli()
	req := benchRequest(now)
	for i := range req.Timeseries {
		ts := &req.Timeseries[i]
		ts.Labels = append(labelsV1("__name__", ts.Labels[0].Value, "cluster", "prod"), ts.Labels[3:]...)
		ts.Labels = append(ts.Labels, prompb.Label{Name: "replica", Value: replica})
	}
	benchmarkHandler(b, h, newBenchLoadFrom(b, v2, req, now))
}
