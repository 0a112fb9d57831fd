// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "go.opentelemetry.io/collector/pdata/pmetric"

// OTLP counts data points; limits and the ledger count samples, as in remote write. What
// a data point becomes is known before it is translated.

// otlpCount counts data points, and the samples that they become.
type otlpCount struct{ points, samples int }

func (c *otlpCount) add(o otlpCount) {
	c.points += o.points
	c.samples += o.samples
}

// countOfPoint is one data point, and how many samples Prometheus' converter makes of it.
func (s *otlpSifter) countOfPoint(p any) otlpCount {
	switch p := p.(type) {
	case pmetric.HistogramDataPoint:
		return s.countOfHistogram(p)
	case pmetric.SummaryDataPoint:
		return s.countOfSummary(p)
	default:
		return otlpCount{1, 1}
	}
}

func (s *otlpSifter) countOfHistogram(p pmetric.HistogramDataPoint) otlpCount {
	if s.settings.ConvertHistogramsToNHCB {
		return otlpCount{1, 1}
	}
	n := 2 + min(p.ExplicitBounds().Len(), p.BucketCounts().Len()) // _count and le="+Inf"
	if p.HasSum() {
		n++
	}
	return otlpCount{1, n}
}

func (s *otlpSifter) countOfSummary(p pmetric.SummaryDataPoint) otlpCount {
	return otlpCount{1, 2 + p.QuantileValues().Len()} // _sum and _count
}

// countOf counts the data points of a metric.
func (s *otlpSifter) countOf(m pmetric.Metric) (n otlpCount) {
	switch m.Type() {
	case pmetric.MetricTypeHistogram:
		for _, p := range m.Histogram().DataPoints().All() {
			n.add(s.countOfHistogram(p))
		}
	case pmetric.MetricTypeSummary:
		for _, p := range m.Summary().DataPoints().All() {
			n.add(s.countOfSummary(p))
		}
	default:
		n.points = pointsOf(m)
		n.samples = n.points
	}
	return n
}

func (s *otlpSifter) countOfScope(sm pmetric.ScopeMetrics) (n otlpCount) {
	for _, m := range sm.Metrics().All() {
		n.add(s.countOf(m))
	}
	return n
}

func (s *otlpSifter) countOfResource(rm pmetric.ResourceMetrics) (n otlpCount) {
	for _, sm := range rm.ScopeMetrics().All() {
		n.add(s.countOfScope(sm))
	}
	return n
}

func (s *otlpSifter) countOfAll(md pmetric.Metrics) (n otlpCount) {
	for _, rm := range md.ResourceMetrics().All() {
		n.add(s.countOfResource(rm))
	}
	return n
}

// pointsOf returns the number of data points of a metric.
func pointsOf(m pmetric.Metric) int {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		return m.Sum().DataPoints().Len()
	case pmetric.MetricTypeHistogram:
		return m.Histogram().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		return m.ExponentialHistogram().DataPoints().Len()
	case pmetric.MetricTypeSummary:
		return m.Summary().DataPoints().Len()
	default:
		return 0
	}
}
