// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func traceAt(trace string, ts int64, v float64) prompb.Exemplar {
	return prompb.Exemplar{Labels: labelsV1("trace", trace), Value: v, Timestamp: ts}
}

// exemplarRequests are the ways in which senders pack a sample and its exemplars: in
// one series, in series of their own behind it, and in a request of their own.
var exemplarRequests = map[string]func(sample prompb.TimeSeries, exemplars []prompb.Exemplar) [][]prompb.TimeSeries{
	"with": func(sample prompb.TimeSeries, exemplars []prompb.Exemplar) [][]prompb.TimeSeries {
		sample.Exemplars = exemplars
		return [][]prompb.TimeSeries{{sample}}
	},
	"behind": func(sample prompb.TimeSeries, exemplars []prompb.Exemplar) [][]prompb.TimeSeries {
		return [][]prompb.TimeSeries{append([]prompb.TimeSeries{sample}, oneEach(sample, exemplars)...)}
	},
	"apart": func(sample prompb.TimeSeries, exemplars []prompb.Exemplar) [][]prompb.TimeSeries {
		return [][]prompb.TimeSeries{{sample}, oneEach(sample, exemplars)}
	},
}

func oneEach(sample prompb.TimeSeries, exemplars []prompb.Exemplar) (out []prompb.TimeSeries) {
	for _, e := range exemplars {
		out = append(out, prompb.TimeSeries{Labels: sample.Labels, Exemplars: []prompb.Exemplar{e}})
	}
	return out
}

// sendExemplars delivers requests one after the other; the last one must answer that
// so many exemplars were written.
func sendExemplars(t *testing.T, h http.Handler, requests [][]prompb.TimeSeries, written string) {
	t.Helper()
	for i, series := range requests {
		w := post(t, h, typeV2, encodeV2(t, toV2(series)))
		require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		if i == len(requests)-1 {
			require.Equal(t, written, w.Header().Get(headerExemplarsWritten))
		}
	}
}

// TestExemplarsDeliveredAgain counts as written what is stored: a TSDB refuses most of
// the exemplars that it has.
func TestExemplarsDeliveredAgain(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	const hour = 3600_000
	f := func(what string, traces []string, exemplars ...prompb.Exemplar) {
		for how, requests := range exemplarRequests {
			t.Run(what+" "+how, func(t *testing.T) {
				store := openStore(t)
				h := oneNode(t, store)
				for range 3 {
					sendExemplars(t, h, requests(seriesV1(now, 1, "__name__", "x"), exemplars), "3")
					require.Equal(t, map[string][]string{`{__name__="x"}`: traces}, store.traces(t))
				}
			})
		}
	}
	f("times", []string{"a", "b", "c"}, traceAt("a", now, 1), traceAt("b", now+1, 2), traceAt("c", now+2, 3))
	f("values", []string{"a", "b", "c"}, traceAt("c", now, 3), traceAt("b", now, 2), traceAt("a", now, 1))
	f("values that are NaN", []string{"a", "b", "c"}, traceAt("a", now, staleNaN()), traceAt("b", now+1, staleNaN()), traceAt("c", now+2, 1))
	f("beyond the out-of-order window", []string{"a", "b", "c"}, traceAt("a", now-6*hour, 1), traceAt("b", now-3*hour, 1), traceAt("c", now, 1))
	// Of one time and value, their order is that of their hashes.
	byHash := []looseExemplar{}
	d := newLabelDecoder()
	for _, trace := range []string{"a", "b", "c"} {
		e := traceAt(trace, now, 1)
		raw, err := e.Marshal()
		require.NoError(t, err)
		ex, err := d.decodeExemplar(raw)
		require.NoError(t, err)
		byHash = append(byHash, looseExemplar{ex: ex})
	}
	sortExemplars(byHash)
	var traces []string
	for _, e := range byHash {
		traces = append(traces, e.ex.Labels.Get("trace"))
	}
	f("labels", traces, traceAt("a", now, 1), traceAt("b", now, 1), traceAt("c", now, 1))
}

// TestExemplarsPartlyStored has new ones among old ones: what is too late is not
// written, and only that.
func TestExemplarsPartlyStored(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	sample := seriesV1(now, 1, "__name__", "x")
	for how, requests := range exemplarRequests {
		t.Run(how, func(t *testing.T) {
			store := openStore(t)
			h := oneNode(t, store)
			sendExemplars(t, h, requests(sample, []prompb.Exemplar{traceAt("a", now, 3), traceAt("b", now, 7)}), "2")
			sendExemplars(t, h, requests(sample, []prompb.Exemplar{
				traceAt("too late", now, 1), traceAt("a", now, 3), traceAt("also too late", now, 4), traceAt("b", now, 7), traceAt("c", now, 8),
			}), "3")
			require.Equal(t, []string{"a", "b", "c"}, store.traces(t)[`{__name__="x"}`])
		})
	}
}

// TestExemplarsOfAStaleSeries are not lost with the marker that they come with.
func TestExemplarsOfAStaleSeries(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	store := openStore(t)
	stale := seriesV1(now, staleNaN(), "__name__", "x")
	stale.Exemplars = []prompb.Exemplar{traceAt("a", now, 1)}
	sendExemplars(t, oneNode(t, store), [][]prompb.TimeSeries{{stale}}, "1")
	require.Equal(t, []string{"a"}, store.traces(t)[`{__name__="x"}`])
}
