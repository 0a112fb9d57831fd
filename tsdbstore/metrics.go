// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import "github.com/prometheus/client_golang/prometheus"

// Reasons of metrics.reopens.
const (
	reopenWriteFailed = "write_failed"
	reopenWALRepaired = "wal_repaired"
	reopenOpenFailed  = "open_failed"
)

// Reasons of metrics.seriesRefused.
const (
	refusedTenant = "max_series"
	refusedNode   = "node.max_series"
	refusedAdmit  = "overload"
)

// MetricQuarantined counts what was damaged and set aside, by kind.
const MetricQuarantined = "penstock_tsdb_quarantined_total"

// metrics are of the whole store: nothing here grows with the tenants.
type metrics struct {
	appended          prometheus.Counter
	walFailures       prometheus.Counter
	walRepairs        prometheus.Counter
	reopens           *prometheus.CounterVec
	openFailures      prometheus.Counter
	quarantined       *prometheus.CounterVec
	lossesFound       prometheus.Counter
	blocksAdded       prometheus.Counter
	lowDiskRefusals   prometheus.Counter
	tenantsRefused    prometheus.Counter
	seriesRefused     *prometheus.CounterVec
	cuts              prometheus.Counter
	cutFailures       prometheus.Counter
	cutSeconds        prometheus.Histogram
	idleFlushes       prometheus.Counter
	blocksDeleted     prometheus.Counter
	retentionFailures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, s *Store) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_tsdb_" + name, Help: help})
	}
	m := &metrics{
		appended:    counter("appended_samples_total", "Samples of commits that were acknowledged."),
		walFailures: counter("wal_failures_total", "Times a TSDB stopped acknowledging because a write to its WAL or WBL failed."),
		walRepairs:  counter("wal_repairs_total", "Times a write log was found damaged on opening and was cut at the damage."),
		reopens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_tsdb_reopens_total",
			Help: "Times a TSDB was opened again without a restart, by reason.",
		}, []string{"reason"}),
		seriesRefused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_tsdb_new_series_refused_total",
			Help: "Samples refused because their series does not exist and may not be made, by limit.",
		}, []string{"limit"}),
		quarantined: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: MetricQuarantined,
			Help: "Times something on the local disk could not be read and was set aside, by what it was.",
		}, []string{"what"}),
		openFailures:    counter("open_failures_total", "Attempts to open a TSDB that failed."),
		lossesFound:     counter("losses_found_total", "Times it was found that samples may be missing here."),
		blocksAdded:     counter("added_blocks_total", "Blocks made elsewhere on this node that were taken in."),
		lowDiskRefusals: counter("low_disk_refusals_total", "Writes refused because the file system is below the low-water mark."),
		tenantsRefused:  counter("tenants_refused_total", "Writes refused because the node has its limit of tenants."),
		cuts:            counter("compactions_total", "Attempts to cut a head into blocks."),
		cutFailures:     counter("compactions_failed_total", "Attempts to cut a head into blocks that failed."),
		cutSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "penstock_tsdb_compaction_duration_seconds",
			Help:    "Time spent cutting the head of one tenant, when there was something to cut.",
			Buckets: prometheus.ExponentialBuckets(0.01, 4, 8),
		}),
		idleFlushes:       counter("idle_flushes_total", "Heads cut because their tenant sends nothing any more."),
		blocksDeleted:     counter("deleted_blocks_total", "Local blocks deleted by retention."),
		retentionFailures: counter("retention_failures_total", "Times blocks stayed because the retention file could not be written."),
	}
	for _, reason := range []string{reopenWriteFailed, reopenWALRepaired, reopenOpenFailed} {
		m.reopens.WithLabelValues(reason)
	}
	for _, what := range []string{kindHead, kindMmapped, kindSnapshot, kindBlock} {
		m.quarantined.WithLabelValues(what)
	}
	for _, limit := range []string{refusedTenant, refusedNode, refusedAdmit} {
		m.seriesRefused.WithLabelValues(limit)
	}
	if reg != nil {
		reg.MustRegister(m.appended, m.walFailures, m.walRepairs, m.reopens, m.openFailures, m.quarantined, m.lossesFound, m.blocksAdded,
			m.lowDiskRefusals, m.tenantsRefused, m.seriesRefused, m.cuts, m.cutFailures, m.cutSeconds, m.idleFlushes,
			m.blocksDeleted, m.retentionFailures)
		reg.MustRegister(s.gauges()...)
	}
	return m
}

// gauges are read from the store when asked for.
func (s *Store) gauges() []prometheus.Collector {
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "penstock_tsdb_" + name, Help: help}, read)
	}
	return []prometheus.Collector{
		gauge("tenants", "Tenants with a local TSDB.", func() float64 { return float64(len(s.all())) }),
		gauge("ready", "1 when every tenant found at start has been opened.", func() float64 {
			if s.Ready() {
				return 1
			}
			return 0
		}),
		gauge("failed", "TSDBs that acknowledge nothing because they failed and are not reopened yet.", func() float64 {
			return s.sum(func(t *tenant) float64 {
				if inst := t.inst.Load(); inst == nil || inst.failed.Load() {
					return 1
				}
				return 0
			})
		}),
		gauge("head_series", "Series in the heads of all tenants.", func() float64 {
			return float64(s.series.Load())
		}),
		gauge("local_blocks", "Blocks on the local disk.", func() float64 {
			return s.sum(func(t *tenant) float64 { return float64(len(t.localBlocks())) })
		}),
		gauge("local_block_bytes", "Bytes of the blocks on the local disk.", func() float64 {
			return s.sum(func(t *tenant) float64 {
				var total int64
				for _, b := range t.localBlocks() {
					total += b.Bytes
				}
				return float64(total)
			})
		}),
		gauge("overdue_blocks", "Blocks past retention that stay because they are not held elsewhere.", func() float64 {
			return s.sum(func(t *tenant) float64 { return float64(t.overdue.Load()) })
		}),
		gauge("losses", "Stretches of time of which samples may be missing here, not refilled yet.", func() float64 {
			return float64(len(s.losses.all()))
		}),
		gauge("disk_free_bytes", "Free space of the file system under the store; 0 where it cannot be told.", func() float64 {
			free, _ := s.disk.current()
			return float64(free)
		}),
	}
}

func (s *Store) sum(of func(*tenant) float64) float64 {
	var total float64
	for _, t := range s.all() {
		total += of(t)
	}
	return total
}
