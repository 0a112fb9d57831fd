// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// step moves to the next sample of the current stretch. ValNone is its end, or an error in m.err.
func (m *mergeIterator) step() chunkenc.ValueType {
	s := m.layout.stretches[m.current]
	if s.single() {
		return m.stepSingle(m.heads[0].it.Next())
	}
	heads := m.heads[:s.last-s.first]
	if m.win != nil {
		m.takenT = m.win.t
	}
	for i := range heads {
		h := &heads[i]
		if m.win == nil || h.t == m.takenT && h.kind != chunkenc.ValNone {
			m.move(h, h.it.Next())
		}
	}
	return m.choose(heads)
}

// stepTo is step to the first sample at or after t. What comes before that sample is then unknown, except inside of a piece.
func (m *mergeIterator) stepTo(t int64) chunkenc.ValueType {
	s := m.layout.stretches[m.current]
	if s.single() {
		return m.stepSingle(m.heads[0].it.Seek(t))
	}
	heads := m.heads[:s.last-s.first]
	for i := range heads {
		h := &heads[i]
		if h.t < t && (m.win == nil || h.kind != chunkenc.ValNone) {
			m.move(h, h.it.Seek(t))
			h.piece.takenT = noTime
		}
	}
	m.takenT = noTime
	return m.choose(heads)
}

// stepSingle takes what the only head of a stretch has moved to. Only the first hint of a piece can be
// about a sample that is not the one before.
func (m *mergeIterator) stepSingle(kind chunkenc.ValueType) chunkenc.ValueType {
	h := &m.heads[0]
	m.win = h
	h.kind = kind
	if kind == chunkenc.ValNone {
		m.err = h.it.Err()
		return kind
	}
	h.t = h.it.AtT()
	if kind == chunkenc.ValFloat {
		return kind
	}
	m.hintKnown = h.t > h.piece.meta.MinTime || m.follows(h.piece)
	return kind
}

func (m *mergeIterator) move(h *head, kind chunkenc.ValueType) {
	fresh := h.t == noTime
	h.kind = kind
	if kind == chunkenc.ValNone {
		if err := h.it.Err(); err != nil {
			m.err = err
		}
		return
	}
	h.t = h.it.AtT()
	h.first = fresh && h.t == h.piece.meta.MinTime
}

// choose makes the earliest sample of the heads the current one, and among several at that time the one that the
// rule of copies prefers.
func (m *mergeIterator) choose(heads []head) chunkenc.ValueType {
	if m.err != nil {
		return chunkenc.ValNone
	}
	m.win = nil
	rivals := 0
	for i := range heads {
		h := &heads[i]
		switch {
		case h.kind == chunkenc.ValNone:
		case m.win == nil || h.t < m.win.t:
			m.win, rivals = h, 0
		case h.t == m.win.t:
			rivals++
		}
	}
	if m.win == nil {
		m.win = &heads[0] // At its end, as all of them.
		return chunkenc.ValNone
	}
	if rivals == 0 && m.win.kind != chunkenc.ValFloat {
		m.hintKnown = m.continues(m.win)
		m.win.piece.takenT, m.win.piece.agreed = m.win.t, true
		return m.win.kind
	}
	if rivals > 0 && !m.agree(heads) {
		m.contest(heads)
	}
	return m.win.kind
}

// agree is the short way for what nearly all samples are: floats of the same bits, which have no hints either.
func (m *mergeIterator) agree(heads []head) bool {
	if m.win.kind != chunkenc.ValFloat {
		return false
	}
	_, v := m.win.it.At()
	for i := range heads {
		h := &heads[i]
		if h == m.win || h.t != m.win.t || h.kind == chunkenc.ValNone {
			continue
		}
		if h.kind != chunkenc.ValFloat {
			return false
		}
		if _, w := h.it.At(); math.Float64bits(v) != math.Float64bits(w) || h.it.AtST() != m.win.it.AtST() {
			return false
		}
	}
	return true
}

// contest decides between the heads that have a sample at the time of m.win.
func (m *mergeIterator) contest(heads []head) {
	t := m.win.t
	best := m.win.sample()
	conflict := false
	for i := range heads {
		h := &heads[i]
		if h == m.win || h.kind == chunkenc.ValNone || h.t != t {
			continue
		}
		s := h.sample()
		switch c := compareSamples(s, best); {
		case c > 0:
			m.win, best, conflict = h, s, true
		case c < 0:
			conflict = true
		}
	}
	if conflict {
		m.env.conflicts.Inc()
	}
	// The hint is that of any copy that has this very sample right after the one before.
	m.hintKnown = false
	preferred := m.win
	for i := range heads {
		h := &heads[i]
		if h.kind == chunkenc.ValNone || h.t != t {
			continue
		}
		agrees := !conflict || compareSamples(h.sample(), best) == 0
		if agrees && !m.hintKnown && m.continues(h) {
			preferred, m.hintKnown = h, true
		}
		h.piece.takenT, h.piece.agreed = t, agrees
	}
	m.win = preferred
}

// continues tells whether the sample before the head's in its own copy is the one before it in the merged series.
func (m *mergeIterator) continues(h *head) bool {
	if h.kind == chunkenc.ValFloat {
		return true // Floats have no hints.
	}
	if h.first {
		return m.follows(h.piece)
	}
	return h.piece.agreed && m.takenT != noTime && h.piece.takenT == m.takenT
}

// follows tells the same of the first sample of a piece.
func (m *mergeIterator) follows(p *piece) bool {
	if len(p.before) == 0 {
		// Nothing is known of what came before the first chunk; the hint tells what its writer knew. It is about
		// no sample that we return, unless other copies have one before.
		return m.current == 0 && m.takenT == noTime && m.layout.stretches[0].mint == p.meta.MinTime
	}
	return slices.ContainsFunc(p.before, func(i int) bool {
		q := &m.layout.pieces[i]
		return m.takenT != noTime && q.agreed && q.takenT == m.takenT
	})
}

// sample decodes the current sample of a head. Histograms are valid until the next call.
//
// They are decoded into memory of the head's own: what an iterator decodes into no memory given shares its
// buckets with whoever asks for the same sample after us, and must not be written to again.
func (h *head) sample() sample {
	s := sample{kind: h.kind, st: h.it.AtST()}
	switch h.kind {
	case chunkenc.ValHistogram:
		if h.h == nil {
			h.h = &histogram.Histogram{}
		}
		_, s.h = h.it.AtHistogram(h.h)
	case chunkenc.ValFloatHistogram:
		if h.fh == nil {
			h.fh = &histogram.FloatHistogram{}
		}
		_, s.fh = h.it.AtFloatHistogram(h.fh)
	default:
		_, s.f = h.it.At()
	}
	return s
}
