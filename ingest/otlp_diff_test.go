// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// TestOTLPStoresWhatPrometheusStores sends the same bytes to Prometheus' own handler over
// a TSDB and to ours: same series, samples and exemplars, to the bit.
func TestOTLPStoresWhatPrometheusStores(t *testing.T) {
	t.Parallel()
	now := time.Now()
	f := func(name, config string, series int, build func(md pmetric.Metrics, now time.Time)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := ParseOTLP([]byte(config))
			require.NoError(t, err)
			md := pmetric.NewMetrics()
			build(md, now)
			body := otlpBody(t, md)
			asJSON, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalJSON()
			require.NoError(t, err)

			theirs := openStore(t)
			prom := remote.NewOTLPWriteHandler(quietLogger(), prometheus.NewRegistry(), theirs.db, func() promconfig.Config {
				return promconfig.Config{OTLPConfig: cfg}
			}, remote.OTLPOptions{})
			w := postOTLP(t, prom, body)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			want := theirs.dump(t)
			require.Len(t, want, series, "the case is not what it was meant to be: %v", want)

			check := func(limits Limits, body []byte, headers ...string) {
				ours := newOTLPNode(t, cfg, func(c *HandlerConfig) { c.Limits = limits })
				for range 2 { // The same again changes nothing.
					w := postOTLP(t, ours.handler, body, headers...)
					require.Equal(t, http.StatusOK, w.Code, w.Body)
					require.Contains(t, []string{"", "{}"}, w.Body.String(), "nothing is refused")
				}
				require.Equal(t, want, ours.store.dump(t))
				require.Equal(t, theirs.storedExemplars(t), ours.store.storedExemplars(t))
			}
			check(Limits{}, body)
			check(Limits{}, gzipped(t, body), "Content-Encoding", "gzip")
			check(Limits{}, asJSON, "Content-Type", "application/json; charset=utf-8")
			check(Limits{SeriesPerRequest: 3}, body) // Many batches.
		})
	}

	for _, config := range []string{
		"", "translation_strategy: UnderscoreEscapingWithoutSuffixes", "translation_strategy: NoUTF8EscapingWithSuffixes", "translation_strategy: NoTranslation",
		"promote_resource_attributes: [k8s.pod.name, service.name]", "promote_all_resource_attributes: true",
		"promote_all_resource_attributes: true\nignore_resource_attributes: [host.name]",
		"keep_identifying_resource_attributes: true", "promote_scope_metadata: true", "convert_histograms_to_nhcb: true",
		"label_name_underscore_sanitization: false\nlabel_name_preserve_multiple_underscores: false",
	} {
		f("gauges "+config, config, 5, otlpGauges)
	}
	f("sums", "", 2, otlpSums)
	f("explicit histograms", "", 14, otlpClassicHistograms)
	f("custom bucket histograms", "convert_histograms_to_nhcb: true", 4, otlpClassicHistograms)
	f("exponential histograms", "", 4, otlpExponentialHistograms)
	f("summaries", "", 9, otlpPauses)
	f("many resources, target_info in any order", "", 33, otlpManyResources)
	f("nothing to say", "", 0, func(md pmetric.Metrics, _ time.Time) {
		ms := addResource(md)
		named(ms, "empty", "").SetEmptyGauge()
	})
}

// otlpGauges are gauges with attributes of every spelling and type.
func otlpGauges(md pmetric.Metrics, now time.Time) {
	ms := addResource(md, "service.name", "cart", "service.namespace", "shop", "service.instance.id", "1", "k8s.pod.name", "cart-0", "host.name", "h")
	addGauge(ms, "queue.length", now, 3, "queue.name", "q", "a-b", "1", "a.b", "2", "émigré", "yes", "9lives", "9", "_private", "p", "__twice", "t")
	addGauge(ms, "temperature", now, math.Copysign(0, -1), "room", "")
	addGauge(ms, "stale", now, math.NaN())
	ms.At(2).Gauge().DataPoints().At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	p := named(ms, "ints.used", "By").SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.SetIntValue(math.MaxInt64)
	p.Attributes().PutBool("flag", true)
	p.Attributes().PutEmptySlice("list").AppendEmpty().SetInt(1)
	p.Attributes().PutEmptyMap("map").PutStr("k", "v")
}

// otlpSums are a counter with exemplars and a sum that is none.
func otlpSums(md pmetric.Metrics, now time.Time) {
	ms := addResource(md, "service.name", "cart")
	points := addSum(ms, "requests", pmetric.AggregationTemporalityCumulative)
	for i := range 3 {
		p := points.AppendEmpty()
		p.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Hour)))
		p.SetTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Duration(i) * time.Second)))
		p.SetIntValue(int64(i))
		p.Attributes().PutStr("code", "200")
		e := p.Exemplars().AppendEmpty()
		e.SetTimestamp(p.Timestamp())
		e.SetDoubleValue(float64(i) / 2)
		e.SetTraceID(pcommon.TraceID{1, 2, 3, byte(i + 1)})
		e.SetSpanID(pcommon.SpanID{7})
		putAll(e.FilteredAttributes(), "user", "u")
	}
	up := named(ms, "in_flight", "{request}").SetEmptySum()
	up.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := up.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(now))
	p.SetDoubleValue(-4)
}

// otlpClassicHistograms have explicit bounds, exemplars, a sum or none, and a stale marker.
func otlpClassicHistograms(md pmetric.Metrics, now time.Time) {
	ms := addResource(md, "service.name", "cart", "region", "eu")
	h := named(ms, "latency", "ms").SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i, route := range []string{"/", "/pay"} {
		p := h.DataPoints().AppendEmpty()
		p.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Minute)))
		p.SetTimestamp(pcommon.NewTimestampFromTime(now))
		putAll(p.Attributes(), "route", route)
		p.ExplicitBounds().FromRaw([]float64{0.5, 1, 2.5})
		p.BucketCounts().FromRaw([]uint64{1, 2, 0, 4})
		p.SetCount(7)
		if i == 0 {
			p.SetSum(11.25)
		}
		for n := range 3 {
			e := p.Exemplars().AppendEmpty()
			e.SetTimestamp(pcommon.NewTimestampFromTime(now))
			e.SetDoubleValue(float64(n))
			e.SetTraceID(pcommon.TraceID{byte(n + 1)})
		}
	}
	gone := h.DataPoints().AppendEmpty()
	gone.SetTimestamp(pcommon.NewTimestampFromTime(now))
	gone.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	putAll(gone.Attributes(), "route", "/gone")
}

// otlpExponentialHistograms are of scales that Prometheus has and has not.
func otlpExponentialHistograms(md pmetric.Metrics, now time.Time) {
	h := named(addResource(md, "service.name", "cart"), "size", "By").SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i, scale := range []int32{3, 20, -4} {
		p := h.DataPoints().AppendEmpty()
		p.SetStartTimestamp(pcommon.NewTimestampFromTime(now.Add(-time.Minute)))
		p.SetTimestamp(pcommon.NewTimestampFromTime(now))
		p.SetScale(scale)
		p.SetZeroCount(2)
		p.Positive().SetOffset(-3)
		p.Positive().BucketCounts().FromRaw([]uint64{1, 0, 0, 0, 5, 1})
		p.Negative().SetOffset(1)
		p.Negative().BucketCounts().FromRaw([]uint64{3})
		p.SetCount(12)
		p.SetSum([]float64{-4.5, math.Copysign(0, -1), math.Inf(1)}[i])
		p.Attributes().PutInt("n", int64(i))
		e := p.Exemplars().AppendEmpty()
		e.SetTimestamp(pcommon.NewTimestampFromTime(now))
		e.SetIntValue(3)
	}
	gone := h.DataPoints().AppendEmpty()
	gone.SetTimestamp(pcommon.NewTimestampFromTime(now))
	gone.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
}

// otlpPauses are summaries.
func otlpPauses(md pmetric.Metrics, now time.Time) {
	s := named(addResource(md, "service.name", "cart"), "pause", "s").SetEmptySummary()
	for i := range 2 {
		p := s.DataPoints().AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(now))
		p.Attributes().PutInt("gen", int64(i))
		p.SetCount(5)
		p.SetSum(1.5)
		for _, q := range []float64{0.5, 0.99} {
			v := p.QuantileValues().AppendEmpty()
			v.SetQuantile(q)
			v.SetValue(q * 2)
		}
		if i == 0 {
			v := p.QuantileValues().AppendEmpty()
			v.SetQuantile(1)
		}
	}
}

// otlpManyResources repeat themselves, and go back in time.
func otlpManyResources(md pmetric.Metrics, now time.Time) {
	for i := range 40 {
		ms := addResource(md, "service.name", "cart", "service.instance.id", strconv.Itoa(i%3), "host.name", "h")
		addGauge(ms, "load", now.Add(-time.Duration(i%10)*7*time.Minute), float64(i%3), "core", strconv.Itoa(i%30))
		addGauge(ms, "load", now.Add(-time.Duration(i%10)*time.Minute-time.Second), 1, "core", strconv.Itoa(i%30))
	}
}
