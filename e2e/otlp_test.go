// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/metric"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"

	"github.com/penstock-io/penstock/e2e/harness"
)

// service is a program that is instrumented with OpenTelemetry's SDK. It exports when it is told to and not before.
type service struct {
	t        *testing.T
	provider *sdk.MeterProvider
	meter    metric.Meter
}

// neverExports is the interval of a reader that is only ever flushed.
const neverExports = time.Hour

func startService(t *testing.T, node *harness.Node) *service {
	t.Helper()
	exporter, err := otlpmetrichttp.New(t.Context(),
		otlpmetrichttp.WithEndpointURL(node.URL+"/api/v1/otlp/v1/metrics"),
		otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{
			Enabled: true, InitialInterval: 100 * time.Millisecond, MaxInterval: time.Second, MaxElapsedTime: harness.Patience,
		}))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdk.NewMeterProvider(
		sdk.WithReader(sdk.NewPeriodicReader(exporter, sdk.WithInterval(neverExports), sdk.WithTimeout(harness.Patience))),
		sdk.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "cart"), attribute.String("service.namespace", "shop"),
			attribute.String("service.instance.id", "cart-1"), attribute.String("host.name", "h1"),
		)),
		sdk.WithView(sdk.NewView(sdk.Instrument{Name: "payload.size"}, sdk.Stream{
			Aggregation: sdk.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20},
		})),
	)
	// Not shut down: that would export once more.
	return &service{t, provider, provider.Meter("e2e")}
}

// observe uses every kind of instrument: 5 requests, a temperature, and 4 latencies and sizes.
func (s *service) observe() {
	s.t.Helper()
	ctx := s.t.Context()
	requests, err1 := s.meter.Int64Counter("requests", metric.WithDescription("Requests by path."))
	temperature, err2 := s.meter.Float64Gauge("temperature", metric.WithUnit("Cel"))
	latency, err3 := s.meter.Float64Histogram("latency", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(0.1, 1, 10))
	size, err4 := s.meter.Int64Histogram("payload.size", metric.WithUnit("By"))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		s.t.Fatal(err)
	}
	requests.Add(ctx, 5, metric.WithAttributes(attribute.String("url.path", "/")))
	temperature.Record(ctx, 21.5)
	for _, v := range []float64{0.05, 0.5, 0.5, 5} {
		latency.Record(ctx, v)
		size.Record(ctx, int64(v*1000))
	}
}

// observed are the series that observe becomes: a counter, a gauge, _sum, _count and four buckets, a native histogram, target_info.
// Each has one sample, except that target_info has two when the clock ticked while the SDK collected: Prometheus' translation
// gives it one for the earliest and one for the latest time of an export.
const observed = 1 + 1 + 6 + 1 + 1

// stored is how many samples a read-back finds.
func (s *service) stored(node *harness.Node) int {
	s.t.Helper()
	total := 0
	for query, most := range map[string]float64{
		`count({__name__=~".+", __name__!="target_info"})`: observed - 1,
		`sum(count_over_time(target_info[5m]))`:            2,
	} {
		resp, err := node.Query(query, time.Now(), harness.Options{})
		if err != nil {
			s.t.Fatal(err)
		}
		n, err := resp.Scalar()
		if err != nil || n < 1 || n > most {
			s.t.Fatalf("%s is %g: %v", query, n, err)
		}
		total += int(n)
	}
	return total
}

// TestOTLPSender: what OpenTelemetry's SDK exports is what PromQL answers, under the names that Prometheus gives it.
func TestOTLPSender(t *testing.T) {
	node := env.StartLoneNode(t, filepath.Join(harness.Dir(t), "data"))
	s := startService(t, node)
	s.observe()
	if err := s.provider.ForceFlush(t.Context()); err != nil {
		t.Fatal(err)
	}
	const id = `job="shop/cart",instance="cart-1"`
	for query, want := range map[string]float64{
		`requests_total{` + id + `,url_path="/"}`:                                                5,
		`temperature_celsius{` + id + `}`:                                                        21.5,
		`latency_seconds_count{` + id + `}`:                                                      4,
		`latency_seconds_sum{` + id + `}`:                                                        6.05,
		`latency_seconds_bucket{` + id + `,le="0.1"}`:                                            1,
		`latency_seconds_bucket{` + id + `,le="1"}`:                                              3,
		`latency_seconds_bucket{` + id + `,le="+Inf"}`:                                           4,
		`histogram_count(payload_size_bytes{` + id + `})`:                                        4,
		`histogram_sum(payload_size_bytes{` + id + `})`:                                          6050,
		`round(histogram_fraction(0, 400, payload_size_bytes), 0.01)`:                            0.25,
		`target_info{` + id + `,host_name="h1"}`:                                                 1,
		`requests_total * on (job, instance) group_left (host_name) target_info{host_name="h1"}`: 5,
		`count({__name__=~".+"})`:                                                                observed,
	} {
		resp, err := node.Query(query, time.Now(), harness.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := resp.Scalar(); err != nil || got != want {
			t.Errorf("%s is %g, want %g: %v", query, got, want, err)
		}
	}
	if typ, help, err := node.Metadata("requests_total"); err != nil || typ != "counter" || help != "Requests by path." {
		t.Errorf("metadata of requests_total: %q, %q, %v", typ, help, err)
	}
	sender, err := node.OnlySender()
	if err != nil {
		t.Fatal(err)
	}
	stored := s.stored(node)
	if got := sender.Samples; sender.Address != "127.0.0.1" || int(got.Received) != stored || int(got.Distinct) != stored {
		t.Errorf("the ledger has %+v, want %d samples", sender, stored)
	}
}

// TestOTLPSenderIsToldOfPartialSuccess: a data point that cannot be stored costs itself, and the SDK reports it.
func TestOTLPSenderIsToldOfPartialSuccess(t *testing.T) {
	node := env.StartLoneNode(t, filepath.Join(harness.Dir(t), "data"))
	s := startService(t, node)
	s.observe()
	bad, err := s.meter.Int64Counter("bad")
	if err != nil {
		t.Fatal(err)
	}
	bad.Add(t.Context(), 1, metric.WithAttributes(attribute.String("a", strings.Repeat("x", 5000))))
	err = s.provider.ForceFlush(t.Context())
	for _, part := range []string{"partial success", "1 metric data points rejected", "bad_total", "has 5000 bytes, limit 4096"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the SDK does not report %q: %v", part, err)
		}
	}
	resp, err := node.Query(`count({__name__=~".+"})`, time.Now(), harness.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := resp.Scalar(); err != nil || got != observed {
		t.Errorf("%g series are stored, want %d: %v", got, observed, err)
	}
	sender, err := node.OnlySender()
	if err != nil {
		t.Fatal(err)
	}
	stored := s.stored(node)
	if got := sender.Samples; int(got.Received) != stored+1 || int(got.Distinct) != stored || sender.Reasons["label_value_too_long"] != 1 {
		t.Errorf("the ledger has %+v", sender)
	}
	m, err := node.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Labelled("penstock_ingest_requests_total", "version", "otlp"); n != 1 {
		t.Errorf("%g OTLP requests, want 1: a partial success is not sent again", n)
	}
}

// TestOTLPSenderRetries: without a quorum the SDK is answered 503, and sends again until there is one.
func TestOTLPSenderRetries(t *testing.T) {
	cluster := env.NewCluster(t, harness.ClusterConfig{Nodes: 3})
	node := cluster.Nodes[0]
	node.Start()
	node.WaitReady()
	s := startService(t, node)
	s.observe()
	exported := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 2*harness.Patience)
	defer cancel()
	go func() { exported <- s.provider.ForceFlush(ctx) }()
	unavailable := func() (float64, error) {
		m, err := node.Metrics()
		return m.Labelled("penstock_ingest_requests_total", "code", fmt.Sprint(http.StatusServiceUnavailable)), err
	}
	harness.Eventually(t, harness.Patience, "the SDK is answered 503", func() error {
		n, err := unavailable()
		if err == nil && n == 0 {
			err = errors.New("no 503 yet")
		}
		return err
	})
	for _, n := range cluster.Nodes[1:] {
		n.Start()
	}
	for _, n := range cluster.Nodes[1:] {
		n.WaitReady()
	}
	if err := <-exported; err != nil {
		t.Fatalf("the SDK gave up: %v", err)
	}
	cluster.WaitWhole(rejoinWithin)
	resp, err := cluster.Nodes[2].Query(`count({__name__=~".+"})`, time.Now(), harness.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := resp.Scalar(); err != nil || got != observed {
		t.Errorf("%g series are stored, want %d: %v", got, observed, err)
	}
	failed, err := unavailable()
	if err != nil {
		t.Fatal(err)
	}
	sender, err := node.OnlySender()
	if err != nil {
		t.Fatal(err)
	}
	stored := s.stored(cluster.Nodes[2])
	// What is unavailable has no target_info yet.
	if got := sender.Samples; sender.Requests.Unavailable != failed || sender.Requests.Accepted != 1 ||
		int(got.Distinct) != stored || got.Unavailable != failed*(observed-1) {
		t.Errorf("after %g answers of 503 the ledger has %+v", failed, sender)
	}
}
