// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"fmt"
	"strconv"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/ingest"
)

const (
	// A label longer than these has no use as one; the ceilings only keep a typing
	// error from lifting the limit.
	ceilingLabels     = 10_000
	ceilingLabelName  = 64 << 10
	ceilingLabelValue = 1 << 20
	// ceilingCount is above what any machine holds of anything.
	ceilingCount = 1e15
)

// Bytes is a size in the file: a number, or one with a unit such as 16MiB.
type Bytes int64

// UnmarshalYAML implements yaml.Unmarshaler.
func (b *Bytes) UnmarshalYAML(unmarshal func(any) error) error {
	var n int64
	if unmarshal(&n) == nil {
		*b = Bytes(n)
		return nil
	}
	var text string
	if err := unmarshal(&text); err != nil {
		return err
	}
	size, err := units.ParseStrictBytes(text)
	if err != nil {
		return fmt.Errorf("%q is not a size such as 1048576 or 16MiB", text)
	}
	*b = Bytes(size)
	return nil
}

// Tenant is the limits of one tenant, all of them set. The keys of the file and of
// /api/v1/status/limits are the names by which answers and metrics call them.
type Tenant struct {
	MaxRequestBytes        Bytes   `yaml:"max_request_bytes" json:"max_request_bytes"`
	MaxDecodedBytes        Bytes   `yaml:"max_decoded_bytes" json:"max_decoded_bytes"`
	MaxInflightBytes       Bytes   `yaml:"max_inflight_bytes" json:"max_inflight_bytes"`
	IngestionRate          float64 `yaml:"ingestion_rate" json:"ingestion_rate"`
	IngestionBurstSize     int     `yaml:"ingestion_burst_size" json:"ingestion_burst_size"`
	MaxSeries              int     `yaml:"max_series" json:"max_series"`
	MaxSeriesPerRequest    int     `yaml:"max_series_per_request" json:"max_series_per_request"`
	MaxSamplesPerRequest   int     `yaml:"max_samples_per_request" json:"max_samples_per_request"`
	MaxExemplarsPerRequest int     `yaml:"max_exemplars_per_request" json:"max_exemplars_per_request"`
	MaxLabelNamesPerSeries int     `yaml:"max_label_names_per_series" json:"max_label_names_per_series"`
	MaxLabelNameLength     int     `yaml:"max_label_name_length" json:"max_label_name_length"`
	MaxLabelValueLength    int     `yaml:"max_label_value_length" json:"max_label_value_length"`

	RetentionRaw Retention `yaml:"retention_raw" json:"retention_raw"`
	Retention5m  Retention `yaml:"retention_5m" json:"retention_5m"`
	Retention1h  Retention `yaml:"retention_1h" json:"retention_1h"`

	QueryMaxSamples         Override[int64]          `yaml:"query_max_samples" json:"query_max_samples"`
	QueryMaxSeries          Override[int64]          `yaml:"query_max_series" json:"query_max_series"`
	QueryMaxBytes           Override[Bytes]          `yaml:"query_max_bytes" json:"query_max_bytes"`
	QueryMaxMemoryBytes     Override[Bytes]          `yaml:"query_max_memory_bytes" json:"query_max_memory_bytes"`
	QueryTimeout            Override[model.Duration] `yaml:"query_timeout" json:"query_timeout"`
	QueryMaxConcurrency     Override[int64]          `yaml:"query_max_concurrency" json:"query_max_concurrency"`
	QueryMaxRange           Override[model.Duration] `yaml:"query_max_range" json:"query_max_range"`
	QueryMaxExpressionBytes Override[Bytes]          `yaml:"query_max_expression_bytes" json:"query_max_expression_bytes"`
	QueryMaxExpressionDepth Override[int64]          `yaml:"query_max_expression_depth" json:"query_max_expression_depth"`
	QueryMaxMatchers        Override[int64]          `yaml:"query_max_matchers" json:"query_max_matchers"`
	QueryMaxRegexBytes      Override[Bytes]          `yaml:"query_max_regex_bytes" json:"query_max_regex_bytes"`
	QueryMaxSubqueryPoints  Override[int64]          `yaml:"query_max_subquery_points" json:"query_max_subquery_points"`

	ingest ingest.Limits
}

// builtIn are the limits where the file says nothing: those that protect the node are
// on, those that only an operator can know are off.
func builtIn() Tenant {
	d := ingest.DefaultLimits()
	return Tenant{
		MaxRequestBytes:        Bytes(d.BodyBytes),
		MaxDecodedBytes:        Bytes(d.DecodedBytes),
		MaxInflightBytes:       Bytes(d.InflightBytes),
		MaxSeriesPerRequest:    d.SeriesPerRequest,
		MaxSamplesPerRequest:   d.ItemsPerRequest,
		MaxExemplarsPerRequest: d.ExemplarsPerRequest,
		MaxLabelNamesPerSeries: d.LabelsPerSeries,
		MaxLabelNameLength:     d.LabelNameBytes,
		MaxLabelValueLength:    d.LabelValueBytes,
	}
}

// Ingest returns the limits as the write path takes them. Nobody may change them.
func (t *Tenant) Ingest() *ingest.Limits { return &t.ingest }

// limit is one limit of a tenant with its name and what it may be set to.
type limit struct {
	name            string
	value, min, max float64
}

func (t *Tenant) limits() []limit {
	return append(append(t.retentions(), t.queries()...), []limit{
		{ingest.LimitBodyBytes, float64(t.MaxRequestBytes), 1, ingest.CeilingDecodedBytes},
		{ingest.LimitDecodedBytes, float64(t.MaxDecodedBytes), 1, ingest.CeilingDecodedBytes},
		{ingest.LimitInflightBytes, float64(t.MaxInflightBytes), 1, ceilingCount},
		{ingest.LimitRate, t.IngestionRate, 0, ceilingCount},
		{ingest.LimitBurst, float64(t.IngestionBurstSize), 0, ceilingCount},
		{ingest.LimitSeries, float64(t.MaxSeries), 0, ceilingCount},
		{ingest.LimitRequestSeries, float64(t.MaxSeriesPerRequest), 1, ingest.CeilingSeriesPerRequest},
		{ingest.LimitRequestSamples, float64(t.MaxSamplesPerRequest), 1, ingest.CeilingItemsPerRequest},
		{ingest.LimitRequestExemplars, float64(t.MaxExemplarsPerRequest), 0, ingest.CeilingItemsPerRequest},
		{ingest.LimitLabels, float64(t.MaxLabelNamesPerSeries), 1, ceilingLabels},
		{ingest.LimitLabelName, float64(t.MaxLabelNameLength), 1, ceilingLabelName},
		{ingest.LimitLabelValue, float64(t.MaxLabelValueLength), 1, ceilingLabelValue},
	}...)
}

// finish checks the limits and derives what others take.
func (t *Tenant) finish() error {
	for _, l := range t.limits() {
		if !(l.value >= l.min && l.value <= l.max) { // Not a number is neither.
			return fmt.Errorf("%s is %s, it must be between %s and %s", l.name, number(l.value), number(l.min), number(l.max))
		}
	}
	if t.IngestionBurstSize > 0 && t.IngestionRate == 0 {
		return fmt.Errorf("%s does nothing without %s; set both", ingest.LimitBurst, ingest.LimitRate)
	}
	l := ingest.DefaultLimits()
	l.BodyBytes, l.DecodedBytes, l.InflightBytes = int64(t.MaxRequestBytes), int64(t.MaxDecodedBytes), int64(t.MaxInflightBytes)
	l.SeriesPerRequest, l.ItemsPerRequest = t.MaxSeriesPerRequest, t.MaxSamplesPerRequest
	l.ExemplarsPerRequest = t.MaxExemplarsPerRequest
	l.LabelsPerSeries, l.LabelNameBytes, l.LabelValueBytes = t.MaxLabelNamesPerSeries, t.MaxLabelNameLength, t.MaxLabelValueLength
	l.SamplesPerSecond, l.BurstSamples = t.IngestionRate, t.IngestionBurstSize
	t.ingest = l
	return nil
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
