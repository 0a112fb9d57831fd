// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
)

type metrics struct {
	blocks, failures, samplesIn, samplesOut, seconds *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "penstock", Subsystem: "downsample", Name: name, Help: help,
		}, []string{"resolution"})
	}
	m := &metrics{
		blocks:     counter("blocks_total", "Blocks that were downsampled to the resolution."),
		failures:   counter("failures_total", "Blocks that could not be downsampled to the resolution."),
		samplesIn:  counter("read_samples_total", "Samples of blocks that were downsampled to the resolution."),
		samplesOut: counter("written_samples_total", "Samples that were left of them."),
		seconds:    counter("seconds_total", "Time that downsampling to the resolution took."),
	}
	all := []*prometheus.CounterVec{m.blocks, m.failures, m.samplesIn, m.samplesOut, m.seconds}
	for _, resolution := range []int64{FiveMinutes, OneHour} {
		for _, c := range all {
			c.WithLabelValues(label(resolution))
		}
	}
	if reg != nil {
		for _, c := range all {
			reg.MustRegister(c)
		}
	}
	return m
}

func label(resolution int64) string { return model.Duration(Duration(resolution)).String() }

func (m *metrics) observe(resolution int64, r result, took time.Duration, err error) {
	l := label(resolution)
	m.seconds.WithLabelValues(l).Add(took.Seconds())
	if err != nil {
		m.failures.WithLabelValues(l).Inc()
		return
	}
	m.blocks.WithLabelValues(l).Inc()
	m.samplesIn.WithLabelValues(l).Add(float64(r.samples))
	m.samplesOut.WithLabelValues(l).Add(float64(r.NumSamples))
}
