// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Why a block was marked for deletion: the values of the reason label.
const (
	markCompacted = "compacted" // What was made of it is in the bucket.
	markCovered   = "covered"   // Another block has everything that went into it.
	markRetention = "retention"
	markEmpty     = "empty" // It has no samples.
)

const (
	levelDownsample = "downsample"
)

type metrics struct {
	runs        prometheus.Counter
	runFailures prometheus.Counter
	lastSuccess prometheus.Gauge
	todo        *prometheus.GaugeVec
	oversized   prometheus.Gauge
	foreign     prometheus.Gauge
	compactions *prometheus.CounterVec
	failures    prometheus.Counter
	seconds     prometheus.Histogram
	samples     prometheus.Counter
	readBytes   prometheus.Counter
	wroteBytes  prometheus.Counter
	quarantined *prometheus.CounterVec
	marked      *prometheus.CounterVec
	deleted     prometheus.Counter
	cleaned     prometheus.Counter
	bereft      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, levels []string) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "penstock", Subsystem: "compact", Name: name, Help: help})
	}
	counters := func(name, label, help string, values ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "penstock", Subsystem: "compact", Name: name, Help: help}, []string{label})
		for _, value := range values {
			v.WithLabelValues(value)
		}
		return v
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "penstock", Subsystem: "compact", Name: name, Help: help})
	}
	m := &metrics{
		runs:        counter("runs_total", "Looks at the bucket for something to do."),
		runFailures: counter("run_failures_total", "Looks at the bucket in which something failed, and is tried again."),
		lastSuccess: gauge("last_success_timestamp_seconds", "When this member was last done with all that it saw to do."),
		todo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "penstock", Subsystem: "compact", Name: "todo_blocks",
			Help: "Blocks that this member is to merge now, by the length of what they become. Longer ones follow from shorter ones and are not counted yet.",
		}, []string{"level"}),
		oversized:   gauge("oversized_windows", "Stretches of time that are not compacted because the local disk has no room for it."),
		foreign:     gauge("foreign_compactions", "Blocks of Penstock's own groups that another compactor made. It should be 0: let one compactor work on a bucket."),
		compactions: counters("compactions_total", "level", "Blocks that were made of others, by their length.", levels...),
		failures:    counter("failures_total", "Merges that failed and are tried again."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "penstock", Subsystem: "compact", Name: "duration_seconds",
			Help:    "Time of one merge, with download and upload.",
			Buckets: prometheus.ExponentialBuckets(0.1, 4, 10),
		}),
		samples:    counter("samples_total", "Samples in the blocks that were made."),
		readBytes:  counter("read_bytes_total", "Bytes of blocks that were downloaded to be merged."),
		wroteBytes: counter("written_bytes_total", "Bytes of blocks that were made and uploaded."),
		quarantined: counters("quarantined_total", "reason", "Blocks that were marked as not to be compacted.",
			bucket.ReasonBroken, reasonIndexSize, reasonOutOfOrder),
		marked: counters("marked_for_deletion_total", "reason", "Blocks that were marked for deletion.",
			markCompacted, markCovered, markRetention, markEmpty),
		deleted: counter("deleted_blocks_total", "Blocks that were deleted, after the delay."),
		cleaned: counter("cleaned_partial_uploads_total", "Uploads that were given up, or deletes that were cut off, whose objects were removed."),
		bereft:  counter("refused_deletions_total", "Blocks that were to be deleted for being compacted, and of which no other block has the samples any more. Their marks were removed."),
	}
	for _, level := range levels {
		m.todo.WithLabelValues(level)
	}
	if reg != nil {
		reg.MustRegister(m.runs, m.runFailures, m.lastSuccess, m.todo, m.oversized, m.foreign, m.compactions, m.failures,
			m.seconds, m.samples, m.readBytes, m.wroteBytes, m.quarantined, m.marked, m.deleted, m.cleaned, m.bereft)
	}
	return m
}

// shortDuration writes 14 days as 14d and not as 336h0m0s or 2w.
func shortDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return model.Duration(d).String()
}
