// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	blocks           prometheus.Gauge
	problems         prometheus.Gauge
	syncs            prometheus.Counter
	syncFailures     prometheus.Counter
	lastSync         prometheus.Gauge
	downloads        prometheus.Counter
	downloadFailures prometheus.Counter
	downloadedBytes  prometheus.Counter
	evictions        prometheus.Counter
	cacheBytes       prometheus.Gauge
	cacheBlocks      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "penstock", Subsystem: "blockstore", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "penstock", Subsystem: "blockstore", Name: name, Help: help})
	}
	m := &metrics{
		blocks:           gauge("blocks", "Blocks in the bucket that queries can see."),
		problems:         gauge("unreadable_objects", "Objects of the last listing that could not be understood."),
		syncs:            counter("syncs_total", "Listings of the bucket."),
		syncFailures:     counter("sync_failures_total", "Listings of the bucket that failed."),
		lastSync:         gauge("last_sync_success_timestamp_seconds", "When the last successful listing began."),
		downloads:        counter("downloads_total", "Blocks that were to be downloaded."),
		downloadFailures: counter("download_failures_total", "Downloads of blocks that failed."),
		downloadedBytes:  counter("downloaded_bytes_total", "Bytes of blocks that were downloaded."),
		evictions:        counter("evictions_total", "Local copies of blocks that were removed to make room or because the block is gone."),
		cacheBytes:       gauge("cache_bytes", "Bytes of local copies of blocks, including downloads under way."),
		cacheBlocks:      gauge("cache_blocks", "Local copies of blocks."),
	}
	if reg != nil {
		reg.MustRegister(m.blocks, m.problems, m.syncs, m.syncFailures, m.lastSync, m.downloads, m.downloadFailures,
			m.downloadedBytes, m.evictions, m.cacheBytes, m.cacheBlocks)
	}
	return m
}
