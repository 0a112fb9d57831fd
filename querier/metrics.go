// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Results of a fan-out, label "result" of penstock_querier_fanouts_total.
const (
	resultComplete   = "complete"   // Every member answered.
	resultDegraded   = "degraded"   // Members are missing, but no more than may be.
	resultPartial    = "partial"    // Answered with a warning.
	resultIncomplete = "incomplete" // Refused: too many members are missing.
	resultError      = "error"      // Failed otherwise: cancelled, too large.
)

// metrics of the asking side.
type metrics struct {
	fanouts        *prometheus.CounterVec
	peerRequests   *prometheus.CounterVec
	peerSeconds    *prometheus.HistogramVec
	peerBytes      prometheus.Counter
	bucketRequests *prometheus.CounterVec
	conflicts      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		fanouts: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_querier_fanouts_total",
			Help: "Questions asked of the whole cluster, by how the answer came out. \"degraded\" is complete although members were missing.",
		}, []string{"result"}),
		peerRequests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_querier_peer_requests_total",
			Help: "Requests to peers by what was asked and whether a whole answer came back.",
		}, []string{"operation", "outcome"}),
		peerSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "penstock_querier_peer_request_duration_seconds",
			Help:    "Time until the last byte of a peer's answer.",
			Buckets: prometheus.ExponentialBuckets(0.002, 4, 8), // 2 ms to 33 s.
		}, []string{"operation"}),
		peerBytes: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_querier_peer_received_bytes_total",
			Help: "Bytes of peers' answers.",
		}),
		bucketRequests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_querier_bucket_requests_total",
			Help: "Questions that went to the bucket: because the range is older than what members hold (old), or because a member was missing (missing).",
		}, []string{"reason"}),
		conflicts: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_querier_copy_conflicts_total",
			Help: "Timestamps at which copies of a series held different samples.",
		}),
	}
	for _, r := range []string{resultComplete, resultDegraded, resultPartial, resultIncomplete, resultError} {
		m.fanouts.WithLabelValues(r)
	}
	for _, op := range operations {
		m.peerRequests.WithLabelValues(op, "ok")
		m.peerRequests.WithLabelValues(op, "failed")
		m.peerSeconds.WithLabelValues(op)
	}
	m.bucketRequests.WithLabelValues("old")
	m.bucketRequests.WithLabelValues("missing")
	return m
}
