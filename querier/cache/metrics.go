// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// What the store had of a piece, label "result" of penstock_query_cache_pieces_total.
const (
	resultHit     = "hit"     // All steps.
	resultPartial = "partial" // Some.
	resultMiss    = "miss"
)

type metrics struct {
	queries   *prometheus.CounterVec
	pieces    *prometheus.CounterVec
	steps     *prometheus.CounterVec
	evictions prometheus.Counter
	bytes     prometheus.Gauge
	entries   prometheus.Gauge
	shared    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		queries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_cache_queries_total",
			Help: "Range queries that were put together from pieces (split), that were evaluated as they are (whole), and that were not to be cached (bypass).",
		}, []string{"way"}),
		pieces: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_cache_pieces_total",
			Help: "Pieces of range queries by how many of their steps were known: all (hit), some (partial) or none (miss).",
		}, []string{"result"}),
		steps: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_cache_steps_total",
			Help: "Steps of pieces by where they came from: store or engine.",
		}, []string{"source"}),
		evictions: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_cache_evictions_total",
			Help: "Pieces of answers that were forgotten to make room for others.",
		}),
		bytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_query_cache_bytes",
			Help: "Memory of the pieces of answers that are kept.",
		}),
		entries: f.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_query_cache_entries",
			Help: "Pieces of answers that are kept.",
		}),
		shared: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_shared_total",
			Help: "Queries that got the answer of the same query of somebody else.",
		}),
	}
	for _, way := range []string{"split", "whole", "bypass"} {
		m.queries.WithLabelValues(way)
	}
	for _, result := range []string{resultHit, resultPartial, resultMiss} {
		m.pieces.WithLabelValues(result)
	}
	for _, source := range []string{"store", "engine"} {
		m.steps.WithLabelValues(source)
	}
	return m
}
