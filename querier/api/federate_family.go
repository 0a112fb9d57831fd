// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// families puts samples, sorted by name, into metric families. Like Prometheus it begins a family anew where the sort of
// sample changes, and leaves out what has no name, and native histograms where the format has none; those with custom
// buckets can be written as classic ones.
func families(samples []promql.Sample, natives bool) []*dto.MetricFamily {
	var out []*dto.MetricFamily
	for _, s := range samples {
		name := nameOf(s)
		if name == "" || s.H != nil && !natives && !s.H.UsesCustomBuckets() {
			continue
		}
		typ := typeOf(s)
		if n := len(out); n == 0 || out[n-1].GetName() != name || out[n-1].GetType() != typ {
			out = append(out, &dto.MetricFamily{Name: &name, Type: &typ})
		}
		family := out[len(out)-1]
		family.Metric = append(family.Metric, metricOf(s))
	}
	return out
}

func typeOf(s promql.Sample) dto.MetricType {
	switch {
	case s.H == nil:
		return dto.MetricType_UNTYPED
	case isGauge(s.H):
		return dto.MetricType_GAUGE_HISTOGRAM
	default:
		return dto.MetricType_HISTOGRAM
	}
}

// metricOf is one sample as it is exposed. A series without the label "instance" gets an empty one, so that a scraper that
// honours labels does not put its own there. Nothing else is added: external labels are on the series already, as its
// sender put them there.
func metricOf(s promql.Sample) *dto.Metric {
	m := &dto.Metric{TimestampMs: &s.T}
	hasInstance := false
	s.Metric.Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			return
		}
		hasInstance = hasInstance || l.Name == model.InstanceLabel
		m.Label = append(m.Label, &dto.LabelPair{Name: &l.Name, Value: &l.Value})
	})
	if !hasInstance {
		m.Label = append(m.Label, &dto.LabelPair{Name: new(string(model.InstanceLabel)), Value: new("")})
	}
	switch {
	case s.H == nil:
		m.Untyped = &dto.Untyped{Value: &s.F}
	case s.H.UsesCustomBuckets():
		m.Histogram = classicOf(s.H)
	default:
		m.Histogram = nativeOf(s.H)
	}
	return m
}

// nativeOf is a native histogram with exponential buckets, in its float form.
func nativeOf(h *histogram.FloatHistogram) *dto.Histogram {
	return &dto.Histogram{
		SampleCountFloat: &h.Count, SampleSum: &h.Sum,
		Schema: &h.Schema, ZeroThreshold: &h.ZeroThreshold, ZeroCountFloat: &h.ZeroCount,
		NegativeSpan: spansOf(h.NegativeSpans), NegativeCount: h.NegativeBuckets,
		PositiveSpan: spansOf(h.PositiveSpans), PositiveCount: h.PositiveBuckets,
	}
}

func spansOf(spans []histogram.Span) []*dto.BucketSpan {
	var out []*dto.BucketSpan
	for i := range spans {
		out = append(out, &dto.BucketSpan{Offset: &spans[i].Offset, Length: &spans[i].Length})
	}
	return out
}

// classicOf is a histogram with custom buckets in the form of a classic one. The encoder adds the bucket +Inf.
func classicOf(h *histogram.FloatHistogram) *dto.Histogram {
	counts := make([]float64, len(h.CustomValues)+1)
	for it := h.PositiveBucketIterator(); it.Next(); {
		counts[it.At().Index] = it.At().Count
	}
	out := &dto.Histogram{SampleCountFloat: &h.Count, SampleSum: &h.Sum}
	total := 0.0
	for i := range h.CustomValues {
		total += counts[i]
		out.Bucket = append(out.Bucket, &dto.Bucket{UpperBound: &h.CustomValues[i], CumulativeCountFloat: new(total)})
	}
	return out
}
