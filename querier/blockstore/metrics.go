// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	blocks       prometheus.Gauge
	problems     prometheus.Gauge
	syncs        prometheus.Counter
	syncFailures prometheus.Counter
	lastSync     prometheus.Gauge

	requests        *prometheus.CounterVec
	requestFailures *prometheus.CounterVec
	fetchedBytes    *prometheus.CounterVec
	pages           prometheus.Counter
	pageHits        prometheus.Counter
	notKept         prometheus.Counter
	badPages        prometheus.Counter
	evictions       prometheus.Counter
	repeats         prometheus.Counter
	cacheBytes      prometheus.Gauge
	cacheBlocks     prometheus.Gauge
	openBlocks      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const namespace, subsystem = "penstock", "blockstore"
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help})
	}
	byKind := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, []string{"kind"})
		for _, k := range []kind{kindHeader, kindPostings, kindSeries, kindChunks} {
			v.WithLabelValues(string(k))
		}
		return v
	}
	m := &metrics{
		blocks:          gauge("blocks", "Blocks in the bucket that queries can see."),
		problems:        gauge("unreadable_objects", "Objects of the last listing that could not be understood."),
		syncs:           counter("syncs_total", "Listings of the bucket."),
		syncFailures:    counter("sync_failures_total", "Listings of the bucket that failed."),
		lastSync:        gauge("last_sync_success_timestamp_seconds", "When the last successful listing began."),
		requests:        byKind("requests_total", "Range requests for parts of blocks, by what they were for."),
		requestFailures: byKind("request_failures_total", "Ranges that could not be had, also not by asking again."),
		fetchedBytes:    byKind("fetched_bytes_total", "Bytes of blocks that came from the bucket, neighbours that nobody asked for included."),
		pages:           counter("pages_total", "Pages of 16 KiB that queries needed."),
		pageHits:        counter("page_hits_total", "Pages that queries needed and that were in the local cache, or on their way to it."),
		notKept:         counter("pages_not_cached_total", "Pages that the local cache had no room for."),
		badPages:        counter("bad_pages_total", "Pages that a former process left and that are not what it wrote."),
		evictions:       counter("evictions_total", "Extents of 1 MiB, or whole blocks, that were removed from the local cache to make room or because the block is gone."),
		repeats:         counter("repeated_queries_total", "Questions that were asked once more because a block had gone from the bucket."),
		cacheBytes:      gauge("cache_bytes", "Bytes of pages in the local cache."),
		cacheBlocks:     gauge("cache_blocks", "Blocks with pages in the local cache."),
		openBlocks:      gauge("open_blocks", "Blocks whose index is open."),
	}
	if reg != nil {
		reg.MustRegister(m.blocks, m.problems, m.syncs, m.syncFailures, m.lastSync, m.requests, m.requestFailures, m.fetchedBytes,
			m.pages, m.pageHits, m.notKept, m.badPages, m.evictions, m.repeats, m.cacheBytes, m.cacheBlocks, m.openBlocks)
	}
	return m
}
