// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Counters of the TSDB that the store reads. It has no other way to tell that a
// write log failed: Commit returns nil after a failed write to the WBL, and for
// a commit that was logged after the failed one.
const (
	walWritesFailed = "prometheus_tsdb_wal_writes_failed_total"
	wblWritesFailed = "prometheus_tsdb_out_of_order_wbl_writes_failed_total"
	walCorruptions  = "prometheus_tsdb_wal_corruptions_total"
	// These two tell of damage that the write logs make good.
	mmapCorruptions = "prometheus_tsdb_mmap_chunk_corruptions_total"
	snapshotErrors  = "prometheus_tsdb_snapshot_replay_error_total"
	// wblUnknownRefs counts by kind, so that its metrics come and go.
	wblUnknownRefs = "prometheus_tsdb_wbl_replay_unknown_refs_total"
)

// watch is the registerer of one open TSDB. It keeps the few counters above and
// forgets the other two hundred metrics, which nobody could read for a hundred
// tenants. Filled during tsdb.Open, read-only and safe for concurrent use after.
type watch struct {
	counters map[string]prometheus.Metric
	unknown  prometheus.Collector // wblUnknownRefs.
}

var _ prometheus.Registerer = (*watch)(nil)

func newWatch() *watch {
	return &watch{counters: make(map[string]prometheus.Metric)}
}

// verify fails when a counter that the store relies on does not exist, as it
// would be if another version of the TSDB had renamed it.
func (w *watch) verify(outOfOrder bool) error {
	names := []string{walWritesFailed, walCorruptions}
	if w.unknown == nil {
		return fmt.Errorf("this version of the TSDB has no counter %s: a load of its write logs cannot be checked", wblUnknownRefs)
	}
	if outOfOrder {
		names = append(names, wblWritesFailed)
	}
	for _, name := range names {
		if w.counters[name] == nil {
			return fmt.Errorf("this version of the TSDB has no counter %s: acknowledgements cannot be guarded", name)
		}
	}
	return nil
}

// writesFailed is how many writes to the WAL or WBL failed since the TSDB was opened.
func (w *watch) writesFailed() float64 {
	return w.value(walWritesFailed) + w.value(wblWritesFailed)
}

// repaired tells whether opening the TSDB found a damaged log and cut it.
func (w *watch) repaired() bool {
	return w.value(walCorruptions) > 0
}

// skipped tells whether opening the TSDB met samples in the WBL whose series it did
// not know, and left them out.
func (w *watch) skipped() bool {
	skipped := false
	for metric := range collect(w.unknown) {
		var out dto.Metric
		skipped = skipped || metric.Write(&out) != nil || out.GetCounter().GetValue() > 0
	}
	return skipped
}

func (w *watch) value(name string) float64 {
	metric := w.counters[name]
	if metric == nil {
		return 0
	}
	var out dto.Metric
	if err := metric.Write(&out); err != nil {
		// A counter that cannot be read guards nothing: treat it as moved.
		return 1
	}
	return out.GetCounter().GetValue()
}

// Register implements prometheus.Registerer.
func (w *watch) Register(c prometheus.Collector) error {
	name, ok := watchedName(c)
	if !ok {
		return nil
	}
	if name == wblUnknownRefs {
		w.unknown = c
		return nil
	}
	for metric := range collect(c) {
		w.counters[name] = metric
	}
	return nil
}

// collect returns the metrics of a collector, all of which must be received.
func collect(c prometheus.Collector) <-chan prometheus.Metric {
	metrics := make(chan prometheus.Metric)
	go func() {
		defer close(metrics)
		c.Collect(metrics)
	}()
	return metrics
}

// MustRegister implements prometheus.Registerer.
func (w *watch) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = w.Register(c) // Never fails.
	}
}

// Unregister implements prometheus.Registerer.
func (*watch) Unregister(prometheus.Collector) bool { return true }

// watchedName returns the name of the collector if it is one that is watched.
func watchedName(c prometheus.Collector) (found string, ok bool) {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		c.Describe(descs)
	}()
	for desc := range descs {
		// A Desc shows its name only in its text.
		text := desc.String()
		for _, name := range []string{walWritesFailed, wblWritesFailed, walCorruptions, mmapCorruptions, snapshotErrors, wblUnknownRefs} {
			if strings.HasPrefix(text, `Desc{fqName: "`+name+`"`) {
				found, ok = name, true
			}
		}
	}
	return found, ok
}
