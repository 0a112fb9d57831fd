// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import "github.com/prometheus/client_golang/prometheus"

// Reasons of metrics.dropped.
const (
	dropFull       = "full"
	dropWriteError = "write_error"
	dropCorrupt    = "corrupt"
	dropDisk       = "low_disk"
	// What follows are reasons of a Debt only: expired hints have a counter of their
	// own, and no request that was taken in makes a hint that is too large.
	dropExpired  = "expired"
	dropTooLarge = "too_large"
	dropCrash    = "host_crash"
	shortRing    = "short_ring"
)

// metrics carry the member as a label: a ring has few, and each is a hole to
// look after.
type metrics struct {
	appended   *prometheus.CounterVec
	replayed   *prometheus.CounterVec
	expired    *prometheus.CounterVec
	dropped    *prometheus.CounterVec
	torn       *prometheus.CounterVec
	replayErrs *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, l *Log) *metrics {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		opts := prometheus.CounterOpts{Name: "penstock_hint_" + name, Help: help}
		return prometheus.NewCounterVec(opts, append([]string{"member"}, labels...))
	}
	m := &metrics{
		appended:   vec("appended_total", "Hints written for a member."),
		replayed:   vec("replayed_total", "Hints that a member took."),
		expired:    vec("expired_total", "Hints dropped because a member would find them too old: it is missing these writes."),
		dropped:    vec("dropped_total", "Hints not kept, by reason: the member is missing these writes.", "reason"),
		torn:       vec("torn_segments_total", "Segments that end in a record cut short by a crash."),
		replayErrs: vec("replay_errors_total", "Replays that stopped at an error."),
	}
	if reg != nil {
		reg.MustRegister(m.appended, m.replayed, m.expired, m.dropped, m.torn, m.replayErrs, newPendingCollector(l))
	}
	return m
}

// touch makes the series of a member exist from the start.
func (m *metrics) touch(member string) {
	for _, v := range []*prometheus.CounterVec{m.appended, m.replayed, m.expired, m.torn, m.replayErrs} {
		v.WithLabelValues(member)
	}
	for _, reason := range []string{dropFull, dropWriteError, dropCorrupt, dropDisk} {
		m.dropped.WithLabelValues(member, reason)
	}
}

// pendingCollector reads the log when it is scraped.
type pendingCollector struct {
	log                          *Log
	bytes, records, oldest, disk *prometheus.Desc
}

func newPendingCollector(l *Log) *pendingCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("penstock_hint_"+name, help, labels, nil)
	}
	return &pendingCollector{
		log:     l,
		bytes:   desc("pending_bytes", "Bytes of hints that wait for a member.", "member"),
		records: desc("pending_records", "Hints that wait for a member.", "member"),
		oldest:  desc("oldest_timestamp_seconds", "When the oldest hint that waits for a member was written; absent when none waits.", "member"),
		disk:    desc("disk_bytes", "Bytes of all segments on disk, which the bound is on."),
	}
}

// Describe implements prometheus.Collector.
func (c *pendingCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.bytes
	ch <- c.records
	ch <- c.oldest
	ch <- c.disk
}

// Collect implements prometheus.Collector.
func (c *pendingCollector) Collect(ch chan<- prometheus.Metric) {
	for member, s := range c.log.stats() {
		ch <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(s.Bytes), member)
		ch <- prometheus.MustNewConstMetric(c.records, prometheus.GaugeValue, float64(s.Records), member)
		if s.Records > 0 {
			ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, float64(s.Oldest.UnixMilli())/1000, member)
		}
	}
	ch <- prometheus.MustNewConstMetric(c.disk, prometheus.GaugeValue, float64(c.log.used.Load()))
}
