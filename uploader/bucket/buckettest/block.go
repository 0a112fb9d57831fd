// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Sample is a sample of a float. It implements chunks.Sample.
type Sample struct {
	Time  int64 // ms
	Value float64
}

// Float returns a sample.
func Float(t int64, v float64) Sample { return Sample{Time: t, Value: v} }

// T and its siblings are what chunks.Sample asks for.
func (s Sample) T() int64                    { return s.Time }
func (Sample) ST() int64                     { return 0 }
func (s Sample) F() float64                  { return s.Value }
func (Sample) H() *histogram.Histogram       { return nil }
func (Sample) FH() *histogram.FloatHistogram { return nil }
func (Sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s Sample) Copy() chunks.Sample         { return s }

// WriteBlock writes a block of the series into a new directory below dir, and returns that with the name of the block. A block
// that is longer than two hours must say so, in ms; 0 is two hours.
func WriteBlock(t testing.TB, dir string, length int64, series ...storage.Series) (block string, id ulid.ULID) {
	t.Helper()
	block, err := tsdb.CreateBlock(series, dir, length, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("write a block: %v", err)
	}
	return block, ulid.MustParse(filepath.Base(block))
}
