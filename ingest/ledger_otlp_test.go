// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// otlpKinds adds one data point of each kind, which become 1 + 1 + 6 + 1 + 4 samples.
func otlpKinds(ms pmetric.MetricSlice, now time.Time, attrs ...string) {
	at := pcommon.NewTimestampFromTime(now)
	addGauge(ms, "gauge", now, 1, attrs...)
	sum := addSum(ms, "sum", pmetric.AggregationTemporalityCumulative).AppendEmpty()
	sum.SetTimestamp(at)
	putAll(sum.Attributes(), attrs...)
	addHistogram(ms, "explicit", now, attrs...)
	e := named(ms, "exponential", "").SetEmptyExponentialHistogram()
	e.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	exponential := e.DataPoints().AppendEmpty()
	exponential.SetTimestamp(at)
	putAll(exponential.Attributes(), attrs...)
	summary := named(ms, "summary", "").SetEmptySummary().DataPoints().AppendEmpty()
	summary.SetTimestamp(at)
	putAll(summary.Attributes(), attrs...)
	for _, q := range []float64{0.5, 0.9} {
		summary.QuantileValues().AppendEmpty().SetQuantile(q)
	}
}

// addHistogram adds a histogram of four buckets, a count and a sum.
func addHistogram(ms pmetric.MetricSlice, name string, at time.Time, attrs ...string) {
	h := named(ms, name, "").SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	p := h.DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetSum(1)
	p.SetCount(10)
	p.ExplicitBounds().FromRaw([]float64{1, 2, 3})
	p.BucketCounts().FromRaw([]uint64{1, 2, 3, 4})
	putAll(p.Attributes(), attrs...)
}

// TestLedgerBooksOTLP: in samples, as if they had come by remote write, so that what is
// distinct is what is stored.
func TestLedgerBooksOTLP(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const kinds = 13
	pair := []string{"cluster", "prod", "replica", "a"}
	unavailable := writerFunc(func(b *Batch) Outcome { return Outcome{Unavailable: len(b.valid), Cause: "a test"} })
	for name, c := range map[string]struct {
		before   func(ms pmetric.MetricSlice) // stored already
		request  func(md pmetric.Metrics, ms pmetric.MetricSlice)
		config   func(*promconfig.OTLPConfig)
		handler  func(*HandlerConfig)
		repeat   int
		sender   string
		status   int
		requests RequestCounts
		samples  SampleCounts
		reasons  map[Reason]uint64
		newest   time.Time
	}{
		"every kind": {
			request:  func(_ pmetric.Metrics, ms pmetric.MetricSlice) { otlpKinds(ms, now, pair...) },
			sender:   "prod/a/",
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: kinds, Accepted: kinds, Distinct: kinds},
			newest:   now,
		},
		"no external labels": {
			request:  func(_ pmetric.Metrics, ms pmetric.MetricSlice) { otlpKinds(ms, now) },
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: kinds, Accepted: kinds, Distinct: kinds},
			newest:   now,
		},
		"labels of the resource": {
			request: func(md pmetric.Metrics, _ pmetric.MetricSlice) {
				addGauge(addResource(md, append([]string{"service.name", "b"}, pair...)...), "g", now, 1)
			},
			config:   func(c *promconfig.OTLPConfig) { c.PromoteResourceAttributes = []string{"cluster", "replica"} },
			sender:   "prod/a/",
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: 2, Accepted: 2, Distinct: 2}, // with target_info
			newest:   now,
		},
		"custom buckets": {
			request:  func(_ pmetric.Metrics, ms pmetric.MetricSlice) { otlpKinds(ms, now) },
			config:   func(c *promconfig.OTLPConfig) { c.ConvertHistogramsToNHCB = true },
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: kinds - 5, Accepted: kinds - 5, Distinct: kinds - 5},
			newest:   now,
		},
		"target_info": {
			request: func(md pmetric.Metrics, _ pmetric.MetricSlice) {
				ms := addResource(md, "service.name", "b", "host.name", "h")
				addGauge(ms, "g", now.Add(-6*time.Minute), 1)
				addGauge(ms, "g", now, 1)
			},
			requests: RequestCounts{Accepted: 1},
			samples:  SampleCounts{Received: 6, Accepted: 6, Distinct: 6},
			newest:   now,
		},
		"delivered three times": {
			request:  func(_ pmetric.Metrics, ms pmetric.MetricSlice) { otlpKinds(ms, now) },
			repeat:   2,
			requests: RequestCounts{Accepted: 3},
			samples:  SampleCounts{Received: 3 * kinds, Accepted: 3 * kinds, Duplicate: 2 * kinds, Distinct: kinds},
			newest:   now,
		},
		"refused before translation": {
			request: func(md pmetric.Metrics, ms pmetric.MetricSlice) {
				otlpKinds(ms, now)
				addHistogram(ms, "future", now.Add(time.Hour))
				addSum(ms, "delta", pmetric.AggregationTemporalityDelta).AppendEmpty()
				otlpKinds(addResource(md, manyAttributes(otlpResourceAttributesMax+1)...), now)
			},
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 2*kinds + 7, Accepted: kinds, Distinct: kinds, Rejected: kinds + 7},
			reasons:  map[Reason]uint64{ReasonFuture: 6, ReasonTemporality: 1, ReasonLabelCount: kinds},
			newest:   now,
		},
		"nothing is left": {
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) {
				addHistogram(ms, "future", now.Add(time.Hour), pair...)
			},
			status:   http.StatusBadRequest,
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 6, Rejected: 6},
			reasons:  map[Reason]uint64{ReasonFuture: 6},
		},
		"refused by translation": {
			request: func(md pmetric.Metrics, ms pmetric.MetricSlice) {
				addGauge(ms, "good", now, 1)
				addHistogram(addResource(md, "__", "x"), "bad", now)
			},
			config:   func(c *promconfig.OTLPConfig) { c.PromoteAllResourceAttributes = true },
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 7, Accepted: 1, Distinct: 1, Rejected: 6},
			reasons:  map[Reason]uint64{ReasonTranslation: 6},
			newest:   now,
		},
		"refused by the storage": {
			before: func(ms pmetric.MetricSlice) { addGauge(ms, "gauge", now, 2) },
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) {
				otlpKinds(ms, now)
				addGauge(ms, "other", now.Add(-time.Second), 1)
			},
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: kinds + 1, Accepted: kinds, Distinct: kinds, Rejected: 1},
			reasons:  map[Reason]uint64{ReasonDuplicate: 1},
			newest:   now,
		},
		"two values for one time": {
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) {
				addGauge(ms, "g", now, 1)
				addGauge(ms, "g", now, 2)
			},
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 2, Accepted: 1, Distinct: 1, Rejected: 1},
			reasons:  map[Reason]uint64{ReasonDuplicate: 1},
		},
		"too large to translate": {
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) {
				for i := range 4 {
					addGauge(ms, "g"+strconv.Itoa(i), now, 1)
				}
			},
			handler: func(c *HandlerConfig) {
				c.Limits.SeriesPerRequest, c.Limits.ExpandedBytes = 2, 260
			},
			status:   http.StatusRequestEntityTooLarge,
			requests: RequestCounts{Rejected: 1},
			samples:  SampleCounts{Received: 4, Accepted: 2, Distinct: 2, Rejected: 2},
			reasons:  map[Reason]uint64{ReasonTooLarge: 2},
			newest:   now,
		},
		"unavailable": {
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) {
				otlpKinds(ms, now, pair...)
				addHistogram(ms, "future", now.Add(time.Hour))
			},
			handler:  func(c *HandlerConfig) { c.Writer = unavailable },
			repeat:   1,
			sender:   "prod/a/",
			status:   http.StatusServiceUnavailable,
			requests: RequestCounts{Unavailable: 2},
			samples:  SampleCounts{Received: 2 * (kinds + 6), Unavailable: 2 * (kinds + 6)},
		},
		"over the rate": {
			request: func(_ pmetric.Metrics, ms pmetric.MetricSlice) { otlpKinds(ms, now, pair...) },
			handler: func(c *HandlerConfig) {
				c.Limits.SamplesPerSecond, c.Limits.BurstSamples = 0.001, kinds+1
			},
			repeat:   1,
			sender:   "prod/a/",
			status:   http.StatusTooManyRequests, // the second time: data points alone would fit
			requests: RequestCounts{Accepted: 1, Unavailable: 1},
			samples:  SampleCounts{Received: 2 * kinds, Accepted: kinds, Distinct: kinds, Unavailable: kinds},
			newest:   now,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledger, cfg := newTestLedger(t), promconfig.DefaultOTLPConfig
			if c.config != nil {
				c.config(&cfg)
			}
			node := newOTLPNode(t, cfg, func(h *HandlerConfig) {
				h.Ledger = ledger
				if c.handler != nil {
					c.handler(h)
				}
			})
			before := 0
			if c.before != nil {
				md, ms := oneScope()
				c.before(ms)
				require.Equal(t, http.StatusOK, postOTLP(t, node.handler, otlpBody(t, md)).Code)
				before = stored(node.store.dump(t))
				*ledger = *newTestLedger(t)
			}
			md, ms := oneScope()
			c.request(md, ms)
			body, status := gzipped(t, otlpBody(t, md)), 0
			for range c.repeat + 1 {
				status = postOTLP(t, node.handler, body, "Content-Encoding", "gzip").Code
			}
			if c.status == 0 {
				c.status = http.StatusOK
			}
			require.Equal(t, c.status, status)

			got := onlySender(t, ledger)
			if c.sender == "" {
				c.sender = "//192.0.2.1"
			}
			require.Equal(t, c.sender, got.Cluster+"/"+got.Replica+"/"+got.Address)
			require.Equal(t, c.requests, got.Requests)
			require.Equal(t, c.samples, got.Samples)
			require.Equal(t, c.reasons, got.Reasons)
			if !c.newest.IsZero() {
				require.Equal(t, c.newest.UnixMilli(), got.LastSample.UnixMilli())
			}
			require.Equal(t, got.Samples.Received, got.Samples.Accepted+got.Samples.Rejected+got.Samples.Unavailable)
			require.EqualValues(t, stored(node.store.dump(t))-before, got.Samples.Distinct)
		})
	}
}

// TestLedgerCountsHintsOfOTLP once for each owner that missed a sample.
func TestLedgerCountsHintsOfOTLP(t *testing.T) {
	t.Parallel()
	c, ledger := newCluster(t, 3, 3), newTestLedger(t)
	c.kill(2)
	_, h := NewHandlers(HandlerConfig{Writer: c.dist, Tenant: tenantOf, Ledger: ledger}, promconfig.DefaultOTLPConfig, quietLogger(), nil)
	md, ms := oneScope()
	addHistogram(ms, "h", time.Now())
	require.Equal(t, http.StatusOK, postOTLP(t, h, otlpBody(t, md)).Code)
	require.EqualValues(t, 6, onlySender(t, ledger).Samples.Hinted)
}

// TestLedgerBooksOTLPThatCannotBeRead on the address that it came from.
func TestLedgerBooksOTLPThatCannotBeRead(t *testing.T) {
	t.Parallel()
	ledger := newTestLedger(t)
	node := newOTLPNode(t, promconfig.DefaultOTLPConfig, func(c *HandlerConfig) { c.Ledger = ledger })
	md, ms := oneScope()
	addGauge(ms, "g", time.Now(), 1)
	body := otlpBody(t, md)
	require.Equal(t, http.StatusOK, postOTLP(t, node.handler, body).Code)
	require.Equal(t, http.StatusOK, postOTLP(t, node.handler, nil).Code)
	require.Equal(t, http.StatusBadRequest, postOTLP(t, node.handler, body[:len(body)-1]).Code)
	require.Equal(t, http.StatusUnsupportedMediaType, postOTLP(t, node.handler, body, "Content-Type", "text/plain").Code)
	require.Equal(t, RequestCounts{Accepted: 1, Unreadable: 2}, onlySender(t, ledger).Requests)
}
