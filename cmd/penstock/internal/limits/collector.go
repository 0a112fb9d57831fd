// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import "github.com/prometheus/client_golang/prometheus"

// The first two are named as Prometheus names its own.
var (
	successDesc = prometheus.NewDesc("penstock_config_last_reload_successful",
		"Whether the last attempt to read the limits file succeeded.", nil, nil)
	sinceDesc = prometheus.NewDesc("penstock_config_last_reload_success_timestamp_seconds",
		"When the limits in force were read.", nil, nil)
	defaultDesc = prometheus.NewDesc("penstock_limits_default",
		"Limits of tenants without overrides; 0 is none where that is allowed.", []string{"limit"}, nil)
	overrideDesc = prometheus.NewDesc("penstock_limits_override",
		"Limits of tenants that the limits file names; 0 is none where that is allowed.", []string{"tenant", "limit"}, nil)
)

// collector shows the limits in force; their number is that of the file.
type collector struct{ runtime *Runtime }

// Describe implements prometheus.Collector.
func (*collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{successDesc, sinceDesc, defaultDesc, overrideDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	state := c.runtime.State()
	ok := 0.0
	if state.OK {
		ok = 1
	}
	gauge(successDesc, ok)
	gauge(sinceDesc, float64(state.Since.UnixMilli())/1000)
	set := c.runtime.Current()
	for _, l := range set.Defaults.limits() {
		gauge(defaultDesc, l.value, l.name)
	}
	for name, t := range set.Tenants {
		for _, l := range t.limits() {
			gauge(overrideDesc, l.value, name, l.name)
		}
	}
}
