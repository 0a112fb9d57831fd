// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import "github.com/prometheus/client_golang/prometheus"

type clusterMetrics struct {
	members       *prometheus.GaugeVec
	alive         prometheus.Gauge
	forgotten     prometheus.Gauge
	notWhole      prometheus.Gauge
	majority      prometheus.Gauge
	ringVersion   prometheus.Gauge
	rejoins       prometheus.Counter
	refused       *prometheus.CounterVec
	forgets       prometheus.Counter
	nameConflicts prometheus.Counter
	dropped       prometheus.Counter
	writeFailures prometheus.Counter
}

func newClusterMetrics(reg prometheus.Registerer) *clusterMetrics {
	m := &clusterMetrics{
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "penstock_cluster_members",
			Help: "Members that are known and not forgotten, dead ones included, by the last state they had.",
		}, []string{"state"}),
		alive: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_cluster_members_alive",
			Help: "Members of the ring that are alive, this one included.",
		}),
		forgotten: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_cluster_members_forgotten",
			Help: "Members that lost their slots after being dead too long, but may hold samples that queries miss.",
		}),
		notWhole: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_cluster_members_not_whole",
			Help: "Members that lost data, or whose disk was replaced, and that have not been refilled yet. Queries count them as missing.",
		}),
		majority: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_cluster_majority",
			Help: "1 if a majority of the members of the ring is alive as seen from here, else 0.",
		}),
		ringVersion: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "penstock_cluster_ring_version",
			Help: "Low 53 bits of the ring version. It must be the same on all members; the value has no other meaning.",
		}),
		rejoins: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_cluster_rejoins_total",
			Help: "Missing members and seeds that the re-join loop reached.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_cluster_join_refused_total",
			Help: "Contacts refused, by either side, because of what all members must share.",
		}, []string{"reason"}),
		forgets: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_cluster_forgotten_total",
			Help: "Members that this member took the slots from because they were dead too long.",
		}),
		nameConflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_cluster_name_conflicts_total",
			Help: "Messages of a second node under the name of a member, while it takes longer than the death of a first one explains.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_cluster_history_dropped_total",
			Help: "Member records from other members that were malformed or beyond the bound.",
		}),
		writeFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "penstock_cluster_history_write_failures_total",
			Help: "Failed attempts to write the file of last-known members.",
		}),
	}
	for _, reason := range refusalReasons {
		m.refused.WithLabelValues(string(reason))
	}
	if reg != nil {
		reg.MustRegister(m.members, m.alive, m.forgotten, m.notWhole, m.majority, m.ringVersion, m.rejoins,
			m.refused, m.forgets, m.nameConflicts, m.dropped, m.writeFailures)
	}
	return m
}

// ringVersionMask keeps the bits that a float64 holds exactly.
const ringVersionMask = 1<<53 - 1

func (m *clusterMetrics) observe(v *View) {
	states := make([]int, len(stateNames))
	forgotten, notWhole := 0, 0
	for _, s := range v.Members {
		if s.State != Left && !s.Whole() {
			notWhole++
		}
		if s.Forgotten {
			forgotten++
			continue
		}
		states[s.State]++
	}
	m.notWhole.Set(float64(notWhole))
	for state, n := range states {
		m.members.WithLabelValues(State(state).String()).Set(float64(n))
	}
	m.forgotten.Set(float64(forgotten))
	m.alive.Set(float64(v.Alive()))
	m.majority.Set(0)
	if v.MinoritySince.IsZero() {
		m.majority.Set(1)
	}
	m.ringVersion.Set(float64(v.Ring.Version() & ringVersionMask))
}
