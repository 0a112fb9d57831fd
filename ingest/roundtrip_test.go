// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// kinds is one series of each kind, at and after time now, and what a store has to
// have of it.
func kinds(now int64) (series []prompb.TimeSeries, want map[string][]storedSample) {
	weird := math.Float64frombits(0x7ff8_dead_beef_0001)
	stale := &histogram.Histogram{Sum: staleNaN()}
	fine := &histogram.Histogram{
		Schema: 9, Count: 3, Sum: 3,
		PositiveSpans: []histogram.Span{{Offset: 4, Length: 2}}, PositiveBuckets: []int64{1, 1},
	}
	coarse := fine.Copy()
	if err := coarse.ReduceResolution(8); err != nil {
		panic(err)
	}
	series = []prompb.TimeSeries{
		{Labels: labelsV1("__name__", "floats", "z", "1", "a", "2", "empty", ""), Samples: []prompb.Sample{
			{Timestamp: now, Value: 1.5},
			{Timestamp: now + 1, Value: weird},
			{Timestamp: now + 2, Value: 0},
			{Timestamp: now + 3, Value: math.Inf(-1)},
			{Timestamp: now + 4, Value: staleNaN()},
		}},
		{Labels: labelsV1("__name__", "ints"), Histograms: []prompb.Histogram{
			prompb.FromIntHistogram(now, intHistogram()), prompb.FromIntHistogram(now+1, stale),
		}},
		{Labels: labelsV1("__name__", "float_hist"), Histograms: []prompb.Histogram{prompb.FromFloatHistogram(now, intHistogram().ToFloat(nil))}},
		{Labels: labelsV1("__name__", "custom"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, customHistogram())}},
		{Labels: labelsV1("__name__", "custom_float"), Histograms: []prompb.Histogram{prompb.FromFloatHistogram(now, customHistogram().ToFloat(nil))}},
		{Labels: labelsV1("__name__", "fine"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, fine)}},
		{Labels: labelsV1("__name__", "日本", "любая", "метка"), Samples: []prompb.Sample{{Timestamp: now, Value: 1}}},
	}
	hist := func(t int64, h *histogram.Histogram) storedSample {
		return storedSample{t: t, bits: math.Float64bits(h.Sum), hist: h.String()}
	}
	floatHist := func(t int64, h *histogram.FloatHistogram) storedSample {
		return storedSample{t: t, bits: math.Float64bits(h.Sum), hist: "float " + h.String()}
	}
	want = map[string][]storedSample{
		`{__name__="floats", a="2", z="1"}`: {
			float(now, 1.5), float(now+1, weird), float(now+2, 0), float(now+3, math.Inf(-1)), float(now+4, staleNaN()),
		},
		`{__name__="ints"}`:                {hist(now, intHistogram()), hist(now+1, stale)},
		`{__name__="float_hist"}`:          {floatHist(now, intHistogram().ToFloat(nil))},
		`{__name__="custom"}`:              {hist(now, customHistogram())},
		`{__name__="custom_float"}`:        {floatHist(now, customHistogram().ToFloat(nil))},
		`{__name__="fine"}`:                {hist(now, coarse)},
		`{__name__="日本", "любая"="метка"}`: {float(now, 1)},
	}
	return series, want
}

// toV2 is the same request as 2.0.
func toV2(series []prompb.TimeSeries) *writev2.Request {
	table := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, s := range series {
		var out writev2.TimeSeries
		for _, l := range s.Labels {
			out.LabelsRefs = append(out.LabelsRefs, table.Symbolize(l.Name), table.Symbolize(l.Value))
		}
		for _, smp := range s.Samples {
			out.Samples = append(out.Samples, writev2.Sample{Timestamp: smp.Timestamp, Value: smp.Value})
		}
		for _, h := range s.Histograms {
			if h.IsFloatHistogram() {
				out.Histograms = append(out.Histograms, writev2.FromFloatHistogram(0, h.Timestamp, h.ToFloatHistogram()))
			} else {
				out.Histograms = append(out.Histograms, writev2.FromIntHistogram(0, h.Timestamp, h.ToIntHistogram()))
			}
		}
		for _, e := range s.Exemplars {
			x := writev2.Exemplar{Value: e.Value, Timestamp: e.Timestamp}
			for _, l := range e.Labels {
				x.LabelsRefs = append(x.LabelsRefs, table.Symbolize(l.Name), table.Symbolize(l.Value))
			}
			out.Exemplars = append(out.Exemplars, x)
		}
		req.Timeseries = append(req.Timeseries, out)
	}
	req.Symbols = table.Symbols()
	return req
}

func TestRoundTripEveryKind(t *testing.T) {
	t.Parallel()
	series, want := kinds(nowMillis())
	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			store := openStore(t)
			h := oneNode(t, store)
			// The same request again changes nothing and is answered the same.
			for range 3 {
				if version == "1.0" {
					w := post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series}))
					require.Equal(t, http.StatusNoContent, w.Code, w.Body)
					require.Empty(t, w.Header().Get(headerSamplesWritten))
				} else {
					w := post(t, h, typeV2, encodeV2(t, toV2(series)))
					require.Equal(t, http.StatusNoContent, w.Code, w.Body)
					require.Equal(t, "6", w.Header().Get(headerSamplesWritten))
					require.Equal(t, "6", w.Header().Get(headerHistogramsWritten))
					require.Equal(t, "0", w.Header().Get(headerExemplarsWritten))
				}
				require.Equal(t, want, store.dump(t))
			}
		})
	}
}

// TestExemplars sends exemplars in every way that senders do: with their sample, in a
// series of their own behind it, and alone in a later request.
func TestExemplars(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	exemplar := func(trace string, ts int64) []prompb.Exemplar {
		return []prompb.Exemplar{{Labels: labelsV1("trace", trace), Value: 0.25, Timestamp: ts}}
	}
	name := labelsV1("__name__", "requests", "code", "200")
	with := prompb.TimeSeries{Labels: name, Samples: []prompb.Sample{{Timestamp: now, Value: 1}}, Exemplars: exemplar("first", now)}
	behind := prompb.TimeSeries{Labels: name, Exemplars: exemplar("second", now+1)}
	alone := prompb.TimeSeries{Labels: name, Exemplars: exemplar("third", now+2)}
	orphan := prompb.TimeSeries{Labels: labelsV1("__name__", "unknown"), Exemplars: exemplar("lost", now+2)}

	for _, version := range []string{"1.0", "2.0"} {
		t.Run(version, func(t *testing.T) {
			store := openStore(t)
			h := oneNode(t, store)
			send := func(written string, series ...prompb.TimeSeries) {
				t.Helper()
				if version == "1.0" {
					require.Equal(t, http.StatusNoContent, post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: series})).Code)
					return
				}
				w := post(t, h, typeV2, encodeV2(t, toV2(series)))
				require.Equal(t, http.StatusNoContent, w.Code, w.Body)
				require.Equal(t, written, w.Header().Get(headerExemplarsWritten))
			}
			send("2", with, behind)
			send("1", alone, orphan)

			q, err := store.db.ExemplarQuerier(t.Context())
			require.NoError(t, err)
			res, err := q.Select(0, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "__name__", "requests")})
			require.NoError(t, err)
			require.Len(t, res, 1)
			var traces []string
			for _, e := range res[0].Exemplars {
				require.Equal(t, 0.25, e.Value)
				traces = append(traces, e.Labels.Get("trace"))
			}
			require.Equal(t, []string{"first", "second", "third"}, traces)
			require.NotContains(t, store.dump(t), `{__name__="unknown"}`)
		})
	}
}

// TestSeriesKeyIsPinned holds the hash still: owners follow from it, and all
// members of a cluster must agree over versions.
func TestSeriesKeyIsPinned(t *testing.T) {
	t.Parallel()
	pairs := []labelPair{{[]byte("__name__"), []byte("up")}, {[]byte("job"), []byte("node")}}
	key, _ := seriesKey(nil, "default-tenant", pairs)
	require.Equal(t, uint64(0x60103fd36f09adeb), key)
	other, _ := seriesKey(nil, "default-tenan", append([]labelPair{{[]byte("t"), nil}}, pairs...))
	require.NotEqual(t, key, other)
}

// TestKeyIgnoresOrderAndEmptyLabels holds for both protocols what makes one series.
func TestKeyIgnoresOrderAndEmptyLabels(t *testing.T) {
	t.Parallel()
	limits := Limits{}.withDefaults()
	decode := func(pairs ...string) uint64 {
		var raw []byte
		for i := 0; i < len(pairs); i += 2 {
			raw = appendLabel(raw, []byte(pairs[i]), []byte(pairs[i+1]))
		}
		d := newLabelDecoder()
		ls, key, err := d.decode(testTenant, raw, &limits)
		require.NoError(t, err)
		require.Equal(t, `{__name__="up", a="1", b="2"}`, ls.String())
		return key
	}
	want := decode("__name__", "up", "a", "1", "b", "2")
	require.Equal(t, want, decode("b", "2", "a", "1", "__name__", "up"))
	require.Equal(t, want, decode("b", "2", "empty", "", "__name__", "up", "a", "1"))
}

// TestScatteredLabels puts samples between the labels of a series, which is legal
// protobuf that no known sender writes.
func TestScatteredLabels(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	var msg []byte
	for i, pair := range [][2]string{{"b", "2"}, {"__name__", "up"}, {"a", "1"}} {
		msg = appendLabel(msg, []byte(pair[0]), []byte(pair[1]))
		msg = appendSample(msg, Sample{T: now + int64(i), V: float64(i)})
	}
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get(testTenant)
	require.NoError(t, b.scanV1(appendEntry(nil, fieldV1Series, msg)))
	require.NoError(t, b.validate(anyTime()))
	require.Equal(t, `{__name__="up", a="1", b="2"}`, b.labelsOf(&b.series[0], &b.decoder).String())
	require.Len(t, b.samplesOf(&b.series[0]), 3)
}
