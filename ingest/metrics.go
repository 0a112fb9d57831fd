// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Values of the label "type" of counters of items.
const (
	typeFloat     = "float"
	typeHistogram = "histogram"
	typeExemplar  = "exemplar"
)

// handlerMetrics are what the public handler counts: what senders were answered.
type handlerMetrics struct {
	requests    *prometheus.CounterVec
	seconds     prometheus.Histogram
	received    itemCounters
	written     itemCounters
	refused     map[Reason]prometheus.Counter
	unavailable prometheus.Counter
	defects     prometheus.Counter
}

func newHandlerMetrics(reg prometheus.Registerer) *handlerMetrics {
	f := promauto.With(reg)
	m := &handlerMetrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_ingest_requests_total",
			Help: "Write requests, by version of remote write, or otlp, and status of the answer.",
		}, []string{"version", "code"}),
		seconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:                        "penstock_ingest_request_duration_seconds",
			Help:                        "Time to answer a write request.",
			Buckets:                     prometheus.ExponentialBuckets(0.001, 2.5, 11),
			NativeHistogramBucketFactor: 1.1,
		}),
		received: newItemCounters(f, "penstock_ingest_received_items_total", "Items in write requests that could be read."),
		written:  newItemCounters(f, "penstock_ingest_written_items_total", "Items that a quorum of their owners has; exact duplicates count again."),
		unavailable: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_unavailable_series_total",
			Help: "Series of write requests that did not get a quorum, so that their sender was told to retry.",
		}),
		defects: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_request_panics_total",
			Help: "Write requests that were refused because reading them panicked, which is a defect of this program.",
		}),
		refused: map[Reason]prometheus.Counter{},
	}
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "penstock_ingest_refused_series_total",
		Help: "Series of write requests that were refused in whole or part, by reason.",
	}, []string{"reason"})
	for _, r := range refusalReasons() {
		m.refused[r] = refused.WithLabelValues(string(r))
	}
	return m
}

func (m *handlerMetrics) observe(p protocol, status int, took time.Duration) {
	m.requests.WithLabelValues(p.String(), strconv.Itoa(status)).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *handlerMetrics) count(b *Batch, o Outcome) {
	m.received.add(b.received)
	m.written.add(o.Written)
	m.unavailable.Add(float64(o.Unavailable))
	for _, list := range [][]Rejection{b.refused, o.Rejected} {
		for _, r := range list {
			m.refuse(r.Reason, 1)
		}
	}
}

func (m *handlerMetrics) refuse(reason Reason, series int) {
	c, ok := m.refused[reason]
	if !ok {
		c = m.refused[ReasonOther]
	}
	c.Add(float64(series))
}

// itemCounters count items by kind.
type itemCounters struct{ samples, histograms, exemplars prometheus.Counter }

func newItemCounters(f promauto.Factory, name, help string) itemCounters {
	v := f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"type"})
	return itemCounters{v.WithLabelValues(typeFloat), v.WithLabelValues(typeHistogram), v.WithLabelValues(typeExemplar)}
}

func (c itemCounters) add(n Counts) {
	c.samples.Add(float64(n.Samples))
	c.histograms.Add(float64(n.Histograms))
	c.exemplars.Add(float64(n.Exemplars))
}

// localMetrics are what this member's own storage took.
type localMetrics struct {
	appended         prometheus.Counter
	refused          prometheus.Counter
	droppedExemplars prometheus.Counter
}

func newLocalMetrics(reg prometheus.Registerer) *localMetrics {
	f := promauto.With(reg)
	return &localMetrics{
		appended: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_local_appended_samples_total",
			Help: "Samples and histograms that this member's storage committed, as one of the owners.",
		}),
		refused: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_local_refused_series_total",
			Help: "Series that this member's storage refused in whole or part.",
		}),
		droppedExemplars: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_local_dropped_exemplars_total",
			Help: "Exemplars that this member's storage did not take: out of order, or of a series that it does not have.",
		}),
	}
}

func (m *localMetrics) count(tx *transaction) {
	m.appended.Add(float64(tx.appended))
	for _, f := range tx.faults {
		if f.Reason == ReasonExemplarDropped {
			m.droppedExemplars.Inc()
		} else {
			m.refused.Inc()
		}
	}
}

// Values of the label "result" of requests to peers.
const (
	peerAnswered   = "answered"
	peerFailed     = "failed"
	peerSkipped    = "circuit_open"
	peerOverloaded = "overloaded"
)

// distributorMetrics are what replication counts.
type distributorMetrics struct {
	peerRequests    *prometheus.CounterVec
	peerSeconds     prometheus.Histogram
	stragglers      prometheus.Counter
	refusedNoQuorum prometheus.Counter
	panics          prometheus.Counter
	hintsStored     prometheus.Counter
	hintsFailed     prometheus.Counter
	hintsReplayed   prometheus.Counter
	hintsRefused    prometheus.Counter
	hintsPassedOn   prometheus.Counter
	hintsDamaged    prometheus.Counter
	hintsLate       prometheus.Counter
	peerSentBytes   prometheus.Counter
	peerJoined      prometheus.Counter
}

func newDistributorMetrics(reg prometheus.Registerer, d *Distributor) *distributorMetrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &distributorMetrics{
		peerRequests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_ingest_peer_requests_total",
			Help: "Writes to other members, by what became of them.",
		}, []string{"result"}),
		peerSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name:                        "penstock_ingest_peer_request_duration_seconds",
			Help:                        "Time until another member answered a write.",
			Buckets:                     prometheus.ExponentialBuckets(0.001, 2.5, 10),
			NativeHistogramBucketFactor: 1.1,
		}),
		stragglers:      counter("penstock_ingest_stragglers_total", "Owners that had not answered when a decided write was; they got hints."),
		refusedNoQuorum: counter("penstock_ingest_no_quorum_requests_total", "Write requests refused because too few members were alive or seen."),
		panics:          counter("penstock_ingest_panics_total", "Panics of the storage in a write. Each is a defect."),
		hintsStored:     counter("penstock_ingest_hints_stored_total", "Hints written for owners that missed series."),
		hintsFailed:     counter("penstock_ingest_hints_lost_total", "Hints that could not be written; the owner misses the series until it is refilled."),
		hintsReplayed:   counter("penstock_ingest_hints_replayed_total", "Hints delivered to their owners."),
		hintsPassedOn:   counter("penstock_ingest_hints_passed_on_total", "Hints of members that left for good, written to the owners after them."),
		hintsRefused:    counter("penstock_ingest_hints_refused_series_total", "Series of replayed hints that their owner refused."),
		hintsLate:       counter("penstock_ingest_hints_needless_total", "Hints that were not sent because their owner took the write after all, too late for the answer."),
		peerJoined:      counter("penstock_ingest_peer_joined_writes_total", "Small writes to other members that were sent in one request with others, or waited for that."),
		peerSentBytes:   counter("penstock_ingest_peer_sent_bytes_total", "Bytes of the bodies of writes to other members, those of hints included."),
		hintsDamaged:    counter("penstock_ingest_hints_damaged_total", "Hints dropped because they could not be read."),
	}
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_ingest_peer_circuits_open",
		Help: "Members that are left alone because they did not answer.",
	}, func() float64 { return float64(d.peers.openCircuits()) })
	for _, r := range []string{peerAnswered, peerFailed, peerSkipped, peerOverloaded} {
		m.peerRequests.WithLabelValues(r)
	}
	return m
}

// internalMetrics are what the handler for other members counts.
type internalMetrics struct{ requests *prometheus.CounterVec }

func newInternalMetrics(reg prometheus.Registerer) *internalMetrics {
	return &internalMetrics{requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "penstock_ingest_internal_requests_total",
		Help: "Writes of other members, by status of the answer.",
	}, []string{"code"})}
}

// metadataMetrics are what the metadata store counts.
type metadataMetrics struct{ dropped, damaged prometheus.Counter }

func newMetadataMetrics(reg prometheus.Registerer) *metadataMetrics {
	f := promauto.With(reg)
	return &metadataMetrics{
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_metadata_dropped_total",
			Help: "Metadata entries dropped because a bound was reached.",
		}),
		damaged: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_metadata_damaged_files_total",
			Help: "Metadata files that could not be read at start.",
		}),
	}
}

// cacheMetrics are what the series cache tells of itself.
type cacheMetrics struct {
	full    prometheus.Counter
	evicted prometheus.Counter
}

func newCacheMetrics(reg prometheus.Registerer, c *SeriesCache) *cacheMetrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "penstock_ingest_cached_series",
		Help: "Series whose label bytes are known, so that their labels are not decoded.",
	}, func() float64 { return float64(c.entries.Load()) })
	return &cacheMetrics{
		full: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_cache_full_total",
			Help: "Series that were not cached because the cache was full.",
		}),
		evicted: f.NewCounter(prometheus.CounterOpts{
			Name: "penstock_ingest_cache_evicted_total",
			Help: "Series that were dropped from the cache because nobody wrote them any more.",
		}),
	}
}

// otlpMetrics are what the OTLP handler counts beside the others.
type otlpMetrics struct{ warnings *prometheus.CounterVec }

func newOTLPMetrics(reg prometheus.Registerer) *otlpMetrics {
	return &otlpMetrics{warnings: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "penstock_ingest_otlp_translation_warnings_total",
		Help: "What Prometheus' translation of OTLP warned about, by category; the data points are stored.",
	}, []string{"category"})}
}
