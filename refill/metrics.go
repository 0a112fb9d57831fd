// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import "github.com/prometheus/client_golang/prometheus"

// Steps that fail, the label "step" of failures.
const (
	failPeers    = "peers"
	failRead     = "read"
	failWrite    = "write"
	failVerify   = "verify"
	failAdd      = "add"
	failProgress = "progress"
)

type metrics struct {
	losses, remaining              prometheus.Gauge
	ranges, failures               *prometheus.CounterVec
	series, samples, bytes, blocks prometheus.Counter
	givenUp                        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_refill_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "penstock_refill_" + name, Help: help})
	}
	vector := func(name, help, label string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_refill_" + name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	m := &metrics{
		losses:    gauge("losses", "Losses of this member that are not made good; above 0 queries count it as missing."),
		remaining: gauge("remaining_ranges", "Block ranges of tenants that the current round has still to read."),
		ranges: vector("ranges_total", "Block ranges of tenants that were refilled: done, empty, or short because other members have lost data too.",
			"outcome", outcomeDone, outcomeEmpty, outcomeShort),
		failures: vector("failures_total", "Attempts that failed and are repeated, by step.",
			"step", failPeers, failRead, failWrite, failVerify, failAdd, failProgress),
		series:  counter("series_total", "Series in blocks that were added; one series counts once a block."),
		samples: counter("samples_total", "Samples in blocks that were added, their digest verified."),
		bytes:   counter("bytes_total", "Bytes of chunks in blocks that were added."),
		blocks:  counter("blocks_total", "Blocks that were added."),
		givenUp: counter("given_up_losses_total", "Losses that no other member has a copy of: data that is gone."),
	}
	if reg != nil {
		reg.MustRegister(m.losses, m.remaining, m.ranges, m.failures, m.series, m.samples, m.bytes, m.blocks, m.givenUp)
	}
	return m
}
