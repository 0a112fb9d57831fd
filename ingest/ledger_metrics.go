// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ledgerMetrics are what the ledger counts of itself.
type ledgerMetrics struct{ exchangeFailures prometheus.Counter }

func newLedgerMetrics(reg prometheus.Registerer) *ledgerMetrics {
	return &ledgerMetrics{promauto.With(reg).NewCounter(prometheus.CounterOpts{
		Name: "penstock_sender_exchange_failures_total",
		Help: "Times that another member could not be told which requests were answered here; it is told again. While it lasts duplicates between the two are not counted.",
	})}
}

// senderLabels are not called cluster and replica: whoever scrapes this has external
// labels of these names, and a series' own labels win.
var senderLabels = []string{"tenant", "sender_cluster", "sender_replica", "sender_address"}

func senderDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc("penstock_sender_"+name, help, append(senderLabels[:len(senderLabels):len(senderLabels)], more...), nil)
}

var (
	descSenderRequests = senderDesc("requests_total", "Write requests of a sender, by how they were answered.", "outcome")
	descSenderRetried  = senderDesc("retried_requests_total", "Write requests that the sender marked as a further attempt.")
	descSenderReceived = senderDesc("received_samples_total",
		"Samples and histograms received from a sender: the sum of accepted, rejected and unavailable.")
	descSenderAccepted = senderDesc("accepted_samples_total",
		"Samples and histograms that were promised to a sender, each time that they were delivered.")
	descSenderDuplicate = senderDesc("duplicate_samples_total",
		"Those of the accepted samples that came in a request which had been answered before.")
	descSenderDeduplicated = senderDesc("deduplicated_samples_total",
		"Those of the accepted samples that were not stored, because another server of the HA pair was elected.")
	descSenderRestored = senderDesc("restored_samples_total",
		"Those of the deduplicated samples that were stored after all, because the elected server had not covered their time.")
	descSenderRejected    = senderDesc("rejected_samples_total", "Samples and histograms that were refused for good.", "reason")
	descSenderUnavailable = senderDesc("unavailable_samples_total",
		"Samples and histograms of requests that the sender was told to deliver again.")
	descSenderHinted = senderDesc("hinted_samples_total",
		"Those of the accepted samples that an owner missed and will get from a hint, once for each such owner.")
	descSenderLastRequest = senderDesc("last_request_timestamp_seconds", "When this member heard of the sender last.")
	descSenderLastSample  = senderDesc("last_sample_timestamp_seconds",
		"Newest timestamp that this member accepted from the sender. The largest over all members counts.")
	descSenderLag = senderDesc("lag_seconds",
		"Time since the newest timestamp that this member accepted from the sender. The smallest over all members counts.")
)

// senderCollector shows the rows of a ledger as they are when somebody looks, so that
// booking costs nothing and an expired sender is gone at once.
type senderCollector struct{ ledger *Ledger }

// Describe implements prometheus.Collector.
func (c senderCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descSenderRequests, descSenderRetried, descSenderReceived, descSenderAccepted, descSenderDuplicate, descSenderDeduplicated, descSenderRestored, descSenderRejected,
		descSenderUnavailable, descSenderHinted, descSenderLastRequest, descSenderLastSample, descSenderLag,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c senderCollector) Collect(ch chan<- prometheus.Metric) {
	now := c.ledger.cfg.Now()
	for _, row := range c.ledger.statuses(func(senderID) bool { return true }, now) {
		collectSender(ch, row)
	}
}

func collectSender(ch chan<- prometheus.Metric, s SenderStatus) {
	id := []string{s.tenant, s.Cluster, s.Replica, s.Address}
	emit := func(d *prometheus.Desc, t prometheus.ValueType, v float64, more ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, v, append(id[:len(id):len(id)], more...)...)
	}
	count := func(d *prometheus.Desc, n uint64, more ...string) {
		emit(d, prometheus.CounterValue, float64(n), more...)
	}
	count(descSenderRequests, s.Requests.Accepted, "accepted")
	count(descSenderRequests, s.Requests.Rejected, "rejected")
	count(descSenderRequests, s.Requests.Unavailable, "unavailable")
	count(descSenderRequests, s.Requests.Unreadable, "unreadable")
	count(descSenderRetried, s.Requests.Retried)
	count(descSenderReceived, s.Samples.Received)
	count(descSenderAccepted, s.Samples.Accepted)
	count(descSenderDuplicate, s.Samples.Duplicate)
	count(descSenderDeduplicated, s.Samples.Deduplicated)
	count(descSenderRestored, s.Samples.Restored)
	count(descSenderUnavailable, s.Samples.Unavailable)
	count(descSenderHinted, s.Samples.Hinted)
	for reason, n := range s.Reasons {
		count(descSenderRejected, n, string(reason))
	}
	emit(descSenderLastRequest, prometheus.GaugeValue, float64(s.LastRequest.UnixMilli())/1000)
	if !s.LastSample.IsZero() {
		emit(descSenderLastSample, prometheus.GaugeValue, float64(s.LastSample.UnixMilli())/1000)
		emit(descSenderLag, prometheus.GaugeValue, s.LagSeconds)
	}
}
