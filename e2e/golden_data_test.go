// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	goldenInterval = 15 * time.Second
	goldenScrapes  = 100 // 25 minutes: within what a TSDB takes of a new series
	// goldenGone is the scrape that no longer has the series with a stale marker.
	goldenGone = 60
)

// goldenSeries is one series of the data that both sides are given.
type goldenSeries struct {
	labels    labels.Labels
	value     func(i int) float64              // of the i-th scrape; nil for a histogram
	integer   func(i int) *histogram.Histogram // a native histogram
	float     func(i int) *histogram.FloatHistogram
	goneFrom  int // the first scrape that does not have it any more; 0: all have it
	exemplars bool
}

// goldenFamily is metadata of a family.
type goldenFamily struct {
	typ        model.MetricType
	help, unit string
}

var goldenFamilies = map[string]goldenFamily{
	"goes_away":            {model.MetricTypeGauge, "There for a while.", ""},
	"http_request_seconds": {model.MetricTypeHistogram, "Latency, in classic buckets.", "seconds"},
	"http_requests_total":  {model.MetricTypeCounter, "Requests by code.", ""},
	"http.server.duration": {model.MetricTypeGauge, "A name of OpenTelemetry: \"quoted\" & <escaped>.", "ms"},
	"native_seconds":       {model.MetricTypeHistogram, "Latency, in native buckets.", "seconds"},
	"special":              {model.MetricTypeGauge, "Floats that are no numbers.\nTwo lines.", ""},
	"temperature_celsius":  {model.MetricTypeGauge, "Temperature.", "celsius"},
	"native_custom":        {model.MetricTypeHistogram, "Custom buckets.", ""},
	"native_float":         {model.MetricTypeHistogram, "Float buckets.", ""},
	"native_gauge":         {model.MetricTypeGaugeHistogram, "A gauge of buckets.", ""},
	"up":                   {model.MetricTypeGauge, "Whether the target could be scraped.", ""},
	"with_many_labels":     {model.MetricTypeUnknown, "Of a type that nobody told.", ""},
	"ünïcode":              {model.MetricTypeGauge, "Ünïcode.", ""},
}

// goldenData is every sort of series that a sender can send, sorted by labels, so that the order in which a TSDB has got
// them is that of their labels.
func goldenData() []goldenSeries {
	var all []goldenSeries
	add := func(s goldenSeries, pairs ...string) {
		s.labels = labels.FromStrings(pairs...)
		all = append(all, s)
	}
	for _, instance := range []string{"a:9090", "b:9090", "c:9090"} {
		n := float64(len(all) + 1)
		common := []string{"instance", instance, "job", "api"}
		counter := func(per float64) func(int) float64 {
			return func(i int) float64 { // with a reset at a third of the time
				if i >= goldenScrapes/3 {
					i -= goldenScrapes / 3
				}
				return math.Floor(per * n * float64(i))
			}
		}
		add(goldenSeries{value: func(i int) float64 { return min(1, float64(i%17)) }}, append(common, "__name__", "up")...)
		for j, code := range []string{"200", "404", "500"} {
			add(goldenSeries{value: counter(7 / float64(j+1)), exemplars: true}, append(common, "__name__", "http_requests_total", "code", code)...)
		}
		for j, le := range []string{"0.1", "0.5", "1", "+Inf"} {
			add(goldenSeries{value: counter(float64(j + 1)), exemplars: j == 1}, append(common, "__name__", "http_request_seconds_bucket", "le", le)...)
		}
		add(goldenSeries{value: counter(4)}, append(common, "__name__", "http_request_seconds_count")...)
		add(goldenSeries{value: counter(1.7)}, append(common, "__name__", "http_request_seconds_sum")...)
		add(goldenSeries{integer: goldenNative, exemplars: true}, append(common, "__name__", "native_seconds")...)
		add(goldenSeries{value: func(i int) float64 { return 20 + n*math.Sin(float64(i)/7) }}, append(common, "__name__", "temperature_celsius")...)
	}
	add(goldenSeries{value: func(i int) float64 { return float64(i) }, goneFrom: goldenGone}, "__name__", "goes_away", "job", "batch")
	add(goldenSeries{integer: goldenNative, goneFrom: goldenGone}, "__name__", "goes_away_native", "job", "batch")
	add(goldenSeries{float: func(i int) *histogram.FloatHistogram { return goldenNative(i).ToFloat(nil).Mul(0.5) }}, "__name__", "native_float", "job", "batch")
	add(goldenSeries{float: func(i int) *histogram.FloatHistogram {
		h := goldenNative(goldenScrapes - i).ToFloat(nil)
		h.CounterResetHint = histogram.GaugeType
		return h
	}}, "__name__", "native_gauge", "job", "batch")
	add(goldenSeries{float: func(i int) *histogram.FloatHistogram {
		x := float64(i)
		return &histogram.FloatHistogram{
			Schema: histogram.CustomBucketsSchema, Count: 6 * x, Sum: 11 * x, CustomValues: []float64{0.5, 1, 2.5},
			PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 1, Length: 1}}, PositiveBuckets: []float64{x, 2 * x, 3 * x},
		}
	}}, "__name__", "native_custom", "job", "batch")
	for kind, v := range map[string]float64{
		"inf": math.Inf(1), "largest": math.MaxFloat64, "minus_inf": math.Inf(-1), "nan": math.NaN(),
		"smallest": math.SmallestNonzeroFloat64, "third": 1.0 / 3, "zero": 0,
	} {
		add(goldenSeries{value: func(int) float64 { return v }}, "__name__", "special", "kind", kind)
	}
	add(goldenSeries{value: func(i int) float64 { return float64(i % 5) }}, "__name__", "http.server.duration", "service.name", "a b", "ünïcode", "grüße")
	add(goldenSeries{value: func(i int) float64 { return float64(i % 3) }}, "__name__", "http.server.duration", "service.name", `q"uo\te`+"\n", "ünïcode", "世界")
	add(goldenSeries{value: func(int) float64 { return 1 }}, "__name__", "ünïcode", "U__no_escape", "x", "__tmp", "y")
	for i := range 12 {
		v := float64(i)
		add(goldenSeries{value: func(int) float64 { return v }}, "__name__", "with_many_labels", "l1", fmt.Sprintf("v%02d", i), "l2", fmt.Sprintf("w%d", i%3), "l3", "same")
	}
	slices.SortFunc(all, func(a, b goldenSeries) int { return labels.Compare(a.labels, b.labels) })
	return all
}

// goldenNative is a native histogram that grows, in buckets of its own that change once.
func goldenNative(i int) *histogram.Histogram {
	n := int64(i)
	h := &histogram.Histogram{
		Schema: 1, ZeroThreshold: 1e-6, ZeroCount: uint64(n), Count: uint64(9 * n), Sum: 4.5 * float64(n),
		PositiveSpans: []histogram.Span{{Offset: -1, Length: 2}, {Offset: 2, Length: 1}}, PositiveBuckets: []int64{2 * n, n, -n},
		NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}}, NegativeBuckets: []int64{n},
	}
	if i > goldenScrapes/2 {
		h.PositiveSpans[0].Length, h.PositiveBuckets = 3, []int64{2 * n, n, -n, 0}
		h.Count += uint64(2 * n)
	}
	return h
}

// goldenPush writes the data by remote write 2.0, a request each for a quarter of the time. The i-th scrape is at
// from plus i intervals. Labels are added to each series.
func goldenPush(t *testing.T, to harness.API, from time.Time, more ...string) {
	t.Helper()
	const requests = 4
	for part := range requests {
		body := goldenRequest(t, from, part*goldenScrapes/requests, (part+1)*goldenScrapes/requests, more)
		pushV2(t, to, body)
	}
}

// pushV2 sends a request of remote write 2.0 until it is taken.
func pushV2(t *testing.T, to harness.API, body []byte) {
	t.Helper()
	harness.Eventually(t, harness.Patience, to.Name+" takes the data", func() error {
		resp, err := to.Post("/api/v1/write", http.Header{
			"Content-Type":                      {"application/x-protobuf;proto=io.prometheus.write.v2.Request"},
			"Content-Encoding":                  {"snappy"},
			"X-Prometheus-Remote-Write-Version": {"2.0.0"},
		}, body)
		if err == nil && resp.Code != http.StatusNoContent {
			err = fmt.Errorf("status %d: %s", resp.Code, resp.Body)
		}
		if err == nil || resp.Code == http.StatusServiceUnavailable { // It may be sent again.
			return err
		}
		t.Fatalf("%s does not take the data: %v", to.Name, err)
		return nil
	})
}

func goldenRequest(t *testing.T, from time.Time, first, end int, more []string) []byte {
	t.Helper()
	symbols := writev2.NewSymbolTable()
	var req writev2.Request
	for n, s := range goldenData() {
		b := labels.NewBuilder(s.labels)
		for i := 0; i < len(more); i += 2 {
			b.Set(more[i], more[i+1])
		}
		ts := writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(b.Labels(), nil)}
		if f, ok := goldenFamilies[familyOf(s.labels.Get("__name__"))]; ok {
			ts.Metadata = writev2.Metadata{
				Type: writev2.FromMetadataType(f.typ), HelpRef: symbols.Symbolize(f.help), UnitRef: symbols.Symbolize(f.unit),
			}
		}
		for i := first; i < end; i++ {
			s.scrape(&ts, &symbols, n, i, from.Add(time.Duration(i)*goldenInterval).UnixMilli())
		}
		if len(ts.Samples)+len(ts.Histograms) > 0 {
			req.Timeseries = append(req.Timeseries, ts)
		}
	}
	req.Symbols = symbols.Symbols()
	raw, err := req.OptimizedMarshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

// scrape adds what the i-th scrape has of the n-th series.
func (s *goldenSeries) scrape(ts *writev2.TimeSeries, symbols *writev2.SymbolsTable, n, i int, at int64) {
	switch {
	case s.goneFrom > 0 && i > s.goneFrom:
		return
	case s.goneFrom > 0 && i == s.goneFrom && s.value != nil:
		ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: at, Value: math.Float64frombits(value.StaleNaN)})
		return
	case s.goneFrom > 0 && i == s.goneFrom:
		ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(0, at, &histogram.Histogram{Sum: math.Float64frombits(value.StaleNaN)}))
		return
	case s.value != nil:
		ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: at, Value: s.value(i)})
	case s.integer != nil:
		ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(0, at, s.integer(i)))
	default:
		ts.Histograms = append(ts.Histograms, writev2.FromFloatHistogram(0, at, s.float(i)))
	}
	if s.exemplars && i%10 == 5 {
		ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{
			LabelsRefs: symbols.SymbolizeLabels(labels.FromStrings("trace_id", fmt.Sprintf("%04x%04x", n, i)), nil),
			Value:      float64(i) / 8, Timestamp: at - 1,
		})
	}
}

// familyOf is the family of a series by its name.
func familyOf(name string) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, ok := strings.CutSuffix(name, suffix); ok {
			return base
		}
	}
	return name
}
