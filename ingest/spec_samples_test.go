// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

const minute = 60_000

// TestSpecTimestamps: what is too far from now is refused, to the last value of an int64.
func TestSpecTimestamps(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	for _, ts := range []int64{now - 110*minute, now - 1, now, now + 9*minute} {
		specSeries{t, now}.stored(seriesV1(ts, 7, "__name__", "m"), `{__name__="m"}`, float(ts, 7))
	}
	f := func(ts int64, reason Reason, cause string) {
		t.Helper()
		specSeries{t, now}.refused(seriesV1(ts, 7, "__name__", "m"), Counts{Samples: 1}, reason, fmt.Sprintf("m{}: timestamp %d: %s", ts, cause))
	}
	f(now+11*minute, ReasonFuture, "too far in the future")
	f(math.MaxInt64, ReasonFuture, "too far in the future")
	f(0, ReasonPast, "too far in the past")
	f(-1, ReasonPast, "too far in the past")
	f(math.MinInt64, ReasonPast, "too far in the past")
	f(now-121*minute, ReasonTooOld, "too old: outside of the out-of-order window")
}

// TestSpecTimes keeps the good samples of a series that has bad ones.
func TestSpecTimes(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	series := seriesV1(now, 1, "__name__", "m")
	series.Samples = append([]prompb.Sample{{Timestamp: now + 60*minute}, {Timestamp: now - 1, Value: 5}}, series.Samples...)
	want := specAnswer{400, refusedBody(1, Counts{Samples: 1}, ReasonFuture, fmt.Sprintf("m{}: timestamp %d: too far in the future", now+60*minute)), ""}
	store := openStore(t)
	requireSpec(t, want, post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}})))
	stored := map[string][]storedSample{`{__name__="m"}`: {float(now-1, 5), float(now, 1)}}
	require.Equal(t, stored, store.dump(t))
	want.written = "2 0 0"
	store = openStore(t)
	requireSpec(t, want, post(t, oneNode(t, store), typeV2, encodeV2(t, toV2([]prompb.TimeSeries{series}))))
	require.Equal(t, stored, store.dump(t))
}

// TestSpecDuplicates: the same sample again is written, at any time inside the
// out-of-order window. Another value at the newest timestamp of a series is refused; at
// an older one it is taken and decided when it is read, silently: a TSDB does not look.
func TestSpecDuplicates(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			store := openStore(t)
			h := oneNode(t, store)
			send := func(want specAnswer, samples ...prompb.Sample) {
				t.Helper()
				series := []prompb.TimeSeries{{Labels: labelsV1("__name__", "m"), Samples: samples}}
				if version == "1.0" {
					want.written = ""
					requireSpec(t, want, post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
					return
				}
				requireSpec(t, want, post(t, h, typeV2, encodeV2(t, toV2(series))))
			}
			at := func(ts int64, v float64) prompb.Sample { return prompb.Sample{Timestamp: ts, Value: v} }
			batch := []prompb.Sample{at(now-3, 1), at(now-2, 2), at(now-1, staleNaN()), at(now, 4)}
			for range 3 {
				send(specAnswer{204, "", "4 0 0"}, batch...)
			}
			send(specAnswer{204, "", "1 0 0"}, at(now-90*minute, 9)) // Late, and in the window.
			send(specAnswer{204, "", "1 0 0"}, at(now-90*minute, 9))
			refused := refusedBody(1, Counts{Samples: 1}, ReasonDuplicate, fmt.Sprintf("m{}: timestamp %d: duplicate timestamp, different value", now))
			send(specAnswer{400, refused, "0 0 0"}, at(now, 5))
			send(specAnswer{400, refused, "1 0 0"}, at(now, 5), at(now+1, 6))
			send(specAnswer{204, "", "1 0 0"}, at(now-2, 77))

			got := store.dump(t)[`{__name__="m"}`]
			require.Len(t, got, 6, "each timestamp once")
			require.Equal(t, []storedSample{float(now-90*minute, 9), float(now-3, 1)}, got[:2])
			require.Equal(t, []storedSample{float(now-1, staleNaN()), float(now, 4), float(now+1, 6)}, got[3:])
		})
	}
}

// TestSpecNeither: a series has to bring something.
func TestSpecNeither(t *testing.T) {
	t.Parallel()
	specSeries{t, nowMillis()}.refused(prompb.TimeSeries{Labels: labelsV1("__name__", "m", "a", "1")}, Counts{}, ReasonNoSamples, `m{a="1"}: series has no samples`)
}

// TestSpecBoth: 2.0 forbids samples and histograms in one series, 1.0 does not.
func TestSpecBoth(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	both := prompb.TimeSeries{
		Labels: labelsV1("__name__", "m"), Samples: []prompb.Sample{{Timestamp: now, Value: 1}},
		Histograms: []prompb.Histogram{prompb.FromIntHistogram(now+1, intHistogram())},
	}
	series := []prompb.TimeSeries{seriesV1(now, 1, "__name__", "good"), both}
	store := openStore(t)
	requireSpec(t, specAnswer{204, "", ""}, post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
	require.Len(t, store.dump(t)[`{__name__="m"}`], 2)
	store = openStore(t)
	requireSpec(t, specAnswer{400, refusedBody(2, Counts{Samples: 1, Histograms: 1}, ReasonMixedTypes, "m{}: series has both samples and histograms"), "1 0 0"},
		post(t, oneNode(t, store), typeV2, encodeV2(t, toV2(series))))
	require.Len(t, store.dump(t), 1)
}

// TestSpecTooMany are requests that no limit of a single series stops.
func TestSpecTooMany(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(limits Limits, text, versions string, series ...prompb.TimeSeries) {
		t.Helper()
		h := oneNode(t, openStore(t), func(c *HandlerConfig) { c.Limits = limits })
		if strings.Contains(versions, "1") {
			requireSpec(t, specAnswer{413, text + "\n", ""}, post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
		}
		requireSpec(t, specAnswer{413, text + "\n", noneWritten}, post(t, h, typeV2, encodeV2(t, toV2(series))))
	}
	m := seriesV1(now, 1, "__name__", "m")
	f(Limits{SeriesPerRequest: 2}, "number of series 3 exceeds limit 2 (max_series_per_request in --limits.config-file)", "12", m, m, m)
	four := m
	four.Samples = append(four.Samples, make([]prompb.Sample, 3)...)
	f(Limits{ItemsPerRequest: 3}, "number of samples 4 exceeds limit 3 (max_samples_per_request in --limits.config-file)", "12", four)
	f(Limits{SymbolsPerRequest: 5}, "number of symbols 6 exceeds limit 5", "2", seriesV1(now, 1, "__name__", "m", "a", "1", "b", "2"))
	f(Limits{ExpandedBytes: 100}, "size after writing out symbols 156 exceeds limit 100", "2", seriesV1(now, 1, "__name__", "m", "a", strings.Repeat("x", 80)))
}

// TestSpecExemplars: what is wrong with an exemplar costs the exemplar.
func TestSpecExemplars(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	f := func(cause string, e prompb.Exemplar) {
		t.Helper()
		series := seriesV1(now, 1, "__name__", "m")
		series.Exemplars = []prompb.Exemplar{traceAt("good", now, 1), e}
		want := specAnswer{400, refusedBody(1, Counts{Exemplars: 1}, ReasonExemplar, "m{}: "+cause), ""}
		store := openStore(t)
		requireSpec(t, want, post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series}})))
		require.Equal(t, []string{"good"}, store.traces(t)[`{__name__="m"}`])
		want.written = "1 0 1"
		store = openStore(t)
		requireSpec(t, want, post(t, oneNode(t, store), typeV2, encodeV2(t, toV2([]prompb.TimeSeries{series}))))
		require.Equal(t, []string{"good"}, store.traces(t)[`{__name__="m"}`])
		require.Len(t, store.dump(t), 1)
	}
	// 128 characters, not bytes: the first is at the limit.
	fits := seriesV1(now, 1, "__name__", "m")
	fits.Exemplars = []prompb.Exemplar{{Labels: labelsV1("trace", strings.Repeat("é", 123)), Timestamp: now}}
	requireSpec(t, specAnswer{204, "", "1 0 1"}, post(t, oneNode(t, openStore(t)), typeV2, encodeV2(t, toV2([]prompb.TimeSeries{fits}))))
	f("exemplar labels exceed 128 characters", traceAt(strings.Repeat("é", 124), now, 1))
	f("exemplar labels exceed 128 characters", prompb.Exemplar{Labels: labelsV1("a", strings.Repeat("x", 100), "b", strings.Repeat("x", 27)), Timestamp: now})
	f(`exemplar label "a" is not valid UTF-8 or has no name`, prompb.Exemplar{Labels: labelsV1("a", "\xff"), Timestamp: now})
	f(`exemplar label "" is not valid UTF-8 or has no name`, prompb.Exemplar{Labels: labelsV1("", "x"), Timestamp: now})
	f(fmt.Sprintf("exemplar timestamp %d is too far in the future", now+11*minute), traceAt("x", now+11*minute, 1))
	f("exemplar timestamp 9223372036854775807 is too far in the future", traceAt("x", math.MaxInt64, 1))
}

// TestSpecExemplarWithoutSeries makes no series. Exemplars without a sample are legal:
// Prometheus sends them so.
func TestSpecExemplarWithoutSeries(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	alone := prompb.TimeSeries{Labels: labelsV1("__name__", "unknown"), Exemplars: []prompb.Exemplar{traceAt("x", now, 1)}}
	series := []prompb.TimeSeries{seriesV1(now, 1, "__name__", "m"), alone}
	store := openStore(t)
	h := oneNode(t, store)
	requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})))
	requireSpec(t, specAnswer{204, "", "1 0 0"}, post(t, h, typeV2, encodeV2(t, toV2(series))))
	require.Len(t, store.dump(t), 1)
	require.Empty(t, store.traces(t))
}

// TestSpecEveryKindEverywhere brings one series of each kind, with every float that is
// easily changed on the way, to three owners: as the body came, as a part of it, and as a
// hint. All have the same bits.
func TestSpecEveryKindEverywhere(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	series, want := kinds(now)
	// Prometheus ends a histogram series with a float marker behind its last histogram.
	ended := labelsV1("__name__", "ended")
	series = append(series,
		prompb.TimeSeries{Labels: ended, Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, intHistogram())}},
		seriesV1(now+1, staleNaN(), "__name__", "ended"))
	stale := histogram.Histogram{Sum: staleNaN()}
	want[`{__name__="ended"}`] = []storedSample{
		{t: now, bits: math.Float64bits(intHistogram().Sum), hist: intHistogram().String()},
		{t: now + 1, bits: math.Float64bits(staleNaN()), hist: stale.String()},
	}
	for _, version := range []string{"1.0", "2.0"} {
		for _, damaged := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s damaged=%t", version, damaged), func(t *testing.T) {
				request, answer := series, specAnswer{204, "", "7 7 0"}
				if damaged { // Then the body cannot be passed on as it came.
					request = append(slices.Clone(series), seriesV1(now, 1, "no", "name"))
					answer.status = 400
					answer.body = refusedBody(len(request), Counts{Samples: 1}, ReasonMissingName, `{no="name"}: no metric name`)
				}
				c := newStoreCluster(t, 3, 3)
				c.setAlive(func(i int) bool { return i != 2 })
				for range 2 {
					if version == "1.0" {
						answer.written = ""
						requireSpec(t, answer, post(t, c.members[0].handler, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: request})))
					} else {
						requireSpec(t, answer, post(t, c.members[0].handler, typeV2, encodeV2(t, toV2(request))))
					}
				}
				c.setAlive(func(int) bool { return true })
				c.replay()
				for i, m := range c.members {
					require.Equal(t, want, m.store.dump(t), i)
				}
			})
		}
	}
}
