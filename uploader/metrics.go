// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package uploader

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	uploads      prometheus.Counter
	failures     prometheus.Counter
	lastSuccess  prometheus.Gauge
	pendingGauge prometheus.Gauge
	pending      atomic.Int64
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		uploads: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_uploader_uploads_total",
			Help: "Attempts to upload a block.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_uploader_upload_failures_total",
			Help: "Attempts to upload a block that failed and are repeated.",
		}),
		lastSuccess: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_uploader_last_success_timestamp_seconds",
			Help: "When every finished block was last known to be in the bucket.",
		}),
		pendingGauge: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_uploader_blocks_pending",
			Help: "Finished blocks that are not in the bucket yet, as of the last pass.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.uploads, m.failures, m.lastSuccess, m.pendingGauge)
	}
	return m
}

func (m *metrics) setPending(n int) {
	m.pending.Store(int64(n))
	m.pendingGauge.Set(float64(n))
}

func (m *metrics) pendingNow() int64 { return m.pending.Load() }
