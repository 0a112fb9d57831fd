// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// milliseconds names what chunkenc.Iterator's Seek takes; with int64 vet takes it for io.Seeker's.
type milliseconds = int64

// sample is one of any type.
type sample struct {
	t  int64
	v  float64
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

func (s *sample) valueType() chunkenc.ValueType {
	switch {
	case s.h != nil:
		return chunkenc.ValHistogram
	case s.fh != nil:
		return chunkenc.ValFloatHistogram
	}
	return chunkenc.ValFloat
}

// source yields samples in the order of time. Histograms belong to whoever gets them.
type source interface {
	next() (sample, bool)
	err() error
}

// iterator is a chunkenc.Iterator over a source.
type iterator struct {
	source
	cur  sample
	kind chunkenc.ValueType
	done bool
}

func newIterator(s source) chunkenc.Iterator { return &iterator{source: s} }

// Next implements chunkenc.Iterator.
func (it *iterator) Next() chunkenc.ValueType {
	if it.done {
		return chunkenc.ValNone
	}
	s, ok := it.next()
	if !ok {
		it.done, it.kind = true, chunkenc.ValNone
		return chunkenc.ValNone
	}
	it.cur, it.kind = s, s.valueType()
	return it.kind
}

// Seek implements chunkenc.Iterator.
func (it *iterator) Seek(t milliseconds) chunkenc.ValueType {
	if it.kind == chunkenc.ValNone {
		it.Next()
	}
	for it.kind != chunkenc.ValNone && it.cur.t < t {
		it.Next()
	}
	return it.kind
}

// At implements chunkenc.Iterator.
func (it *iterator) At() (int64, float64) { return it.cur.t, it.cur.v }

// AtHistogram implements chunkenc.Iterator.
func (it *iterator) AtHistogram(h *histogram.Histogram) (int64, *histogram.Histogram) {
	if h == nil {
		return it.cur.t, it.cur.h.Copy()
	}
	it.cur.h.CopyTo(h)
	return it.cur.t, h
}

// AtFloatHistogram implements chunkenc.Iterator.
func (it *iterator) AtFloatHistogram(fh *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	switch {
	case it.cur.h != nil:
		return it.cur.t, it.cur.h.ToFloat(fh)
	case fh == nil:
		return it.cur.t, it.cur.fh.Copy()
	}
	it.cur.fh.CopyTo(fh)
	return it.cur.t, fh
}

// AtT implements chunkenc.Iterator.
func (it *iterator) AtT() int64 { return it.cur.t }

// AtST implements chunkenc.Iterator. Windows have no start timestamps.
func (*iterator) AtST() int64 { return 0 }

// Err implements chunkenc.Iterator.
func (it *iterator) Err() error { return it.err() }

// failed is an iterator that has nothing but an error.
type failed struct{ error }

// Next implements chunkenc.Iterator.
func (failed) Next() chunkenc.ValueType { return chunkenc.ValNone }

// Seek implements chunkenc.Iterator.
func (failed) Seek(milliseconds) chunkenc.ValueType { return chunkenc.ValNone }

// At implements chunkenc.Iterator.
func (failed) At() (int64, float64) { return 0, 0 }

// AtHistogram implements chunkenc.Iterator.
func (failed) AtHistogram(*histogram.Histogram) (int64, *histogram.Histogram) { return 0, nil }

// AtFloatHistogram implements chunkenc.Iterator.
func (failed) AtFloatHistogram(*histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	return 0, nil
}

// AtT implements chunkenc.Iterator.
func (failed) AtT() int64 { return 0 }

// AtST implements chunkenc.Iterator.
func (failed) AtST() int64 { return 0 }

// Err implements chunkenc.Iterator.
func (f failed) Err() error { return f.error }

// chunkSource yields what an iterator does.
type chunkSource struct {
	it      chunkenc.Iterator
	failure error
}

func (s *chunkSource) next() (got sample, ok bool) {
	if s.failure != nil {
		return sample{}, false
	}
	switch s.it.Next() {
	case chunkenc.ValFloat:
		t, v := s.it.At()
		return sample{t: t, v: v}, true
	case chunkenc.ValHistogram:
		got.t, got.h, s.failure = histogramAt(s.it)
		return got, s.failure == nil
	case chunkenc.ValFloatHistogram:
		got.t, got.fh, s.failure = floatHistogramAt(s.it, nil)
		return got, s.failure == nil
	}
	return sample{}, false
}

func (s *chunkSource) err() error {
	if s.failure != nil {
		return s.failure
	}
	return s.it.Err()
}
