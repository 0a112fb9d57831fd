// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/url"
	"strconv"
	"strings"
	"time"
)

// query is a row of the table.
type query struct {
	name       string
	expr       string // SEL is where the selector of one replica goes
	start, end time.Time
	step       time.Duration // 0: an instant query at end
	cached     bool          // it may be answered from the cache
}

// queries over data that ends at end.
func queries(end time.Time) []query {
	const (
		sumRate  = "sum by (job) (rate(m{SEL}[5m]))"
		quantile = "histogram_quantile(0.9, sum by (job, le) (rate(h_bucket{SEL}[5m])))"
	)
	hour := func(name, expr string, end time.Time, step time.Duration, cached bool) query {
		return query{name: name, expr: expr, start: end.Add(-time.Hour), end: end, step: step, cached: cached}
	}
	return []query{
		{name: "instant sum by (job) (rate(m[5m]))", expr: sumRate, end: end},
		{name: "instant m", expr: "m{SEL}", end: end},
		{name: "instant topk(10, m)", expr: "topk(10, m{SEL})", end: end},
		{name: "instant histogram_quantile", expr: quantile, end: end},
		hour("1h/15s sum by (job) (rate(m[5m]))", sumRate, end, 15*time.Second, false),
		hour("1h/60s sum by (job) (rate(m[5m]))", sumRate, end, time.Minute, false),
		hour("1h/60s histogram_quantile", quantile, end, time.Minute, false),
		hour("1h/15s m of one job", `m{SELjob="service-07"}`, end, 15*time.Second, false),
		hour("1h/60s sum by (job) (m)", "sum by (job) (m{SEL})", end, time.Minute, false),
		hour("1h/60s sum by (job) (rate(m[5m])) of a block", sumRate, end.Add(-headLength-20*time.Minute), time.Minute, false),
	}
}

// path is the question as a way asks it.
func (q query) path(w way) string {
	selector := ""
	if w.half {
		selector = `prometheus_replica="a",`
	}
	expr := strings.ReplaceAll(q.expr, "SEL", selector)
	params := url.Values{"query": {expr}}
	for name, values := range w.params {
		params[name] = values
	}
	seconds := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	if q.step == 0 {
		params.Set("time", seconds(q.end))
		return "/api/v1/query?" + params.Encode()
	}
	params.Set("start", seconds(q.start))
	params.Set("end", seconds(q.end))
	params.Set("step", strconv.Itoa(int(q.step/time.Second)))
	return "/api/v1/query_range?" + params.Encode()
}
