// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

var _ storage.AppenderV2 = (*otlpCollector)(nil)

// TestOTLPPartialSuccess puts one bad data point between good ones: those are stored,
// and the answer counts and names the other.
func TestOTLPPartialSuccess(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := pcommon.NewTimestampFromTime
	f := func(want string, rejected int64, bad func(ms pmetric.MetricSlice)) {
		t.Helper()
		node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
		md, ms := oneScope()
		addGauge(ms, "before", now, 1)
		bad(ms)
		addGauge(ms, "after", now, 2)
		p := partialSuccess(t, postOTLP(t, node.handler, otlpBody(t, md)))
		require.Contains(t, p.ErrorMessage(), want)
		require.Equal(t, rejected, p.RejectedDataPoints(), p.ErrorMessage())
		require.LessOrEqual(t, len(p.ErrorMessage()), answerBytesMax)
		require.Equal(t, map[string][]storedSample{
			`{__name__="before", instance="cart-1", job="shop/cart"}`: {float(now.UnixMilli(), 1)},
			`{__name__="after", instance="cart-1", job="shop/cart"}`:  {float(now.UnixMilli(), 2)},
		}, node.store.dump(t))
	}
	delta := func(ms pmetric.MetricSlice) {
		points := addSum(ms, "clicks", pmetric.AggregationTemporalityDelta)
		points.AppendEmpty().SetTimestamp(at(now))
		points.AppendEmpty().SetTimestamp(at(now))
	}
	f(`metric "clicks": temporality is delta; only cumulative is stored: set the SDK to it or use the collector's deltatocumulative processor`, 2, delta)
	f("2 of 4 data points refused in whole or part; the rest is stored. unsupported_temporality: 2.", 2, delta)
	f("temporality is unspecified", 1, func(ms pmetric.MetricSlice) {
		addSum(ms, "clicks", pmetric.AggregationTemporalityUnspecified).AppendEmpty().SetTimestamp(at(now))
	})
	f("temporality is delta", 1, func(ms pmetric.MetricSlice) {
		h := named(ms, "h", "").SetEmptyHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		h.DataPoints().AppendEmpty()
	})
	f("too far in the future", 1, func(ms pmetric.MetricSlice) { addGauge(ms, "bad", now.Add(time.Hour), 1) })
	f("timestamp 0: too far in the past", 1, func(ms pmetric.MetricSlice) { addGauge(ms, "bad", time.UnixMilli(0), 1) })
	f("too far in the past", 1, func(ms pmetric.MetricSlice) {
		addGauge(ms, "bad", now, 1)
		ms.At(1).Gauge().DataPoints().At(0).SetTimestamp(1 << 63) // Negative once it is milliseconds.
	})
	f(`metric "": name cannot be that of a metric`, 1, func(ms pmetric.MetricSlice) {
		addGauge(ms, "bad", now, 1)
		ms.At(1).SetName("")
	})
	f(`attribute "__" cannot be a label`, 1, func(ms pmetric.MetricSlice) { addGauge(ms, "bad", now, 1, "__", "x") })
	f(`attribute "" cannot be a label`, 1, func(ms pmetric.MetricSlice) { addGauge(ms, "bad", now, 1, "", "x") })
	f("not valid UTF-8", 1, func(ms pmetric.MetricSlice) { addGauge(ms, "bad", now, 1, "a", "\xff") })
	f("bytes, limit 4096", 1, func(ms pmetric.MetricSlice) {
		addGauge(ms, "bad", now, 1, "a", strings.Repeat("x", DefaultLabelValueBytes+1))
	})
	f("data point has 65 attributes, limit 64", 1, func(ms pmetric.MetricSlice) {
		addGauge(ms, "bad", now, 1, manyAttributes(65)...)
	})
	f("series has 66 labels, limit 64", 1, func(ms pmetric.MetricSlice) { // with job, instance and the name
		addGauge(ms, "bad", now, 1, manyAttributes(63)...)
	})
	f("scale -5 is below -4", 1, func(ms pmetric.MetricSlice) {
		h := named(ms, "h", "").SetEmptyExponentialHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p := h.DataPoints().AppendEmpty()
		p.SetTimestamp(at(now))
		p.SetScale(-5)
	})
	f("observations found in buckets", 1, func(ms pmetric.MetricSlice) {
		h := named(ms, "h", "").SetEmptyExponentialHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p := h.DataPoints().AppendEmpty()
		p.SetTimestamp(at(now))
		p.SetCount(1)
		p.Positive().BucketCounts().FromRaw([]uint64{4, 5})
	})
	// Two data points, six series each: what is counted are data points.
	f("2 of 4 data points", 2, func(ms pmetric.MetricSlice) {
		h := named(ms, "h", "").SetEmptyHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for i := range 2 {
			p := h.DataPoints().AppendEmpty()
			p.SetTimestamp(at(now.Add(-time.Duration(4+i) * time.Hour)))
			p.SetSum(1)
			p.ExplicitBounds().FromRaw([]float64{1, 2, 3})
			p.BucketCounts().FromRaw([]uint64{1, 2, 3, 4})
		}
	})
	// A warning: nothing of the samples is lost.
	f(`metric "x\ny": unknown type`, 0, func(ms pmetric.MetricSlice) { ms.AppendEmpty().SetName("x\ny") })
}

func manyAttributes(n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, "a"+strconv.Itoa(i), "v")
	}
	return pairs
}

// TestOTLPResources are what is wrong with more than one data point.
func TestOTLPResources(t *testing.T) {
	t.Parallel()
	now := time.Now()
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	md, ms := oneScope()
	addGauge(ms, "good", now, 1)
	many := addResource(md, manyAttributes(otlpResourceAttributesMax+1)...)
	addGauge(many, "bad", now, 1)
	addGauge(many, "bad", now, 1, "n", "2")
	// More than a series may have labels, so that target_info alone is refused.
	addGauge(addResource(md, append(manyAttributes(100), "service.name", "b")...), "also_good", now, 1)
	p := partialSuccess(t, postOTLP(t, node.handler, otlpBody(t, md)))
	require.EqualValues(t, 2, p.RejectedDataPoints())
	require.Contains(t, p.ErrorMessage(), "2 of 4 data points")
	require.Contains(t, p.ErrorMessage(), "resource has 257 attributes, limit 256")
	require.Contains(t, p.ErrorMessage(), "target_info{")
	require.Len(t, node.store.dump(t), 2)

	// What the converter alone finds is counted as well.
	node = newOTLPNode(t, promconfig.OTLPConfig{PromoteAllResourceAttributes: true, TranslationStrategy: promconfig.DefaultOTLPConfig.TranslationStrategy})
	md, ms = oneScope()
	addGauge(ms, "good", now, 1)
	addGauge(addResource(md, "__", "x"), "bad", now, 1)
	p = partialSuccess(t, postOTLP(t, node.handler, otlpBody(t, md)))
	require.EqualValues(t, 1, p.RejectedDataPoints())
	require.Contains(t, p.ErrorMessage(), `normalization for label name "__" resulted in invalid name`)
	require.Len(t, node.store.dump(t), 1)
}

// TestOTLPNothingStored is a bad request, not a partial success.
func TestOTLPNothingStored(t *testing.T) {
	t.Parallel()
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	md, ms := oneScope("host.name", "h")
	addSum(ms, "clicks", pmetric.AggregationTemporalityDelta).AppendEmpty().SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	w := postOTLP(t, node.handler, otlpBody(t, md))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Contains(t, statusMessage(t, w), "1 of 1 data points refused")
	require.Empty(t, node.store.dump(t))
}

// TestOTLPExemplarsAreNoDataPoints: what is wrong with one is counted, not answered.
func TestOTLPExemplarsAreNoDataPoints(t *testing.T) {
	t.Parallel()
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	now := time.Now()
	md, ms := oneScope()
	p := addSum(ms, "clicks", pmetric.AggregationTemporalityCumulative).AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.Exemplars().AppendEmpty() // without a value
	future := p.Exemplars().AppendEmpty()
	future.SetIntValue(1)
	future.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Hour)))
	got := partialSuccess(t, postOTLP(t, node.handler, otlpBody(t, md)))
	require.Empty(t, got.ErrorMessage())
	require.Len(t, node.store.dump(t), 1)
	require.Empty(t, node.store.storedExemplars(t))
}

func TestOTLPUnavailable(t *testing.T) {
	t.Parallel()
	calls := 0
	h := otlpOver(writerFunc(func(b *Batch) Outcome {
		calls++
		return Outcome{Unavailable: len(b.valid), Cause: "have 1 of 2 members"}
	}), func(c *HandlerConfig) { c.Limits.SeriesPerRequest = 2 })
	md, ms := oneScope("host.name", "h")
	for i := range 10 {
		addGauge(ms, "g"+strconv.Itoa(i), time.Now(), 1)
	}
	addSum(ms, "delta", pmetric.AggregationTemporalityDelta).AppendEmpty()
	w := postOTLP(t, h, otlpBody(t, md))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, statusMessage(t, w), "have 1 of 2 members; try again")
	after, err := strconv.Atoi(w.Header().Get("Retry-After"))
	require.NoError(t, err)
	require.Positive(t, after)
	require.Equal(t, 1, calls, "what is sent again anyway is not written further")
}

func TestOTLPAnswersInJSON(t *testing.T) {
	t.Parallel()
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	send := func(body string) (int, map[string]any) {
		w := postOTLP(t, node.handler, []byte(body), "Content-Type", "application/json")
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var got map[string]any
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got), w.Body)
		return w.Code, got
	}
	now := strconv.FormatInt(time.Now().UnixNano(), 10)
	gauge := func(name, at string) string {
		return `{"name":"` + name + `","gauge":{"dataPoints":[{"timeUnixNano":"` + at + `","asInt":"7"}]}}`
	}
	request := func(metrics ...string) string {
		return `{"resourceMetrics":[{"scopeMetrics":[{"metrics":[` + strings.Join(metrics, ",") + `]}]}]}`
	}
	status, got := send(request(gauge("good", now)))
	require.Equal(t, http.StatusOK, status)
	require.Empty(t, got)
	status, got = send(request(gauge("good", now), gauge("old", "1")))
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "1", got["partialSuccess"].(map[string]any)["rejectedDataPoints"])
	status, got = send(request(gauge("old", "1")))
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, got["message"], "too far in the past")
	require.Len(t, node.store.dump(t), 1)
}

// TestOTLPCarriesEverything looks at what reaches the owners beside the samples.
func TestOTLPCarriesEverything(t *testing.T) {
	t.Parallel()
	now, start := time.Now(), time.Now().Add(-time.Hour)
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig)
	var starts []int64
	_, spy := NewHandlers(HandlerConfig{Tenant: tenantOf, Writer: writerFunc(func(b *Batch) Outcome {
		require.Equal(t, "team-b", b.Tenant)
		for _, s := range b.series {
			for _, smp := range b.samplesOf(&s) {
				starts = append(starts, smp.ST)
			}
			for _, h := range b.histogramsOf(&s) {
				starts = append(starts, h.st)
			}
		}
		return Outcome{}
	})}, promconfig.DefaultOTLPConfig, quietLogger(), nil)
	md, ms := oneScope()
	p := addSum(ms, "clicks", pmetric.AggregationTemporalityCumulative).AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	h := named(ms, "size", "By").SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	e := h.DataPoints().AppendEmpty()
	e.SetTimestamp(p.Timestamp())
	e.SetStartTimestamp(p.StartTimestamp())
	body := otlpBody(t, md)
	require.Equal(t, http.StatusOK, postOTLP(t, spy, body, headerTenant, "team-b").Code)
	require.Equal(t, []int64{start.UnixMilli(), start.UnixMilli()}, starts)

	require.Equal(t, http.StatusOK, postOTLP(t, node.handler, body).Code)
	require.Equal(t, []Metadata{
		{Name: "clicks_total", Type: "counter", Help: "What clicks is."},
		{Name: "size_bytes", Type: "histogram", Unit: "bytes", Help: "What size is."},
	}, node.meta.Get(testTenant, "", 0))
}

// TestOTLPTargetInfoIsStable sends the attributes of a resource in another order, and its
// resources back in time: one series, ascending.
func TestOTLPTargetInfoIsStable(t *testing.T) {
	t.Parallel()
	var got []Sample
	series := map[string]bool{}
	h := otlpOver(writerFunc(func(b *Batch) Outcome {
		for i := range b.series {
			if name := b.describe(i); strings.HasPrefix(name, "target_info") {
				series[name] = true
				got = append(got, b.samplesOf(&b.series[i])...)
			}
		}
		return Outcome{}
	}))
	now := time.Now()
	md := pmetric.NewMetrics()
	for i, attrs := range [][]string{
		{"service.name", "a", "host.name", "h", "host-name", "i", "os.type", "linux"},
		{"os.type", "linux", "host-name", "i", "host.name", "h", "service.name", "a"},
		{"host.name", "h", "service.name", "a", "os.type", "linux", "host-name", "i"},
	} {
		addGauge(addResource(md, attrs...), "g", now.Add(-time.Duration(i)*time.Second), 1)
	}
	require.Equal(t, http.StatusOK, postOTLP(t, h, otlpBody(t, md)).Code)
	require.Equal(t, map[string]bool{`target_info{host_name="i;h", job="a", os_type="linux"}`: true}, series)
	require.Len(t, got, 3)
	require.Less(t, got[0].T, got[1].T)
	require.Less(t, got[1].T, got[2].T)
}

// TestOTLPSplitsLargeRequests keeps batches within the limits, and a data point in one.
func TestOTLPSplitsLargeRequests(t *testing.T) {
	t.Parallel()
	var sizes []int
	h := otlpOver(writerFunc(func(b *Batch) Outcome {
		sizes = append(sizes, len(b.series))
		return Outcome{}
	}))
	md, ms := oneScope()
	hist := named(ms, "h", "").SetEmptyHistogram()
	hist.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i := range 1500 {
		p := hist.DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		p.Attributes().PutInt("n", int64(i))
		p.SetSum(1)
		p.ExplicitBounds().FromRaw([]float64{1, 2, 3, 4, 5, 6, 7})
		p.BucketCounts().FromRaw(make([]uint64, 8))
	}
	require.Equal(t, http.StatusOK, postOTLP(t, h, otlpBody(t, md)).Code)
	total := 0
	for _, n := range sizes {
		total += n
		require.Zero(t, n%10, "a data point is ten series")
		require.LessOrEqual(t, n, otlpBatchSeries)
	}
	require.Equal(t, 15_000, total)
}

func TestOTLPSenderGoesAway(t *testing.T) {
	t.Parallel()
	h := otlpOver(writerFunc(func(*Batch) Outcome { return Outcome{} }))
	md, ms := oneScope()
	for i := range 300 {
		addGauge(ms, "g"+strconv.Itoa(i), time.Now(), 1)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(string(otlpBody(t, md))))
	r.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
}
