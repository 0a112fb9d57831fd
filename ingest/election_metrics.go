// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// electionMetrics are what the election among HA replicas counts.
type electionMetrics struct {
	dropped      itemCounters
	undecided    prometheus.Counter
	changes      prometheus.Counter
	heldStored   itemCounters
	heldLost     prometheus.Counter
	heldRefused  prometheus.Counter
	roundsFailed prometheus.Counter
}

func newElectionMetrics(reg prometheus.Registerer, e *Election) *electionMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("penstock_ingest_ha_clusters", "HA clusters of which this member has received writes lately.", func() float64 {
		e.mu.RLock()
		defer e.mu.RUnlock()
		return float64(len(e.clusters))
	})
	gauge("penstock_ingest_ha_owned_clusters", "HA clusters for which this member, as an owner, votes on who is elected.", func() float64 {
		return float64(e.owned.len())
	})
	gauge("penstock_ingest_ha_held_bytes", "Bytes of dropped requests that are kept until the elected replica has covered their time.", func() float64 {
		return float64(e.heldBytes.Load())
	})
	return &electionMetrics{
		dropped:      newItemCounters(f, "penstock_ingest_ha_dropped_items_total", "Items of replicas that were not elected; they were answered as written."),
		undecided:    counter("penstock_ingest_ha_undecided_requests_total", "Parts of write requests by one HA replica that were admitted because nobody could be dropped: nothing learned yet, the elected one is silent or behind, or too few owners answer."),
		changes:      counter("penstock_ingest_ha_elected_changes_total", "Times that this member was told of another elected replica of a cluster."),
		heldStored:   newItemCounters(f, "penstock_ingest_ha_held_stored_items_total", "Items of dropped requests that were stored after all, because the elected replica fell silent."),
		heldLost:     counter("penstock_ingest_ha_held_lost_requests_total", "Dropped requests that were given up before the elected replica had covered their time, for lack of memory or because they were too old."),
		heldRefused:  counter("penstock_ingest_ha_held_refused_series_total", "Series of dropped requests that were refused when they were to be stored after all."),
		roundsFailed: counter("penstock_ingest_ha_failed_questions_total", "Reports to owners that were not answered."),
	}
}
