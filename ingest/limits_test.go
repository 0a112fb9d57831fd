// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// liveLimits can be changed while a handler uses them, each tenant's by itself.
type liveLimits struct{ byTenant sync.Map }

func (l *liveLimits) set(tenant string, change func(*Limits)) {
	limits := DefaultLimits()
	change(&limits)
	l.byTenant.Store(tenant, &limits)
}

func (l *liveLimits) of(tenant string) *Limits {
	if found, ok := l.byTenant.Load(tenant); ok {
		return found.(*Limits)
	}
	limits := DefaultLimits()
	return &limits
}

func (l *liveLimits) use(c *HandlerConfig) { c.LimitsOf = l.of }

func requestOf(t testing.TB, series ...prompb.TimeSeries) []byte {
	t.Helper()
	return encodeV1(t, &prompb.WriteRequest{Timeseries: series})
}

// TestLimits meets each limit of a request with the limit just right and one too small:
// exact status and text, the metric, and another tenant that is not concerned.
func TestLimits(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	two := requestOf(t, seriesV1(now, 1, "__name__", "one"), seriesV1(now, 1, "__name__", "two", "a", "long"))
	decoded, err := decodedSize(two, 1<<20)
	require.NoError(t, err)
	exemplars := requestOf(t, prompb.TimeSeries{
		Labels: labelsV1("__name__", "one"), Samples: []prompb.Sample{{Timestamp: now}},
		Exemplars: []prompb.Exemplar{{Timestamp: now - 1, Value: 1}, {Timestamp: now, Value: 2}},
	})
	partial := func(series int, counts string) string {
		return fmt.Sprintf("%d of %d series refused in whole or part (%s); the rest is stored. ", 1, series, counts)
	}

	f := func(limit string, body []byte, set func(*Limits, int), fits, status int, text string) {
		t.Helper()
		limits := &liveLimits{}
		h := oneNode(t, openStore(t), limits.use)
		limits.set(testTenant, func(l *Limits) { set(l, fits) })
		require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body).Code, limit)

		limits.set(testTenant, func(l *Limits) { set(l, fits-1) })
		w := post(t, h, typeV1, body)
		if got := strings.TrimSpace(w.Body.String()); w.Code != status || got != text {
			t.Errorf("%s: got %d %q\nwant %d %q", limit, w.Code, got, status, text)
		}
		require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body, headerTenant, "team-b").Code, "another tenant")
		hits := h.(*handler).limited.hits
		require.Equal(t, 1, testutil.CollectAndCount(hits), limit)
		require.InDelta(t, 1, testutil.ToFloat64(hits.WithLabelValues(testTenant, limit)), 0, limit)
	}
	f("max_request_bytes", two, func(l *Limits, n int) { l.BodyBytes = int64(n) }, len(two), 413,
		fmt.Sprintf("body exceeds %d bytes (max_request_bytes in --limits.config-file)", len(two)-1))
	f("max_decoded_bytes", two, func(l *Limits, n int) { l.DecodedBytes = int64(n) }, decoded, 413,
		fmt.Sprintf("decoded size %d exceeds limit %d (max_decoded_bytes in --limits.config-file)", decoded, decoded-1))
	f("max_series_per_request", two, func(l *Limits, n int) { l.SeriesPerRequest = n }, 2, 413,
		"number of series 2 exceeds limit 1 (max_series_per_request in --limits.config-file)")
	f("max_samples_per_request", two, func(l *Limits, n int) { l.ItemsPerRequest = n }, 2, 413,
		"number of samples 2 exceeds limit 1 (max_samples_per_request in --limits.config-file)")
	f("max_exemplars_per_request", exemplars, func(l *Limits, n int) { l.ExemplarsPerRequest = n }, 2, 400,
		partial(1, "0 samples, 0 histograms, 1 exemplars")+"too_many_exemplars: 1. Examples:\n"+
			"one{}: request has 2 exemplars, limit 1 (max_exemplars_per_request in --limits.config-file)")
	f("max_label_names_per_series", two, func(l *Limits, n int) { l.LabelsPerSeries = n }, 2, 400,
		partial(2, "1 samples, 0 histograms, 0 exemplars")+"too_many_labels: 1. Examples:\n"+
			`two{a="long"}: series has 2 labels, limit 1 (max_label_names_per_series in --limits.config-file)`)
	f("max_label_value_length", two, func(l *Limits, n int) { l.LabelValueBytes = n }, 4, 400,
		partial(2, "1 samples, 0 histograms, 0 exemplars")+"label_value_too_long: 1. Examples:\n"+
			`two{a="long"}: value of label "a" has 4 bytes, limit 3 (max_label_value_length in --limits.config-file)`)
	name := requestOf(t, seriesV1(now, 1, "__name__", "one", "nine_char", "x"), seriesV1(now, 1, "__name__", "two"))
	f("max_label_name_length", name, func(l *Limits, n int) { l.LabelNameBytes = n }, 9, 400,
		partial(2, "1 samples, 0 histograms, 0 exemplars")+"label_name_too_long: 1. Examples:\n"+
			`one{nine_char="x"}: label name "nine_char" has 9 bytes, limit 8 (max_label_name_length in --limits.config-file)`)
	f("ingestion_rate", two, func(l *Limits, n int) { l.SamplesPerSecond, l.BurstSamples = 1e-6, n }, 2, 429,
		`ingestion rate limit of tenant "team-a" on this node exceeded by a request of 2 samples: 1e-06 samples/s, burst 1 (ingestion_rate in --limits.config-file)`)
}

// TestStricterLimitsHoldForKnownSeries reloads limits under requests for series that
// the cache knows: none of a request that starts after the reload gets through.
func TestStricterLimitsHoldForKnownSeries(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			limits, cache := &liveLimits{}, NewSeriesCache(CacheConfig{}, nil)
			h := oneNode(t, openStore(t), limits.use, func(c *HandlerConfig) { c.Cache = cache })
			req := &prompb.WriteRequest{}
			for i := range 50 {
				req.Timeseries = append(req.Timeseries, seriesV1(nowMillis(), 1, "__name__", "m", "i", strconv.Itoa(i), "b", "1"))
			}
			body, contentType := encodeV1(t, req), typeV1
			if version == "2.0" {
				body, contentType = encodeV2(t, toV2(req.Timeseries)), typeV2
			}
			send := func(want int) {
				t.Helper()
				w := post(t, h, contentType, body)
				require.Equal(t, want, w.Code, w.Body)
			}
			var stop atomic.Bool
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for !stop.Load() {
						post(t, h, contentType, body)
					}
				})
			}
			for range 20 {
				limits.set(testTenant, func(l *Limits) { l.LabelsPerSeries = 3 })
				send(http.StatusNoContent)
				limits.set(testTenant, func(l *Limits) { l.LabelsPerSeries = 2 })
				send(http.StatusBadRequest)
			}
			stop.Store(true)
			wg.Wait()
			limits.set(testTenant, func(*Limits) {})
			send(http.StatusNoContent)
			require.EqualValues(t, 50, cache.entries.Load(), "what was dropped is not counted")
		})
	}
}

// TestInflightBytesOfATenant holds one request of a tenant open.
func TestInflightBytesOfATenant(t *testing.T) {
	t.Parallel()
	limits := &liveLimits{}
	limits.set(testTenant, func(l *Limits) { l.InflightBytes = 100 })
	block, entered := make(chan struct{}), make(chan struct{})
	h := NewHandler(HandlerConfig{
		Tenant: tenantOf, LimitsOf: limits.of,
		Writer: writerFunc(func(b *Batch) Outcome {
			if b.Tenant == testTenant {
				entered <- struct{}{}
				<-block
			}
			return Outcome{}
		}),
	}, quietLogger(), nil)
	body := requestOf(t, seriesV1(nowMillis(), 1, "__name__", strings.Repeat("x", 200)))
	done := make(chan int)
	go func() { done <- post(t, h, typeV1, body).Code }()
	<-entered

	w := post(t, h, typeV1, body)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, `too many bytes in flight of tenant "team-a", limit 100; try again (max_inflight_bytes in --limits.config-file)`, strings.TrimSpace(w.Body.String()))
	requireRetryAfter(t, w.Header(), 1, 10)
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body, headerTenant, "team-b").Code, "another tenant")
	close(block)
	require.Equal(t, http.StatusNoContent, <-done)

	load := h.(*handler).tenants.get(testTenant, time.Now())
	require.Zero(t, load.inflight.used.Load(), "all is given back")
	require.Zero(t, h.(*handler).inflight.used.Load())
}

func requireRetryAfter(t testing.TB, h http.Header, from, to int) {
	t.Helper()
	after, err := strconv.Atoi(h.Get("Retry-After"))
	require.NoError(t, err)
	require.True(t, after >= from && after <= to, after)
}

// TestAdmitRefusesBeforeTheBody has a body that fails the test when it is read.
func TestAdmitRefusesBeforeTheBody(t *testing.T) {
	t.Parallel()
	h := NewHandler(HandlerConfig{
		Tenant: tenantOf, Admit: func() error { return fmt.Errorf("this node is short of memory") },
		Writer: writerFunc(func(*Batch) Outcome { panic("written") }),
	}, quietLogger(), nil)
	w := post(t, h, typeV1, []byte("no body"))
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "this node is short of memory; try again", strings.TrimSpace(w.Body.String()))
	requireRetryAfter(t, w.Header(), 1, 10)
}

// TestTenantsAreBounded makes names up as a hostile sender does.
func TestTenantsAreBounded(t *testing.T) {
	t.Parallel()
	loads, cache, now := &tenantLoads{}, NewSeriesCache(CacheConfig{}, nil), time.Unix(1000, 0)
	for i := range admittedTenantsMax {
		require.NotNil(t, loads.get(strconv.Itoa(i), now))
	}
	require.Nil(t, loads.get("new", now))
	require.NotNil(t, loads.get("0", now), "who is there stays")
	loads.get("0", now).inflight.enter(1)
	require.NotNil(t, loads.get("new", now.Add(2*admittedIdle)), "idle ones make room")
	require.Equal(t, 2, loads.count, "all but the new one and the one with a request under way")

	for i := range cacheTenantsMax {
		require.NotNil(t, cache.tenant(strconv.Itoa(i)))
	}
	require.Nil(t, cache.tenant("new"))
	require.Nil(t, cache.tenantUnder("new", seriesLimits{}))
	cache.sweep()
	require.NotNil(t, cache.tenant("new"))

	m := newLimitMetrics(nil)
	for i := range 2 * limitTenantsMax {
		m.request(strconv.Itoa(i), &limitError{limit: LimitRate})
	}
	require.Equal(t, limitTenantsMax+1, testutil.CollectAndCount(m.hits))
}
