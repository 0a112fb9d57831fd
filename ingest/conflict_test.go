// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// entry is a TimeSeries of the series m{a="1", b="2"}, its labels in the order in which
// they are given here. Each case puts a name of its own in the place of the 2.
type entry struct {
	labels     []string
	samples    []prompb.Sample
	histograms []prompb.Histogram
}

func conflictEntry(samples ...prompb.Sample) entry {
	return entry{labels: []string{"__name__", "m", "a", "1", "b", "2"}, samples: samples}
}

func histogramEntry(histograms ...prompb.Histogram) entry {
	e := conflictEntry()
	e.histograms = histograms
	return e
}

// shuffled is the same series in other bytes.
func (e entry) shuffled() entry {
	e.labels = []string{"b", "2", "none", "", "a", "1", "__name__", "m"}
	return e
}

func (e entry) series() prompb.TimeSeries {
	return prompb.TimeSeries{Labels: labelsV1(e.labels...), Samples: e.samples, Histograms: e.histograms}
}

func storedHistogram(ts int64, h *histogram.Histogram) storedSample {
	return storedSample{t: ts, bits: math.Float64bits(h.Sum), hist: h.String()}
}

// TestSpecConflicts: of two values for one time of a series in one request the first is
// stored and the other refused, wherever in the request they are. The same value again
// is written.
func TestSpecConflicts(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	at := func(ts int64, v float64) prompb.Sample { return prompb.Sample{Timestamp: ts, Value: v} }
	h, other := intHistogram(), intHistogram()
	other.Sum++
	fh := intHistogram().ToFloat(nil)
	otherFloat := fh.Copy()
	otherFloat.ZeroCount++
	reset := intHistogram() // Says nothing of the values.
	reset.CounterResetHint = histogram.NotCounterReset
	bad := prompb.FromIntHistogram(now, intHistogram())
	bad.Count = &prompb.Histogram_CountInt{CountInt: 1}
	hist := prompb.FromIntHistogram
	floating := func(h *histogram.FloatHistogram) prompb.Histogram { return prompb.FromFloatHistogram(now, h) }

	cluster := newStoreCluster(t, 3, 3)
	for name, c := range map[string]struct {
		entries []entry
		refused Counts // for the conflict
		stored  []storedSample
		only    string // version
	}{
		"no conflict":             {entries: []entry{conflictEntry(at(now-1, 1), at(now, 2))}, stored: []storedSample{float(now-1, 1), float(now, 2)}},
		"same value":              {entries: []entry{conflictEntry(at(now, 1), at(now, 1))}, stored: []storedSample{float(now, 1)}},
		"same NaN":                {entries: []entry{conflictEntry(at(now, staleNaN()), at(now, staleNaN()))}, stored: []storedSample{float(now, staleNaN())}},
		"other NaN":               {entries: []entry{conflictEntry(at(now, math.NaN()), at(now, staleNaN()))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now, math.NaN())}},
		"newest":                  {entries: []entry{conflictEntry(at(now-1, 1), at(now, 2), at(now, 3))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now-1, 1), float(now, 2)}},
		"older":                   {entries: []entry{conflictEntry(at(now-1, 1), at(now, 2), at(now-1, 3))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now-1, 1), float(now, 2)}},
		"against the order":       {entries: []entry{conflictEntry(at(now, 2), at(now-1, 1), at(now-2, 0))}, stored: []storedSample{float(now-2, 0), float(now-1, 1), float(now, 2)}},
		"many":                    {entries: []entry{conflictEntry(at(now, 1), at(now, 2), at(now, 1), at(now, 3))}, refused: Counts{Samples: 2}, stored: []storedSample{float(now, 1)}},
		"between entries":         {entries: []entry{conflictEntry(at(now, 1)), conflictEntry(at(now, 2))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now, 1)}},
		"entries that go on":      {entries: []entry{conflictEntry(at(now-2, 1)), conflictEntry(at(now-1, 2)), conflictEntry(at(now, 3))}, stored: []storedSample{float(now-2, 1), float(now-1, 2), float(now, 3)}},
		"entries that repeat":     {entries: []entry{conflictEntry(at(now, 1)), conflictEntry(at(now, 1))}, stored: []storedSample{float(now, 1)}},
		"two entries back":        {entries: []entry{conflictEntry(at(now-9, 1)), conflictEntry(at(now, 1)), conflictEntry(at(now-9, 2))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now-9, 1), float(now, 1)}},
		"labels in another order": {entries: []entry{conflictEntry(at(now, 1)), conflictEntry(at(now, 2)).shuffled()}, refused: Counts{Samples: 1}, stored: []storedSample{float(now, 1)}},
		"in part":                 {entries: []entry{conflictEntry(at(now, 1)), conflictEntry(at(now, 2), at(now+1, 3))}, refused: Counts{Samples: 1}, stored: []storedSample{float(now, 1), float(now+1, 3)}},
		"beside another series":   {entries: []entry{conflictEntry(at(now, 1), at(now, 2)), {labels: []string{"__name__", "z"}, samples: []prompb.Sample{at(now, 5)}}}, refused: Counts{Samples: 1}, stored: []storedSample{float(now, 1)}},
		"histograms":              {entries: []entry{histogramEntry(hist(now, h), hist(now, other))}, refused: Counts{Histograms: 1}, stored: []storedSample{storedHistogram(now, h)}},
		"same histogram":          {entries: []entry{histogramEntry(hist(now, h), hist(now, reset))}, stored: []storedSample{storedHistogram(now, h)}},
		"histograms in entries":   {entries: []entry{histogramEntry(hist(now-1, h), hist(now, h)), histogramEntry(hist(now-1, other))}, refused: Counts{Histograms: 1}, stored: []storedSample{storedHistogram(now-1, h), storedHistogram(now, h)}},
		"float histograms":        {entries: []entry{histogramEntry(floating(fh)), histogramEntry(floating(otherFloat), floating(fh))}, refused: Counts{Histograms: 1}, stored: []storedSample{{t: now, bits: math.Float64bits(fh.Sum), hist: "float " + fh.String()}}},
		"kinds of histograms":     {entries: []entry{histogramEntry(hist(now, h)), histogramEntry(floating(fh))}, refused: Counts{Histograms: 1}, stored: []storedSample{storedHistogram(now, h)}},
		"histogram and float":     {entries: []entry{histogramEntry(hist(now, h)), conflictEntry(at(now, h.Sum))}, refused: Counts{Samples: 1}, stored: []storedSample{storedHistogram(now, h)}},
		"float and histogram":     {entries: []entry{conflictEntry(at(now, h.Sum)), histogramEntry(hist(now, h))}, refused: Counts{Histograms: 1}, stored: []storedSample{float(now, h.Sum)}},
		"both in one entry":       {only: typeV1, entries: []entry{{labels: conflictEntry().labels, samples: []prompb.Sample{at(now, 1)}, histograms: []prompb.Histogram{hist(now, h)}}}, refused: Counts{Histograms: 1}, stored: []storedSample{float(now, 1)}},
	} {
		for _, contentType := range []string{typeV1, typeV2} {
			if c.only != "" && c.only != contentType {
				continue
			}
			t.Run(name+" "+contentType, func(t *testing.T) {
				var series []prompb.TimeSeries
				for _, e := range c.entries {
					series = append(series, e.series())
					for i, l := range series[len(series)-1].Labels {
						if l.Name == "b" {
							series[len(series)-1].Labels[i].Value = name + contentType
						}
					}
				}
				conflictCase{series, c.refused, c.stored, name + contentType}.run(t, cluster, contentType)
			})
		}
	}
	t.Run("bad histogram first", func(t *testing.T) {
		// It is refused for what it is, and is nothing to compare with.
		store := openStore(t)
		w := post(t, oneNode(t, store), typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{histogramEntry(bad, hist(now, h)).series()}}))
		require.Contains(t, w.Body.String(), "(0 samples, 1 histograms, 0 exemplars); the rest is stored. invalid_histogram: 1.")
		require.Equal(t, []storedSample{storedHistogram(now, h)}, store.dump(t)[`{__name__="m", a="1", b="2"}`])
	})
}

// conflictCase is a request to three members, of which all own everything.
type conflictCase struct {
	series  []prompb.TimeSeries
	refused Counts
	stored  []storedSample
	name    string
}

// run sends it three times, through each member: that it was stored before changes no
// answer, nor does what the series cache knows.
func (c conflictCase) run(t *testing.T, cluster *storeCluster, contentType string) {
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: c.series})
	if contentType == typeV2 {
		body = encodeV2(t, toV2(c.series))
	}
	var written Counts
	for _, s := range c.series {
		written.add(Counts{Samples: len(s.Samples), Histograms: len(s.Histograms)})
	}
	want := specAnswer{status: 204}
	if c.refused.total() > 0 {
		want.status = 400
	}
	for i := range 6 {
		w := post(t, cluster.members[i%3].handler, contentType, body)
		require.Equal(t, want.status, w.Code, w.Body)
		if contentType == typeV2 {
			require.Equal(t, fmt.Sprint(written.Samples-c.refused.Samples), w.Header().Get(headerSamplesWritten))
			require.Equal(t, fmt.Sprint(written.Histograms-c.refused.Histograms), w.Header().Get(headerHistogramsWritten))
		}
		if want.status == 400 {
			require.Contains(t, w.Body.String(), fmt.Sprintf("(%d samples, %d histograms, 0 exemplars); the rest is stored. duplicate_timestamp: 1. Examples:\nm{", c.refused.Samples, c.refused.Histograms))
			require.Contains(t, w.Body.String(), "duplicate timestamp, different value in one request")
		}
	}
	for _, m := range cluster.members {
		require.Equal(t, c.stored, m.store.dump(t)[fmt.Sprintf(`{__name__="m", a="1", b=%q}`, c.name)])
	}
}

// TestConflictsFollowAMap makes requests at random, of few series and times, and
// compares what is kept with what a map of all that came keeps.
func TestConflictsFollowAMap(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for _, cached := range []bool{true, false} {
		pool := batchPool{limits: Limits{}.withDefaults(), strict: true}
		if cached {
			pool.cache = NewSeriesCache(CacheConfig{}, nil)
		}
		for range 1000 {
			type place struct {
				series int
				t      int64
			}
			first := map[place]float64{}
			want, refused := map[place][]float64{}, 0
			req := &prompb.WriteRequest{}
			for range rnd.IntN(12) {
				n := rnd.IntN(4)
				e := conflictEntry()
				e.labels[5] = fmt.Sprint(n)
				if rnd.IntN(2) == 0 {
					e.labels = []string{"a", "1", "b", fmt.Sprint(n), "__name__", "m"}
				}
				for range 1 + rnd.IntN(3) {
					p, v := place{n, int64(rnd.IntN(12))}, float64(rnd.IntN(2))
					e.samples = append(e.samples, prompb.Sample{Timestamp: p.t, Value: v})
					if have, ok := first[p]; ok && have != v {
						refused++
						continue
					} else if !ok {
						first[p] = v
					}
					want[p] = append(want[p], v)
				}
				req.Timeseries = append(req.Timeseries, e.series())
			}
			body, err := req.Marshal()
			require.NoError(t, err)
			b := pool.get(testTenant)
			b.bodyBuf = body
			require.NoError(t, b.parse(protoV1, anyTime()))

			got, dropped := map[place][]float64{}, 0
			for _, i := range b.valid {
				s := &b.series[i]
				n := int(b.labelsOf(s, &b.decoder).Get("b")[0] - '0')
				for _, smp := range b.samplesOf(s) {
					got[place{n, smp.T}] = append(got[place{n, smp.T}], smp.V)
				}
			}
			for _, r := range b.refused {
				require.Equal(t, ReasonDuplicate, r.Reason)
				dropped += r.Items.total()
			}
			require.Equal(t, want, got)
			require.Equal(t, refused, dropped)
			b.release()
		}
	}
}

// TestRepeatsOfTheSameBits gives many series the same bits of their keys, as a sender
// can: they are told apart all the same, and not two by two.
func TestRepeatsOfTheSameBits(t *testing.T) {
	t.Parallel()
	const n = 3000
	pool := batchPool{limits: Limits{}.withDefaults(), strict: true}
	var series []prompb.TimeSeries
	for i := range n {
		series = append(series, seriesV1(1, 1, "__name__", "m", "i", fmt.Sprint(i)))
	}
	twice := conflictEntry(prompb.Sample{Timestamp: 1, Value: 1})
	other := conflictEntry(prompb.Sample{Timestamp: 1, Value: 2}).shuffled()
	series = append(series, twice.series(), other.series())
	body, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	require.NoError(t, err)
	b := pool.get(testTenant)
	require.NoError(t, b.scanV1(body))
	for i := range b.series {
		require.NoError(t, b.identify(&b.series[i]))
		b.series[i].slot, b.series[i].below = 7, 7
		b.valid = append(b.valid, uint32(i))
	}
	b.refuseConflicts()
	require.Negative(t, b.repeats.effort, "the short way was too long")
	require.Equal(t, []repeat{{n + 1, n}}, b.repeats.repeats)
	require.False(t, slices.Contains(b.valid, n+1))
	require.Len(t, b.valid, n+1)
}

// BenchmarkConflicts is what it costs a request of 2,000 samples to look for conflicts:
// one sample of each series, or many of few as a sender with a backlog has them.
func BenchmarkConflicts(b *testing.B) {
	backlog := benchRequestOf(1, benchSeries/100)
	for i := range 99 {
		for _, s := range backlog.Timeseries[:benchSeries/100] {
			s.Samples = []prompb.Sample{{Timestamp: int64(2 + i), Value: 1}}
			backlog.Timeseries = append(backlog.Timeseries, s)
		}
	}
	for name, req := range map[string]*prompb.WriteRequest{"series": benchRequest(1), "backlog": backlog} {
		b.Run(name, func(b *testing.B) {
			body, err := req.Marshal()
			require.NoError(b, err)
			pool := batchPool{limits: Limits{}.withDefaults(), strict: true, cache: NewSeriesCache(CacheConfig{}, nil)}
			batch := pool.get(testTenant)
			batch.bodyBuf = body
			require.NoError(b, batch.parse(protoV1, anyTime()))
			require.Empty(b, batch.refused)
			b.ReportAllocs()
			for b.Loop() {
				batch.refuseConflicts()
			}
			perSample(b)
		})
	}
}
