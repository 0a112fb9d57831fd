// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"math"
	"net/http"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Metrics are the own metrics of a process at one time.
type Metrics map[string]*dto.MetricFamily

// Metrics scrapes /metrics.
func (a API) Metrics() (Metrics, error) {
	resp, err := a.Call("/metrics", nil)
	if err != nil {
		return nil, err
	}
	if resp.Code != http.StatusOK {
		return nil, fmt.Errorf("scrape %s: status %d", a.Name, resp.Code)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(resp.Body))
	if err != nil {
		return nil, fmt.Errorf("parse the metrics of %s: %w", a.Name, err)
	}
	return families, nil
}

// Sum adds up all series of a counter or gauge. A metric that is not there is an error: a test that reads a name which
// nobody exports would hold for ever.
func (m Metrics) Sum(name string) (float64, error) {
	if _, ok := m[name]; !ok {
		return math.NaN(), fmt.Errorf("there is no metric %s", name)
	}
	return m.Total(name), nil
}

// Total is Sum for a metric that is exported only once there is something to tell.
func (m Metrics) Total(name string) float64 {
	var sum float64
	for _, metric := range m[name].GetMetric() {
		sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue()
	}
	return sum
}

// Labelled is Total of the series with a label value.
func (m Metrics) Labelled(name, label, value string) float64 {
	var sum float64
	for _, metric := range m[name].GetMetric() {
		for _, pair := range metric.GetLabel() {
			if pair.GetName() == label && pair.GetValue() == value {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// Sum scrapes and adds up all series of one metric.
func (a API) Sum(name string) (float64, error) {
	m, err := a.Metrics()
	if err != nil {
		return math.NaN(), err
	}
	return m.Sum(name)
}
