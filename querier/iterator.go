// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// samples returns the samples of all copies of the series within the trim, each timestamp once. It takes over
// the memory of an iterator that it returned before.
func (s *series) samples(it chunkenc.Iterator) chunkenc.Iterator {
	if len(s.copies) == 0 {
		return chunkenc.NewNopIterator()
	}
	m, ok := it.(*mergeIterator)
	if !ok {
		m = &mergeIterator{}
	}
	m.err = m.layout.build(s.copies, s.env.trim)
	m.reset(s.env, 0, len(m.layout.stretches))
	return m
}

// mergeIterator walks the stretches of a layout in order. A stretch of one piece is read as it is; the pieces of
// any other are merged by timestamp.
type mergeIterator struct {
	layout layout
	env    *mergeEnv

	current, end int    // The stretch being read, and the one to stop before.
	heads        []head // One for each piece of the current stretch.
	win          *head  // The one whose sample is returned. Nil before the first.
	over         head   // What is returned at the end.
	// takenT is the timestamp of the sample before the current one in the merged series, or noTime if that is unknown.
	takenT int64
	// hintKnown is whether the counter-reset hint of the current sample relates to the sample before it.
	hintKnown bool
	// lone is what the current stretch is read from when nothing has to be looked after: it is of one piece, of floats, which have no
	// hints, and nothing is trimmed. The time of its head is not kept then. Nil otherwise.
	lone chunkenc.Iterator
	err  error
}

// head reads one piece.
type head struct {
	it    chunkenc.Iterator
	piece *piece
	kind  chunkenc.ValueType // ValNone at the end of the piece.
	t     int64
	first bool // The sample is the first of the piece.
	h     *histogram.Histogram
	fh    *histogram.FloatHistogram
}

const noTime = math.MinInt64

func (m *mergeIterator) reset(env *mergeEnv, from, end int) {
	m.env = env
	m.current, m.end = from-1, end
	m.win = nil
	m.takenT = noTime
	m.hintKnown = false
	m.lone = nil
}

// Next implements chunkenc.Iterator.
func (m *mergeIterator) Next() chunkenc.ValueType {
	if m.lone != nil {
		return m.ofLone(m.lone.Next())
	}
	switch {
	case m.err != nil || m.current >= m.end:
		return chunkenc.ValNone
	case m.win == nil:
		return m.nextStretch(m.env.trim.mint)
	}
	return m.settle(m.step())
}

// milliseconds is a Unix time. As an alias it also tells go vet that the Seek of a chunkenc.Iterator is not meant to be an io.Seeker's.
type milliseconds = int64

// Seek implements chunkenc.Iterator.
func (m *mergeIterator) Seek(t milliseconds) chunkenc.ValueType {
	t = max(t, m.env.trim.mint)
	if m.lone != nil {
		switch {
		case m.lone.AtT() >= t:
			return m.win.kind
		case m.layout.stretches[m.current].maxt >= t:
			return m.ofLone(m.lone.Seek(t))
		}
	}
	switch {
	case m.err != nil || m.current >= m.end:
		return chunkenc.ValNone
	case m.win == nil:
		return m.nextStretch(t)
	case m.lone == nil && m.win.t >= t:
		return m.win.kind
	case m.layout.stretches[m.current].maxt < t:
		m.leave(false)
		return m.nextStretch(t)
	}
	return m.settle(m.stepTo(t))
}

// ofLone takes what lone has moved to.
func (m *mergeIterator) ofLone(kind chunkenc.ValueType) chunkenc.ValueType {
	if kind == chunkenc.ValNone {
		m.err = m.lone.Err()
		return m.settle(kind)
	}
	return kind
}

// settle goes on to the next stretch where kind says that the current one has ended, and ends the iterator at the end of the trim.
func (m *mergeIterator) settle(kind chunkenc.ValueType) chunkenc.ValueType {
	if m.err != nil {
		return m.finish()
	}
	if kind == chunkenc.ValNone {
		m.leave(true)
		return m.nextStretch(noTime)
	}
	if m.win.t > m.env.trim.maxt {
		return m.finish()
	}
	return kind
}

// finish leaves the iterator at its end.
func (m *mergeIterator) finish() chunkenc.ValueType {
	m.current = m.end
	m.over.it = chunkenc.NewNopIterator()
	m.win, m.lone = &m.over, nil
	return chunkenc.ValNone
}

// nextStretch moves to the first sample at or after t in the stretches that follow.
func (m *mergeIterator) nextStretch(t int64) chunkenc.ValueType {
	for m.current+1 < m.end {
		m.current++
		s := m.layout.stretches[m.current]
		if s.maxt < t {
			m.leave(false)
			continue
		}
		m.open(s)
		var kind chunkenc.ValueType
		if s.mint < t {
			kind = m.stepTo(t)
		} else {
			kind = m.step()
		}
		if m.err != nil {
			return m.finish()
		}
		if kind == chunkenc.ValNone {
			m.leave(false)
			continue
		}
		if m.win.t > m.env.trim.maxt {
			return m.finish()
		}
		if kind == chunkenc.ValFloat && s.single() && m.env.trim.maxt == maxTime && !isHistogram(m.heads[0].piece.meta.Chunk) {
			m.lone = m.heads[0].it
		}
		return kind
	}
	return m.finish()
}

// open prepares the heads of a stretch, before their first samples.
func (m *mergeIterator) open(s stretch) {
	n := s.last - s.first
	for len(m.heads) < n {
		m.heads = append(m.heads, head{})
	}
	for i := range n {
		h := &m.heads[i]
		h.piece = &m.layout.pieces[s.first+i]
		h.it = h.piece.meta.Chunk.Iterator(h.it)
		h.kind, h.t, h.first = chunkenc.ValNone, noTime, true
	}
	m.win, m.lone = nil, nil
}

// leave notes, for the hints of the next stretch, which piece held the last sample of this one. read is whether all
// of it was read; of one piece it is known anyway.
func (m *mergeIterator) leave(read bool) {
	s := m.layout.stretches[m.current]
	switch {
	case s.single():
		p := &m.layout.pieces[s.first]
		p.takenT, p.agreed = p.meta.MaxTime, true
		m.takenT = p.meta.MaxTime
	case !read:
		m.takenT = noTime
	}
}

// At implements chunkenc.Iterator.
func (m *mergeIterator) At() (int64, float64) { return m.win.it.At() }

// AtT implements chunkenc.Iterator.
func (m *mergeIterator) AtT() int64 {
	if m.lone != nil {
		return m.lone.AtT()
	}
	return m.win.t
}

// AtST implements chunkenc.Iterator.
func (m *mergeIterator) AtST() int64 { return m.win.it.AtST() }

// AtHistogram implements chunkenc.Iterator.
func (m *mergeIterator) AtHistogram(h *histogram.Histogram) (int64, *histogram.Histogram) {
	t, h := m.win.it.AtHistogram(h)
	if !m.hintKnown && h.CounterResetHint != histogram.GaugeType {
		h.CounterResetHint = histogram.UnknownCounterReset
	}
	return t, h
}

// AtFloatHistogram implements chunkenc.Iterator.
func (m *mergeIterator) AtFloatHistogram(fh *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	t, fh := m.win.it.AtFloatHistogram(fh)
	if !m.hintKnown && fh.CounterResetHint != histogram.GaugeType {
		fh.CounterResetHint = histogram.UnknownCounterReset
	}
	return t, fh
}

// Err implements chunkenc.Iterator.
func (m *mergeIterator) Err() error { return m.err }
