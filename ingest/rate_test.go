// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func TestRateBucket(t *testing.T) {
	t.Parallel()
	limits := Limits{SamplesPerSecond: 100, BurstSamples: 1000}
	var b rateBucket
	now := time.Unix(1000, 0)
	f := func(after time.Duration, n int, want bool, wantWait time.Duration) {
		t.Helper()
		now = now.Add(after)
		wait, ok := b.take(now, n, &limits)
		require.Equal(t, want, ok)
		require.InDelta(t, wantWait, wait, float64(time.Millisecond))
	}
	f(0, 600, true, 0)
	f(0, 600, false, 2*time.Second)
	f(2*time.Second, 600, true, 0)
	f(0, 1, false, 10*time.Millisecond)
	f(time.Hour, 1000, true, 0)
	f(-time.Hour, 1, false, 10*time.Millisecond) // A clock that is set back refills nothing.
	f(time.Hour+time.Second, 100, true, 0)

	// A request beyond the burst gets through when the bucket is full, and is paid off.
	f(time.Hour, 1500, true, 0)
	f(4*time.Second, 1, false, time.Second+10*time.Millisecond)
	f(6*time.Second, 500, true, 0)

	// What is given back can be taken again.
	b.giveBack(500)
	f(0, 500, true, 0)

	// Limits that change hold at once.
	limits.BurstSamples = 10
	f(time.Hour, 11, true, 0)
	f(0, 1, false, 20*time.Millisecond)
	limits = Limits{SamplesPerSecond: 5}
	f(time.Hour, 50, true, 0)
	f(0, 50, false, 10*time.Second)
}

// TestRateLimitOfATenant sends over the rate: nothing of the request is stored, and the
// answer says when to come back.
func TestRateLimitOfATenant(t *testing.T) {
	t.Parallel()
	limits, store, now := &liveLimits{}, openStore(t), time.Now()
	limits.set(testTenant, func(l *Limits) { l.SamplesPerSecond, l.BurstSamples = 0.01, 3 })
	h := oneNode(t, store, limits.use, func(c *HandlerConfig) { c.Now = func() time.Time { return now } })
	first := requestOf(t, seriesV1(now.UnixMilli(), 1, "__name__", "a"), seriesV1(now.UnixMilli(), 1, "__name__", "b"))
	second := requestOf(t, seriesV1(now.UnixMilli(), 1, "__name__", "c"), prompb.TimeSeries{
		Labels: labelsV1("__name__", "d"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now.UnixMilli(), intHistogram())},
	})
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, first).Code)
	for range 20 {
		w := post(t, h, typeV1, second)
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.Equal(t, `ingestion rate limit of tenant "team-a" on this node exceeded by a request of 2 samples: 0.01 samples/s, burst 3 (ingestion_rate in --limits.config-file)`, strings.TrimSpace(w.Body.String()))
		requireRetryAfter(t, w.Header(), rateRetryMax, rateRetryMax) // 100 s to wait, bounded.
	}
	require.Len(t, store.dump(t), 2, "nothing of the second is stored")
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, second, headerTenant, "team-b").Code, "the rate is one tenant's")

	now = now.Add(99 * time.Second)
	requireRetryAfter(t, post(t, h, typeV1, second).Header(), 1, 2)
	now = now.Add(time.Second)
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, second).Code)
}

// TestRateIsNotPaidForRetries answers 503 as a node without a quorum does.
func TestRateIsNotPaidForRetries(t *testing.T) {
	t.Parallel()
	limits := &liveLimits{}
	limits.set(testTenant, func(l *Limits) { l.SamplesPerSecond, l.BurstSamples = 0.01, 1 })
	outcome := Outcome{Unavailable: 1, Cause: "have 1 of 2 members"}
	h := NewHandler(HandlerConfig{
		Tenant: tenantOf, LimitsOf: limits.of, Writer: writerFunc(func(*Batch) Outcome { return outcome }),
	}, quietLogger(), nil)
	body := requestOf(t, seriesV1(nowMillis(), 1, "__name__", "a"))
	for range 5 {
		require.Equal(t, http.StatusServiceUnavailable, post(t, h, typeV1, body).Code)
	}
	outcome = Outcome{}
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, body).Code)
	require.Equal(t, http.StatusTooManyRequests, post(t, h, typeV1, body).Code)
}
