// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "math"

// Limits bound what one request may make a node hold. A zero field means its
// default.
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
	// SeriesPerRequest, ItemsPerRequest and SymbolsPerRequest bound the memory for
	// entries that take two bytes on the wire and many times that here.
	SeriesPerRequest  int
	ItemsPerRequest   int
	SymbolsPerRequest int
	// LabelsPerSeries, LabelNameBytes and LabelValueBytes bound one series.
	LabelsPerSeries int
	LabelNameBytes  int
	LabelValueBytes int
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
)

func (l Limits) withDefaults() Limits {
	setDefault(&l.BodyBytes, DefaultBodyBytes)
	setDefault(&l.DecodedBytes, DefaultDecodedBytes)
	setDefault(&l.ExpandedBytes, DefaultExpandedBytes)
	setDefault(&l.SeriesPerRequest, DefaultSeriesPerRequest)
	setDefault(&l.ItemsPerRequest, DefaultItemsPerRequest)
	setDefault(&l.SymbolsPerRequest, DefaultSymbolsPerRequest)
	setDefault(&l.LabelsPerSeries, DefaultLabelsPerSeries)
	setDefault(&l.LabelNameBytes, DefaultLabelNameBytes)
	setDefault(&l.LabelValueBytes, DefaultLabelValueBytes)
	// Series say where their bytes are in 32 bits.
	l.DecodedBytes = min(l.DecodedBytes, math.MaxUint32)
	l.ExpandedBytes = min(l.ExpandedBytes, math.MaxUint32)
	return l
}

// between returns the limits for requests from another member: the coordinator
// has applied the limits per series, and two members whose settings differ for a
// moment must not give different verdicts.
func (l Limits) between() Limits {
	l.BodyBytes, l.DecodedBytes = l.ExpandedBytes, l.ExpandedBytes
	l.LabelsPerSeries, l.LabelNameBytes, l.LabelValueBytes = math.MaxInt, math.MaxInt, math.MaxInt
	return l
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
