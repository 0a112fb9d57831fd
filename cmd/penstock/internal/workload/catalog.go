// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"strings"

	"github.com/prometheus/common/model"
)

// catalog is the metadata of every metric that a target exposes. All targets
// share one, as all pods of a deployment expose the same metrics.
type catalog struct {
	duration, requests *Family
	counters, gauges   []*Family
	up, latency        *Family

	floats  []*Family // all but up and latency
	scraped []*Family // up and latency
}

// Nine parts with five counters and five gauges each: 45 of both.
var (
	parts = [...]string{"cache", "database", "queue", "runtime", "scheduler", "session", "storage", "upstream", "worker"}

	counterNames = [...]string{"operations_total", "errors_total", "retries_total", "bytes_total", "timeouts_total"}
	gaugeNames   = [...]string{"active", "capacity", "pending", "resident_bytes", "oldest_age_seconds"}
)

func newCatalog() *catalog {
	c := &catalog{
		duration: &Family{"http_request_duration_seconds", model.MetricTypeHistogram, "Time to answer a request."},
		requests: &Family{"http_requests_total", model.MetricTypeCounter, "Requests answered, by status code."},
		up:       &Family{"up", model.MetricTypeGauge, "1 if the target answered the scrape."},
		latency:  &Family{"http_request_latency_seconds", model.MetricTypeHistogram, "Time to answer a request, as a native histogram."},
	}
	for _, part := range parts {
		for _, name := range counterNames {
			c.counters = append(c.counters, &Family{part + "_" + name, model.MetricTypeCounter, help(part, name)})
		}
		for _, name := range gaugeNames {
			c.gauges = append(c.gauges, &Family{part + "_" + name, model.MetricTypeGauge, help(part, name)})
		}
	}
	c.floats = append(c.floats, c.duration, c.requests)
	c.floats = append(c.floats, c.counters...)
	c.floats = append(c.floats, c.gauges...)
	c.scraped = []*Family{c.up, c.latency}
	return c
}

func help(part, name string) string {
	return "The " + strings.ReplaceAll(strings.TrimSuffix(name, "_total"), "_", " ") + " of the " + part + "."
}
