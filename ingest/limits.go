// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "math"

// Limits bound what one request, and one tenant, may make a node hold. A zero field
// means its default; the rate alone has none.
type Limits struct {
	// BodyBytes is the largest body as sent, and DecodedBytes the largest after
	// decompression. A sender's batch of 2,000 samples is below 1 MiB decoded; 16
	// leaves room for unusual batch sizes without letting one client fill memory.
	BodyBytes    int64
	DecodedBytes int64
	// ExpandedBytes bounds what a 2.0 body grows to when its symbols are written
	// out: a symbol of 4 KiB can be referenced millions of times. It is also the
	// largest request between members, which has the expanded form.
	ExpandedBytes int64
	// InflightBytes bounds the bytes, as sent and decoded, of one tenant's requests
	// that are under way on this node.
	InflightBytes int64
	// SeriesPerRequest, ItemsPerRequest and SymbolsPerRequest bound the memory for
	// entries that take two bytes on the wire and many times that here.
	SeriesPerRequest  int
	ItemsPerRequest   int
	SymbolsPerRequest int
	// ExemplarsPerRequest bounds what each costs to decode on all owners, for a
	// buffer that keeps the last few of all.
	ExemplarsPerRequest int
	// LabelsPerSeries, LabelNameBytes and LabelValueBytes bound one series.
	LabelsPerSeries int
	LabelNameBytes  int
	LabelValueBytes int
	// SamplesPerSecond is how many samples and histograms one tenant may send to
	// this node on average; zero is no limit. BurstSamples is how many it may send at
	// once after a pause; zero is burstSeconds of the rate.
	SamplesPerSecond float64
	BurstSamples     int
}

// Defaults of Limits.
const (
	DefaultBodyBytes         = 16 << 20
	DefaultDecodedBytes      = 16 << 20
	DefaultExpandedBytes     = 64 << 20
	DefaultSeriesPerRequest  = 100_000
	DefaultItemsPerRequest   = 500_000
	DefaultSymbolsPerRequest = 1_000_000
	DefaultLabelsPerSeries   = 64
	DefaultLabelNameBytes    = 1 << 10
	DefaultLabelValueBytes   = 4 << 10
	// DefaultTenantInflightBytes is half of what the node admits of all: one tenant
	// alone cannot take the room of the others.
	DefaultTenantInflightBytes = DefaultInflightBytes / 2
	// DefaultExemplarsPerRequest is five times what Prometheus puts into a request.
	DefaultExemplarsPerRequest = 10_000
)

// Ceilings are the most that fields of Limits may be set to. Between members they are
// the limits, so that an owner takes whatever any coordinator may have let in.
const (
	CeilingDecodedBytes     = DefaultExpandedBytes
	CeilingSeriesPerRequest = 1_000_000
	CeilingItemsPerRequest  = 5_000_000
)

// DefaultLimits returns the limits that hold where nothing is configured.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	setDefault(&l.BodyBytes, DefaultBodyBytes)
	setDefault(&l.DecodedBytes, DefaultDecodedBytes)
	setDefault(&l.ExpandedBytes, DefaultExpandedBytes)
	setDefault(&l.InflightBytes, DefaultTenantInflightBytes)
	setDefault(&l.SeriesPerRequest, DefaultSeriesPerRequest)
	setDefault(&l.ItemsPerRequest, DefaultItemsPerRequest)
	setDefault(&l.SymbolsPerRequest, DefaultSymbolsPerRequest)
	setDefault(&l.ExemplarsPerRequest, DefaultExemplarsPerRequest)
	setDefault(&l.LabelsPerSeries, DefaultLabelsPerSeries)
	setDefault(&l.LabelNameBytes, DefaultLabelNameBytes)
	setDefault(&l.LabelValueBytes, DefaultLabelValueBytes)
	// Series say where their bytes are in 32 bits.
	l.DecodedBytes = min(l.DecodedBytes, math.MaxUint32)
	l.ExpandedBytes = min(l.ExpandedBytes, math.MaxUint32)
	return l
}

// between returns the limits for requests from another member: the coordinator
// has applied the limits of the tenant, and two members whose settings differ for a
// moment must not give different verdicts.
func (l Limits) between() Limits {
	// What is joined on the way is larger than what any sender may send.
	l.ExpandedBytes = max(l.ExpandedBytes, 2*joinBytesMax)
	l.SeriesPerRequest = max(l.SeriesPerRequest, DefaultSeriesPerRequest)
	l.ItemsPerRequest = max(l.ItemsPerRequest, DefaultItemsPerRequest)
	l.BodyBytes, l.DecodedBytes = l.ExpandedBytes, l.ExpandedBytes
	l.SeriesPerRequest, l.ItemsPerRequest = CeilingSeriesPerRequest, CeilingItemsPerRequest
	l.ExemplarsPerRequest = math.MaxInt
	l.LabelsPerSeries, l.LabelNameBytes, l.LabelValueBytes = math.MaxInt, math.MaxInt, math.MaxInt
	return l
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// seriesLimits are the limits that the labels of a series are checked for.
type seriesLimits struct{ labels, nameBytes, valueBytes int }

func (l *Limits) perSeries() seriesLimits {
	return seriesLimits{l.LabelsPerSeries, l.LabelNameBytes, l.LabelValueBytes}
}

// within tells whether what passes l also passes o.
func (l seriesLimits) within(o seriesLimits) bool {
	return l.labels <= o.labels && l.nameBytes <= o.nameBytes && l.valueBytes <= o.valueBytes
}
