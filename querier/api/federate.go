// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

const (
	// pathFederate is where a Prometheus scrapes the newest samples of another one.
	pathFederate = "/federate"
	// headerWarnings has the warnings of answers that are no JSON, joined by "; ".
	headerWarnings = "X-Penstock-Warnings"
)

// federate answers as Prometheus' /federate: the newest sample of each series that matches, unless it is older than the
// lookback or says that the series has ended, in the text format or as protobuf. Everything is read before the first
// byte goes out, so that an answer is whole or an error.
func (h *handlers) federate(w http.ResponseWriter, r *http.Request) {
	selectors, err := h.cfg.Parser.ParseMetricSelectors(r.Form["match[]"]) // It was read before.
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	newest, warnings, err := h.newest(r.Context(), selectors, time.Now())
	switch {
	case err == nil:
	case errors.Is(err, tsdb.ErrNotReady):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	format := expfmt.NegotiateAccept(r.Header, federateFormats...)
	w.Header().Set("Content-Type", string(format))
	if len(warnings) > 0 {
		w.Header().Set(headerWarnings, joinWarnings(warnings))
	}
	enc := expfmt.NewEncoder(w, format)
	for _, family := range families(newest, takesHistograms(format)) {
		if err := enc.Encode(family); err != nil {
			h.logger.Debug("answer not delivered", "path", pathFederate, "err", err)
			panic(http.ErrAbortHandler) // Half an answer must not look like a whole one.
		}
	}
}

// federateFormats are those of Prometheus, the preferred first. There is no OpenMetrics among them.
var federateFormats = []expfmt.Format{
	expfmt.NewFormat(expfmt.TypeProtoDelim), expfmt.NewFormat(expfmt.TypeProtoText),
	expfmt.NewFormat(expfmt.TypeProtoCompact), expfmt.NewFormat(expfmt.TypeTextPlain),
}

// takesHistograms tells whether native histograms can be written in a format.
func takesHistograms(format expfmt.Format) bool { return format.FormatType() != expfmt.TypeTextPlain }

// newest returns the newest sample of each series that one of the selectors matches, sorted by name.
func (h *handlers) newest(ctx context.Context, selectors [][]*labels.Matcher, now time.Time) (_ []promql.Sample, warnings []string, err error) {
	hints := &storage.SelectHints{Start: now.Add(-h.cfg.LookbackDelta).UnixMilli(), End: now.UnixMilli()}
	q, err := h.cfg.Queryable.Querier(hints.Start, hints.End)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	sets := make([]storage.SeriesSet, len(selectors))
	for i, matchers := range selectors {
		sets[i] = q.Select(ctx, true, hints, matchers...)
	}
	set := storage.NewMergeSeriesSet(sets, 0, storage.ChainedSeriesMerge)
	var out []promql.Sample
	samples := storage.NewMemoizedEmptyIterator(h.cfg.LookbackDelta.Milliseconds())
	var it chunkenc.Iterator
	for set.Next() {
		it = set.At().Iterator(it)
		samples.Reset(it)
		if s, ok := last(samples, hints.End); ok {
			s.Metric = set.At().Labels()
			out = append(out, s)
		}
		if err := it.Err(); err != nil {
			return nil, nil, err
		}
	}
	if err := set.Err(); err != nil {
		return nil, nil, err
	}
	warnings, infos := set.Warnings().AsStrings("", warningsMax, warningsMax)
	slices.SortStableFunc(out, func(a, b promql.Sample) int { return cmp.Compare(nameOf(a), nameOf(b)) })
	return out, append(warnings, infos...), nil
}

func nameOf(s promql.Sample) string { return s.Metric.Get(model.MetricNameLabel) }

// last returns the newest sample until a time. There is none if the series ended with a stale marker.
func last(samples *storage.MemoizedSeriesIterator, until int64) (s promql.Sample, ok bool) {
	switch samples.Seek(until) {
	case chunkenc.ValFloat:
		s.T, s.F = samples.At()
	case chunkenc.ValHistogram, chunkenc.ValFloatHistogram:
		s.T, s.H = samples.AtFloatHistogram()
	default:
		if _, s.T, s.F, s.H, ok = samples.PeekPrev(); !ok {
			return s, false
		}
	}
	return s, !value.IsStaleNaN(s.F) && (s.H == nil || !value.IsStaleNaN(s.H.Sum))
}

// isGauge tells whether a histogram may go down.
func isGauge(h *histogram.FloatHistogram) bool { return h.CounterResetHint == histogram.GaugeType }
