// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// nested wraps msg into length-delimited fields, the last one outermost.
func nested(msg []byte, fields ...int) []byte {
	for _, f := range fields {
		msg = appendEntry(nil, f, msg)
	}
	return msg
}

// inPoint wraps fields of a gauge's data point into a request.
func inPoint(msg []byte) []byte { return nested(msg, 1, 5, 2, 2, 1) }

// TestOTLPRefusesRequests are the requests that are refused as a whole.
func TestOTLPRefusesRequests(t *testing.T) {
	t.Parallel()
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	md, ms := oneScope()
	addGauge(ms, "never", time.Now(), 1)
	good := otlpBody(t, md)
	zipped := gzipped(t, good)
	f := func(name string, body []byte, status int, text string, headers ...string) {
		t.Helper()
		w := postOTLP(t, node.handler, body, headers...)
		if w.Code != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: got %d %q, want %d %q", name, w.Code, w.Body, status, text)
		}
		if w.Body.Len() > answerBytesMax+8 {
			t.Errorf("%s: answer has %d bytes", name, w.Body.Len())
		}
	}
	asJSON := []string{"Content-Type", "application/json"}
	asGzip := []string{"Content-Encoding", "gzip"}

	f("no type", good, 415, `unsupported content type ""; send OTLP metrics as application/x-protobuf or application/json`, "Content-Type", "")
	f("other type", good, 415, "unsupported content type", "Content-Type", "text/plain")
	f("remote write", good, 415, "unsupported content type", "Content-Type", typeV2)
	f("other coding", good, 415, `unsupported content encoding "snappy"; send gzip or none`, "Content-Encoding", "snappy")
	f("tenant first", nil, 400, "tenant id must match", headerTenant, "bad", "Content-Type", "text/plain")

	f("text", []byte("hello"), 400, "cannot decode")
	f("JSON as protobuf", []byte(`{"resourceMetrics":[]}`), 400, "cannot decode")
	f("protobuf as JSON", good, 400, "cannot decode", asJSON...)
	f("a list", []byte(`[]`), 400, "cannot decode", asJSON...)
	f("half of JSON", []byte(`{"resourceMetrics":[{`), 400, "not complete JSON", asJSON...)
	f("no JSON", nil, 400, "cannot decode", asJSON...)
	f("truncated", good[:len(good)-3], 400, "cannot decode: truncated")
	f("wrong wire type", inPoint([]byte{2<<3 | wireVarint, 1}), 400, "cannot decode")
	f("remote write body", mustMarshal(t, seriesV1(nowMillis(), 1, "__name__", "never")), 400, "cannot decode")

	f("not gzip", good, 400, "not one gzip member", asGzip...)
	f("gzip cut off", zipped[:len(zipped)-1], 400, "not one gzip member", asGzip...)
	f("gzip twice", append(bytes.Clone(zipped), zipped...), 400, "not one gzip member", asGzip...)
	f("gzip and more", append(bytes.Clone(zipped), zipped[len(zipped)-4:]...), 400, "not one gzip member", asGzip...)
	lying := bytes.Clone(zipped)
	binary.LittleEndian.PutUint32(lying[len(lying)-4:], uint32(len(good)-1))
	f("gzip that lies", lying, 400, "not one gzip member", asGzip...)
	binary.LittleEndian.PutUint32(lying[len(lying)-4:], 1<<31)
	f("gzip that boasts", lying, 400, "not one gzip member", asGzip...)
	f("bomb", gzipped(t, make([]byte, DefaultDecodedBytes+1)), 413, "decoded size 16777217 exceeds limit 16777216", asGzip...)
	f("too large", make([]byte, DefaultBodyBytes+1), 413, "body exceeds 16777216 bytes")

	require.Empty(t, node.store.dump(t))
	w := httptest.NewRecorder()
	node.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, http.MethodPost, w.Header().Get("Allow"))
	// An empty message is a legal request.
	require.Equal(t, http.StatusOK, postOTLP(t, node.handler, nil).Code)
}

func mustMarshal(t *testing.T, series ...prompb.TimeSeries) []byte {
	t.Helper()
	body, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	require.NoError(t, err)
	return body
}

// TestOTLPBounds are requests that are small on the wire and large, deep or slow here.
func TestOTLPBounds(t *testing.T) {
	t.Parallel()
	node := newOTLPNode(t, promconfig.OTLPConfig{PromoteAllResourceAttributes: true})
	f := func(name string, status int, text string, body []byte, headers ...string) {
		t.Helper()
		start := time.Now()
		w := postOTLP(t, node.handler, body, headers...)
		if w.Code != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: got %d %q, want %d %q", name, w.Code, w.Body, status, text)
		}
		t.Logf("%s: %s", name, time.Since(start))
	}
	repeat := func(n int, unit ...byte) []byte { return bytes.Repeat(unit, n) }
	asJSON := []string{"Content-Type", "application/json"}
	const elements = "elements (attributes, data points, exemplars); send smaller batches"
	f("resources", 413, elements, repeat(otlpElementsMax+1, 0x0a, 0))
	f("data points", 413, elements, nested(repeat(otlpElementsMax, 0x0a, 0), 5, 2, 2, 1))
	f("attributes", 413, elements, inPoint(repeat(otlpElementsMax, 7<<3|wireBytes, 0)))
	f("exemplars", 413, elements, inPoint(repeat(otlpElementsMax, 5<<3|wireBytes, 0)))
	f("buckets", 413, elements, nested(repeat(otlpElementsMax*9, 1), 2, 8, 1, 10, 2, 2, 1))
	f("objects", 413, elements, []byte(`{"a":[`+strings.Repeat("{},", otlpElementsMax)+`{}]}`), asJSON...)

	deep := []byte{0x0a, 0}
	for range 2_000 {
		deep = nested(deep, 1, 5) // a list in a list
	}
	f("deep", 400, "nested deeper than 32", inPoint(nested(deep, 2, 7)))
	f("deep JSON", 400, "nested deeper than 32", []byte(strings.Repeat(`{"a":[`, 50_000)), asJSON...)
	f("deep groups", 400, "nested deeper than 100", repeat(100_000, 15<<3|wireGroup))

	now := time.Now()
	md := pmetric.NewMetrics()
	ms := addResource(md, "service.name", "a", "long", strings.Repeat("x", 1<<20))
	for range 100 {
		addGauge(ms, "g", now, 1)
	}
	f("promoted text", 413, "size after translation", otlpBody(t, md))

	md = pmetric.NewMetrics()
	for range 10 {
		ms := addResource(md, "service.name", "a", "host.name", "h")
		addGauge(ms, "g", now.Add(-300*24*time.Hour), 1)
		addGauge(ms, "g", now, 1)
	}
	f("target_info for years", 413, "number of target_info samples", otlpBody(t, md))

	// As many errors, and examples that nobody asks for, as fit.
	f("metrics without a type", 200, "data points refused", nested(repeat(otlpElementsMax-100, 0x12, 0), 2, 1))
	f("data points without a time", 400, "too far in the past", nested(repeat(otlpElementsMax-100, 0x0a, 0), 5, 2, 2, 1))
	f("bad resources", 200, "data points refused", repeat(otlpElementsMax/4, nested([]byte{0x0a, 2, '_', '_', 0x12, 0}, 1, 1, 1)...))

	attribute := nested(nil, 2) // with an empty value
	attribute = nested(append([]byte{0x0a, 1, 'a'}, attribute...), 7)
	f("one data point of many attributes", 400, "data point has 200000 attributes, limit 64", inPoint(bytes.Repeat(attribute, 200_000)))
}

func TestOTLPInflightBytes(t *testing.T) {
	t.Parallel()
	block, entered := make(chan struct{}), make(chan struct{})
	h := otlpOver(writerFunc(func(*Batch) Outcome {
		entered <- struct{}{}
		<-block
		return Outcome{}
	}), func(c *HandlerConfig) { c.MaxInflightBytes = 100 })
	md, ms := oneScope()
	addGauge(ms, "g", time.Now(), 1)
	body := otlpBody(t, md)
	done := make(chan int)
	go func() { done <- postOTLP(t, h, body).Code }()
	<-entered
	w := postOTLP(t, h, body)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	close(block)
	require.Equal(t, http.StatusOK, <-done)
	// What was reserved is given back, also by those that were refused.
	require.Zero(t, h.(*otlpHandler).inflight.used.Load())
}

func TestParseOTLP(t *testing.T) {
	t.Parallel()
	got, err := ParseOTLP(nil)
	require.NoError(t, err)
	require.Equal(t, promconfig.DefaultOTLPConfig, got)
	got, err = ParseOTLP([]byte("promote_resource_attributes: [a, b]\ntranslation_strategy: NoTranslation"))
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, got.PromoteResourceAttributes)
	f := func(text, want string) {
		t.Helper()
		_, err := ParseOTLP([]byte(text))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "\n", "one line")
	}
	f("no_such_key: 1\nnor_this: 2", "no_such_key")
	f("translation_strategy: Loud", `unsupported translation_strategy "Loud"`)
	f("promote_resource_attributes: [a, a]", "duplicated promoted")
	f("promote_all_resource_attributes: true\npromote_resource_attributes: [a]", "simultaneously")
}

// FuzzOTLP decodes what it is given, as far as the survey lets it: no panic, no hang, and
// nothing in flight afterwards.
func FuzzOTLP(f *testing.F) {
	md, ms := oneScope("host.name", "h")
	addGauge(ms, "g", time.Unix(1000, 0), 1, "a", "b")
	addSum(ms, "s", pmetric.AggregationTemporalityCumulative).AppendEmpty().Exemplars().AppendEmpty().SetIntValue(1)
	h := named(ms, "h", "s").SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	h.DataPoints().AppendEmpty().Positive().BucketCounts().FromRaw([]uint64{1, 2})
	named(ms, "c", "s").SetEmptyHistogram().DataPoints().AppendEmpty().ExplicitBounds().FromRaw([]float64{1})
	named(ms, "q", "s").SetEmptySummary().DataPoints().AppendEmpty().QuantileValues().AppendEmpty()
	f.Add(otlpBody(f, md), false)
	f.Add([]byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[{"asInt":"7"}]}}]}]}]}`), true)
	handler := otlpOver(writerFunc(func(b *Batch) Outcome { return Outcome{Written: b.received} }), func(c *HandlerConfig) {
		c.MaxPast = 100 * 365 * 24 * time.Hour
	})
	f.Fuzz(func(t *testing.T, body []byte, asJSON bool) {
		contentType := mediaType
		if asJSON {
			contentType = mediaTypeJSON
		}
		w := postOTLP(t, handler, body, "Content-Type", contentType)
		if w.Code != http.StatusOK && (w.Code < 400 || w.Code >= 500) {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if n := handler.(*otlpHandler).inflight.used.Load(); n != 0 {
			t.Fatalf("%d bytes stay in flight", n)
		}
	})
}
