// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
)

var (
	jobs  = [...]string{"accounts", "cart", "catalog", "checkout", "gateway", "payments", "search", "shipping"}
	paths = [...]string{"/", "/api/v1/items", "/api/v1/items/{id}", "/api/v1/orders", "/api/v1/orders/{id}", "/api/v1/users", "/login", "/static"}

	// The shares of the status codes of a path; they add up to 1.
	codes      = [...]string{"200", "201", "204", "404", "429", "500"}
	codeShares = [...]float64{0.9, 0.04, 0.02, 0.025, 0.01, 0.005}
)

// target is one scraped pod.
type target struct {
	pod     string
	labels  labels.Labels // of the target and of the server that scrapes it
	catalog *catalog
}

func newTarget(n int, external labels.Labels, c *catalog) target {
	job := jobs[n%len(jobs)]
	h := xxhash.Sum64String(fmt.Sprintf("%s/%d", job, n))
	host := fmt.Sprintf("10-%d-%d-%d", 16+n>>16, n>>8&0xff, n&0xff)
	t := target{catalog: c, pod: fmt.Sprintf("%s-%09x-%05x", job, h>>28, h&0xfffff)}

	b := labels.NewBuilder(external)
	b.Set("container", job)
	b.Set("instance", fmt.Sprintf("10.%d.%d.%d:8080", 16+n>>16, n>>8&0xff, n&0xff))
	b.Set("job", "shop/"+job)
	b.Set("namespace", "shop-production")
	b.Set("node", "ip-"+host+".eu-west-1.compute.internal")
	b.Set("pod", t.pod)
	t.labels = b.Labels()
	return t
}

// series makes one float series; more are pairs of label name and value.
func (t target) series(f *Family, suffix string, value func(float64) float64, more ...string) Series {
	return Series{Family: f, Labels: t.with(f.Name+suffix, more...), value: value}
}

func (t target) with(name string, more ...string) labels.Labels {
	b := labels.NewBuilder(t.labels)
	b.Set(model.MetricNameLabel, name)
	for i := 0; i < len(more); i += 2 {
		b.Set(more[i], more[i+1])
	}
	return b.Labels()
}

// floats returns the SeriesPerTarget float series.
func (t target) floats() []Series {
	out := make([]Series, 0, SeriesPerTarget)
	for _, path := range paths {
		out = append(out, t.path(path)...)
	}
	for _, f := range t.catalog.counters {
		c := newCurve(t.pod + f.Name)
		out = append(out, t.series(f, "", func(s float64) float64 { return math.Floor(c.events(s)) }))
	}
	for _, f := range t.catalog.gauges {
		c := newCurve(t.pod + f.Name)
		out = append(out, t.series(f, "", func(s float64) float64 { return math.Round(100 * c.level(s)) }))
	}
	return out
}

// path returns what one HTTP path exposes: a classic histogram and a counter
// per status code.
func (t target) path(path string) []Series {
	requests := newCurve(t.pod + path)
	durations := newClassic(meanLatency(path))
	out := make([]Series, 0, len(bucketBounds)+2+len(codes))
	for i := range bucketBounds {
		out = append(out, t.series(t.catalog.duration, "_bucket", func(s float64) float64 {
			return durations.upTo(i, requests.events(s))
		}, "le", bucketLabels[i], "path", path))
	}
	out = append(out,
		t.series(t.catalog.duration, "_sum", func(s float64) float64 { return requests.events(s) * durations.mean }, "path", path),
		t.series(t.catalog.duration, "_count", func(s float64) float64 {
			return durations.upTo(len(bucketBounds)-1, requests.events(s))
		}, "path", path),
	)
	for i, code := range codes {
		out = append(out, t.series(t.catalog.requests, "", func(s float64) float64 {
			return math.Floor(requests.events(s) * codeShares[i])
		}, "code", code, "path", path))
	}
	return out
}

// scraped returns what a scrape adds to what the target exposes as floats.
func (t target) scraped() []Series {
	out := []Series{t.series(t.catalog.up, "", func(float64) float64 { return 1 })}
	for _, path := range paths {
		requests, mean := newCurve(t.pod+path), meanLatency(path)
		out = append(out, Series{
			Family:    t.catalog.latency,
			Labels:    t.with(t.catalog.latency.Name, "path", path),
			histogram: func(s float64) *histogram.Histogram { return latencies(requests.events(s), mean) },
		})
	}
	return out
}
