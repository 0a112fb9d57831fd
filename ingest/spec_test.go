// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// The spec tests hold the answers of the write path still: exact status, body and
// headers for what senders do, do wrongly, and do on purpose. They go through the
// public handler over a Distributor and a real TSDB.
//
//	spec_request_test.go    methods, types, codings, bodies
//	spec_transport_test.go  what needs a real connection: lengths, endless and slow bodies
//	spec_series_test.go     labels, symbols
//	spec_samples_test.go    timestamps, duplicates, histograms, exemplars
//	spec_quorum_test.go     three members, some of them away

// specAnswer is everything that an answer says.
type specAnswer struct {
	status int
	body   string
	// written are the three counts of 2.0; empty means that there are no such headers.
	written string
}

var writtenHeaders = []string{headerSamplesWritten, headerHistogramsWritten, headerExemplarsWritten}

func requireSpec(t *testing.T, want specAnswer, w *httptest.ResponseRecorder) {
	t.Helper()
	got := specAnswer{status: w.Code, body: w.Body.String()}
	headers := map[string]bool{}
	var written []string
	for _, name := range writtenHeaders {
		if v := w.Header().Get(name); v != "" {
			written = append(written, v)
			headers[name] = true
		}
	}
	got.written = strings.Join(written, " ")
	require.Equal(t, want, got)

	// No header is missing, and there is none beside those.
	if want.body != "" {
		headers["Content-Type"], headers["X-Content-Type-Options"] = true, true
		require.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.LessOrEqual(t, len(want.body), 1024)
	}
	switch want.status {
	case http.StatusMethodNotAllowed:
		headers["Allow"] = true
		require.Equal(t, "POST", w.Header().Get("Allow"))
	case http.StatusServiceUnavailable:
		headers["Retry-After"] = true
		after, err := strconv.Atoi(w.Header().Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, 1 <= after && after <= 10, after)
	}
	require.Equal(t, slices.Sorted(maps.Keys(headers)), slices.Sorted(maps.Keys(w.Header())))
}

// refusedBody is the text of an answer that refuses part of one of so many series.
func refusedBody(of int, items Counts, reason Reason, example string) string {
	return fmt.Sprintf("1 of %d series refused in whole or part (%d samples, %d histograms, %d exemplars); the rest is stored. %s: 1. Examples:\n%s\n",
		of, items.Samples, items.Histograms, items.Exemplars, reason, example)
}

// specSeries sends a series between two good ones, in 1.0 and in 2.0.
type specSeries struct {
	t   *testing.T
	now int64
}

// good are the neighbours, and what is stored of them.
func (s specSeries) good() (first, last prompb.TimeSeries, stored map[string][]storedSample) {
	return seriesV1(s.now, 1, "__name__", "first"), seriesV1(s.now, 2, "__name__", "last"), map[string][]storedSample{
		`{__name__="first"}`: {float(s.now, 1)},
		`{__name__="last"}`:  {float(s.now, 2)},
	}
}

// stored wants a 204 and the samples of the series under the labels.
func (s specSeries) stored(series prompb.TimeSeries, labels string, samples ...storedSample) {
	s.t.Helper()
	s.send(series, specAnswer{status: 204}, "3 0 0", labels, samples)
}

// refused wants a 400 that names the series, the cause and what was refused of it, and
// its neighbours stored.
func (s specSeries) refused(series prompb.TimeSeries, items Counts, reason Reason, example string) {
	s.t.Helper()
	want := specAnswer{status: 400, body: refusedBody(3, items, reason, example)}
	s.send(series, want, "2 0 0", "", nil)
}

func (s specSeries) send(series prompb.TimeSeries, want specAnswer, written, labels string, samples []storedSample) {
	s.t.Helper()
	first, last, stored := s.good()
	if labels != "" {
		stored[labels] = samples
	}
	request := []prompb.TimeSeries{first, series, last}

	store := openStore(s.t)
	requireSpec(s.t, want, post(s.t, oneNode(s.t, store), typeV1, encodeV1(s.t, &prompb.WriteRequest{Timeseries: request})))
	require.Equal(s.t, stored, store.dump(s.t))

	want.written = written
	store = openStore(s.t)
	requireSpec(s.t, want, post(s.t, oneNode(s.t, store), typeV2, encodeV2(s.t, toV2(request))))
	require.Equal(s.t, stored, store.dump(s.t))
}
