// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

const (
	second = int64(1000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour
)

// T, F and so on make a sample a chunks.Sample.
func (s sample) T() int64                      { return s.t }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.v }
func (s sample) H() *histogram.Histogram       { return s.h }
func (s sample) FH() *histogram.FloatHistogram { return s.fh }
func (s sample) Type() chunkenc.ValueType      { return s.valueType() }
func (s sample) Copy() chunks.Sample           { return s }

func stale(t int64) sample { return sample{t: t, v: math.Float64frombits(value.StaleNaN)} }

// series is a series of a test.
type series []sample

func (s series) storage(lset labels.Labels) storage.Series {
	all := make([]chunks.Sample, len(s))
	for i := range s {
		all[i] = s[i]
	}
	return storage.NewListSeries(lset, all)
}

// chunks encodes as a TSDB would, 120 samples a chunk.
func (s series) chunks(t testing.TB) []chunks.Meta {
	t.Helper()
	enc, err := storage.NewSeriesToChunkEncoder(s.storage(labels.EmptyLabels())), error(nil)
	require.NoError(t, err)
	var metas []chunks.Meta
	it := enc.Iterator(nil)
	for it.Next() {
		metas = append(metas, it.At())
	}
	require.NoError(t, it.Err())
	return metas
}

// between returns the samples in [mint, maxt).
func (s series) between(mint, maxt int64) series {
	var in series
	for _, x := range s {
		if x.t >= mint && x.t < maxt {
			in = append(in, x)
		}
	}
	return in
}

// downsample returns the series at a resolution, as blocks of the given range would have it.
func (s series) parts(t testing.TB, resolution, blockRange int64) []Part {
	t.Helper()
	var parts []Part
	for begin := s[0].t - s[0].t%blockRange; begin <= s[len(s)-1].t; begin += blockRange {
		in := s.between(begin, begin+blockRange)
		if len(in) == 0 {
			continue
		}
		parts = append(parts, Part{
			Chunks: at(t, in.chunks(t), resolution), Resolution: resolution, Pieces: []Piece{{Mint: begin, Maxt: begin + blockRange - 1}},
		})
	}
	return parts
}

// at downsamples step by step.
func at(t testing.TB, metas []chunks.Meta, resolution int64) []chunks.Meta {
	t.Helper()
	if resolution == Raw {
		return metas
	}
	metas, err := newWriter(FiveMinutes).raw(metas)
	require.NoError(t, err)
	if resolution == OneHour {
		metas, err = newWriter(OneHour).coarser(metas, FiveMinutes)
		require.NoError(t, err)
	}
	return metas
}

// fixed is a Queryable over one series, which reads as the hints say.
type fixed struct {
	lset  labels.Labels
	parts []Part
}

func (f fixed) Querier(int64, int64) (storage.Querier, error) { return fixedQuerier{fixed: f}, nil }

type fixedQuerier struct {
	fixed
	storage.LabelQuerier
}

func (fixedQuerier) Close() error { return nil }

func (f fixedQuerier) Select(_ context.Context, _ bool, hints *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	return &oneSeries{s: seriesOf(f.lset, ReadingFor(hints, f.mixed()), f.parts)}
}

func (f fixed) mixed() bool {
	return slices.ContainsFunc(f.parts, func(p Part) bool { return p.Resolution != f.parts[0].Resolution })
}

type oneSeries struct {
	s    storage.Series
	done bool
}

func (o *oneSeries) Next() bool {
	more := !o.done
	o.done = true
	return more
}
func (o *oneSeries) At() storage.Series              { return o.s }
func (*oneSeries) Err() error                        { return nil }
func (*oneSeries) Warnings() annotations.Annotations { return nil }

// read returns all samples of an iterator.
func read(t testing.TB, it chunkenc.Iterator) series {
	t.Helper()
	var all series
	s := chunkSource{it: it}
	for {
		x, ok := s.next()
		if !ok {
			require.NoError(t, s.err())
			return all
		}
		all = append(all, x)
	}
}

func seriesOf(lset labels.Labels, r Reading, parts []Part) storage.Series {
	return NewSeries(lset, r, func() ([]Part, error) { return parts, nil })
}

// aggregate returns one aggregate of all chunks.
func aggregate(t testing.TB, metas []chunks.Meta, a Aggregate) series {
	t.Helper()
	var all series
	for _, m := range metas {
		p, err := NewChunk(m.Chunk.Bytes()).Parse()
		require.NoError(t, err)
		c, err := p.need(a)
		require.NoError(t, err)
		all = append(all, read(t, c.Iterator(nil))...)
	}
	return all
}
