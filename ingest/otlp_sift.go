// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"
	"strings"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

const (
	// otlpResourceAttributesMax bounds the attributes of a resource or a scope, most of
	// which become no labels. The converter's time grows with their square.
	otlpResourceAttributesMax = 256
	// otlpTargetInterval is how far apart the converter puts samples of target_info
	// between the first and the last data point of a resource: half of the lookback.
	otlpTargetInterval = 5 * time.Minute / 2
)

// otlpSifter takes the data points that can never be stored out of a request, so that
// each costs only itself.
type otlpSifter struct {
	bounds   timeBounds
	limits   Limits
	settings prometheusremotewrite.Settings
	result   *otlpResult

	labels  otlptranslator.LabelNamer
	metrics otlptranslator.MetricNamer
	// Of the resource at hand: the times of its first and last data point.
	from, to int64
	targets  int64
}

// sift edits md. An error refuses it as a whole.
func (s *otlpSifter) sift(md pmetric.Metrics) error {
	s.metrics = otlptranslator.MetricNamer{WithMetricSuffixes: s.settings.AddMetricSuffixes, UTF8Allowed: s.settings.AllowUTF8}
	s.labels = otlptranslator.LabelNamer{
		UTF8Allowed:                 s.settings.AllowUTF8,
		UnderscoreLabelSanitization: s.settings.LabelNameUnderscoreSanitization, //nolint:staticcheck // Prometheus still has it.
		PreserveMultipleUnderscores: s.settings.LabelNamePreserveMultipleUnderscores,
	}
	defer func() { s.result.delivery.left = s.countOfAll(md).samples }()
	md.ResourceMetrics().RemoveIf(func(rm pmetric.ResourceMetrics) bool {
		s.from, s.to = math.MaxInt64, math.MinInt64
		if s.tooMany("resource", rm.Resource().Attributes(), func() otlpCount { return s.countOfResource(rm) }) {
			return true
		}
		rm.ScopeMetrics().RemoveIf(func(sm pmetric.ScopeMetrics) bool {
			if s.tooMany("scope", sm.Scope().Attributes(), func() otlpCount { return s.countOfScope(sm) }) {
				return true
			}
			sm.Metrics().RemoveIf(s.removeMetric)
			return false
		})
		if s.to > s.from {
			s.targets += (s.to - s.from) / otlpTargetInterval.Milliseconds()
		}
		return false
	})
	if s.targets > int64(s.limits.ItemsPerRequest) {
		return &tooLargeError{"number of " + targetInfoName + " samples", s.targets, int64(s.limits.ItemsPerRequest)}
	}
	return nil
}

// tooMany refuses everything below a resource or scope with too many attributes.
func (s *otlpSifter) tooMany(what string, attrs pcommon.Map, count func() otlpCount) bool {
	n := attrs.Len()
	if n <= otlpResourceAttributesMax {
		return false
	}
	s.result.refuse(count(), ReasonLabelCount, "%s has %d attributes, limit %d", what, n, otlpResourceAttributesMax)
	return true
}

// removeMetric takes the bad data points out of a metric, and tells whether none are
// left of those that it had.
func (s *otlpSifter) removeMetric(m pmetric.Metric) bool {
	before := pointsOf(m)
	if s.badMetric(m) {
		return true
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		m.Gauge().DataPoints().RemoveIf(func(p pmetric.NumberDataPoint) bool { return s.removePoint(m, p) })
	case pmetric.MetricTypeSum:
		m.Sum().DataPoints().RemoveIf(func(p pmetric.NumberDataPoint) bool {
			s.siftExemplars(p.Exemplars())
			return s.removePoint(m, p)
		})
	case pmetric.MetricTypeHistogram:
		m.Histogram().DataPoints().RemoveIf(func(p pmetric.HistogramDataPoint) bool {
			s.siftExemplars(p.Exemplars())
			return s.removePoint(m, p)
		})
	case pmetric.MetricTypeExponentialHistogram:
		m.ExponentialHistogram().DataPoints().RemoveIf(func(p pmetric.ExponentialHistogramDataPoint) bool {
			s.siftExemplars(p.Exemplars())
			return s.badScale(m, p) || s.removePoint(m, p)
		})
	case pmetric.MetricTypeSummary:
		m.Summary().DataPoints().RemoveIf(func(p pmetric.SummaryDataPoint) bool { return s.removePoint(m, p) })
	}
	return before > 0 && pointsOf(m) == 0
}

// badMetric refuses a metric as a whole. Prometheus' converter would do the same, and
// remember an error for each.
func (s *otlpSifter) badMetric(m pmetric.Metric) bool {
	temporality := pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeEmpty:
		s.refuse(m, s.countOf(m), ReasonTranslation, "unknown type")
		return true
	case pmetric.MetricTypeSum:
		temporality = m.Sum().AggregationTemporality()
	case pmetric.MetricTypeHistogram:
		temporality = m.Histogram().AggregationTemporality()
	case pmetric.MetricTypeExponentialHistogram:
		temporality = m.ExponentialHistogram().AggregationTemporality()
	}
	// Prometheus refuses others by default: rate() and its kin need what only grows.
	if temporality != pmetric.AggregationTemporalityCumulative {
		s.refuse(m, s.countOf(m), ReasonTemporality,
			"temporality is %s; only cumulative is stored: set the SDK to it or use the collector's deltatocumulative processor", strings.ToLower(temporality.String()))
		return true
	}
	if _, err := s.metrics.Build(prometheusremotewrite.TranslatorMetricFromOtelMetric(m)); err != nil {
		s.refuse(m, s.countOf(m), ReasonTranslation, "name cannot be that of a metric")
		return true
	}
	return false
}

func (s *otlpSifter) badScale(m pmetric.Metric, p pmetric.ExponentialHistogramDataPoint) bool {
	if p.Scale() >= histogram.ExponentialSchemaMin {
		return false
	}
	s.refuse(m, s.countOfPoint(p), ReasonHistogram, "scale %d is below %d", p.Scale(), histogram.ExponentialSchemaMin)
	return true
}

// siftExemplars takes out exemplars without a value, for which the converter would give
// up the metric.
func (s *otlpSifter) siftExemplars(exemplars pmetric.ExemplarSlice) {
	exemplars.RemoveIf(func(e pmetric.Exemplar) bool { return e.ValueType() == pmetric.ExemplarValueTypeEmpty })
}

// otlpDataPoint is what data points of all types have.
type otlpDataPoint interface {
	Timestamp() pcommon.Timestamp
	Attributes() pcommon.Map
}

// removePoint tells whether a data point cannot be stored, and notes why.
func (s *otlpSifter) removePoint(m pmetric.Metric, p otlpDataPoint) bool {
	const nanosPerMilli = 1e6
	t := int64(p.Timestamp()) / nanosPerMilli
	if n := p.Attributes().Len(); n > s.limits.LabelsPerSeries {
		s.refuse(m, s.countOfPoint(p), ReasonLabelCount, "data point has %d attributes, limit %d", n, s.limits.LabelsPerSeries)
		return true
	}
	switch {
	case t > s.bounds.max:
		s.refuse(m, s.countOfPoint(p), ReasonFuture, "timestamp %d: too far in the future", t)
		return true
	case t < s.bounds.min:
		s.refuse(m, s.countOfPoint(p), ReasonPast, "timestamp %d: too far in the past", t)
		return true
	}
	for name := range p.Attributes().All() {
		if !s.canBeLabel(name) {
			s.refuse(m, s.countOfPoint(p), ReasonTranslation, "attribute %s cannot be a label", quoted(name))
			return true
		}
	}
	s.from, s.to = min(s.from, t), max(s.to, t)
	return false
}

// canBeLabel tells whether the converter can make a label of an attribute. It can if
// there is one letter or digit, as there nearly always is.
func (s *otlpSifter) canBeLabel(name string) bool {
	for i := range len(name) {
		if c := name[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return true
		}
	}
	_, err := s.labels.Build(name)
	return err == nil
}

func (s *otlpSifter) refuse(m pmetric.Metric, n otlpCount, reason Reason, format string, args ...any) {
	s.result.refuse(n, reason, "metric %s: "+format, append([]any{quoted(m.Name())}, args...)...)
}

// quoted is a text of a sender that is quoted when it is shown.
type quoted string

func (q quoted) String() string { return quote([]byte(q)) }
