// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// flapScrapes is for how many scrapes a series of a target is there, and then for how many it is not: a scraper
// writes a stale marker each time it goes.
const flapScrapes = 5

// Target is an instrumented program: an HTTP server with every kind of metric that a scrape can bring. Its values are
// a function of its seed and of how often it was scraped, so that two scrapers see different values, as the two
// servers of a pair do.
type Target struct {
	Addr string

	mtx     sync.Mutex
	rng     *rand.Rand
	scrapes int

	requests *prometheus.CounterVec
	gauges   *prometheus.GaugeVec
	latency  *prometheus.HistogramVec
	native   prometheus.Histogram
	flapping *prometheus.GaugeVec
}

// StartTarget serves a target until the test ends.
func StartTarget(t testing.TB, seed uint64) *Target {
	t.Helper()
	target := newTarget(seed)
	reg := prometheus.NewRegistry()
	reg.MustRegister(target.requests, target.gauges, target.latency, target.native, target.flapping, specialValues())
	handler := promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true})

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a target: %v", err)
	}
	target.Addr = ln.Addr().String()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			target.step()
			handler.ServeHTTP(w, r)
		})}
	go func() { _ = server.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return target
}

// StartTextTarget serves one text to every scraper until the test ends, and returns its address.
func StartTextTarget(t testing.TB, text string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a target: %v", err)
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprint(w, text)
		})}
	go func() { _ = server.Serve(ln) }() // ends with Close
	t.Cleanup(func() { _ = server.Close() })
	return ln.Addr().String()
}

func newTarget(seed uint64) *Target {
	return &Target{
		rng: rand.New(rand.NewPCG(seed, 0)),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "e2e_requests_total", Help: "Requests by path and code.",
		}, []string{"path", "code"}),
		gauges: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "e2e_temperature_celsius", Help: "Temperature by place.",
		}, []string{"place"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "e2e_latency_seconds", Help: "Latency by path, in classic buckets.", Buckets: prometheus.DefBuckets,
		}, []string{"path"}),
		native: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "e2e_size_bytes", Help: "Sizes, in native buckets.", NativeHistogramBucketFactor: 1.1,
		}),
		flapping: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "e2e_flapping", Help: "There for some scrapes and not for the next.",
		}, []string{"phase"}),
	}
}

// specialValues are the floats that do not survive a careless hop. Negative zero is not among them: the protobuf code of
// Prometheus' sender takes it for the zero that need not be sent.
func specialValues() prometheus.Collector {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "e2e_special_value", Help: "Floats that are easily changed on the way.",
	}, []string{"kind"})
	for kind, value := range map[string]float64{
		"nan": math.NaN(), "inf": math.Inf(1), "minus_inf": math.Inf(-1), "zero": 0,
		"smallest": math.SmallestNonzeroFloat64, "largest": math.MaxFloat64, "third": 1.0 / 3,
	} {
		vec.WithLabelValues(kind).Set(value)
	}
	return vec
}

// step is what happens between two scrapes.
func (t *Target) step() {
	t.mtx.Lock()
	defer t.mtx.Unlock()
	t.scrapes++
	for _, path := range []string{"/", "/api", "/api/v1/push", "/grüße"} {
		trace := prometheus.Labels{"trace_id": strconv.FormatUint(t.rng.Uint64(), 16)}
		for _, code := range []string{"200", "404", "500"} {
			t.requests.WithLabelValues(path, code).(prometheus.ExemplarAdder).AddWithExemplar(float64(t.rng.IntN(50)), trace)
		}
		seconds := t.rng.ExpFloat64() / 10
		t.latency.WithLabelValues(path).(prometheus.ExemplarObserver).ObserveWithExemplar(seconds, trace)
	}
	for place := range 10 {
		t.gauges.WithLabelValues(fmt.Sprintf("place-%d", place)).Set(t.rng.NormFloat64() * 20)
	}
	for range 5 {
		t.native.Observe(math.Exp(t.rng.NormFloat64() * 3))
	}
	if t.scrapes/flapScrapes%2 == 0 {
		t.flapping.WithLabelValues("on").Set(float64(t.scrapes))
	} else {
		t.flapping.DeleteLabelValues("on")
	}
}
