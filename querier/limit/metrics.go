// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	refusals *prometheus.CounterVec
	finished *prometheus.CounterVec
	slow     prometheus.Counter
	read     *prometheus.CounterVec
	waited   prometheus.Counter

	restarts, waitedForMemory prometheus.Counter
}

func newMetrics(b *Books, reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		refusals: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_refused_total",
			Help: "Queries that were refused or ended, by the limit that they met.",
		}, []string{"reason"}),
		finished: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_finished_total",
			Help: "Queries that were let in, by how they ended.",
		}, []string{"result"}),
		slow: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_slow_total",
			Help: "Queries that took longer than --query.slow-log-threshold.",
		}),
		read: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_query_read_bytes_total",
			Help: "Bytes of chunks that queries have read, by where they come from.",
		}, []string{"source"}),
		waited: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_queue_seconds_total",
			Help: "Time that queries have waited to be let in.",
		}),
		restarts: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_restarts_total",
			Help: "Queries that gave up what they held because memory was short, to be begun again.",
		}),
		waitedForMemory: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_query_memory_wait_seconds_total",
			Help: "Time that queries have waited for memory.",
		}),
	}
	for _, n := range names {
		m.refusals.WithLabelValues(string(n))
	}
	for _, r := range results {
		m.finished.WithLabelValues(r)
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_queries_running",
		Help: "Queries that are let in.",
	}, func() float64 { inside, _ := b.door.counts(); return float64(inside) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_queries_waiting",
		Help: "Queries that wait to be let in.",
	}, func() float64 { _, waiting := b.door.counts(); return float64(waiting) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_queries_waiting_for_core",
		Help: "Queries, and parts of them, that wait for a turn to compute.",
	}, func() float64 { return float64(b.turns.waiting.Load()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_queries_waiting_for_memory",
		Help: "Queries that gave up what they held because memory was short, and wait to be begun again.",
	}, func() float64 { return float64(b.line.waiting()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_queries_memory_bytes",
		Help: "Estimated memory that running queries hold.",
	}, func() float64 { return float64(b.held.Load()) })
	return m
}

func (m *metrics) refused(n Name) {
	if n != "" {
		m.refusals.WithLabelValues(string(n)).Inc()
	}
}
