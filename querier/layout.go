// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// piece is one distinct chunk of a series: chunks of several copies with the same bytes are one piece.
//
// What follows its meta serves the counter-reset hints of histograms. Such a hint tells how a sample relates to
// the one before it in the same copy, and is true of the merged series only where that one comes before it
// there too.
type piece struct {
	meta chunks.Meta
	// before are the pieces that come right before this one in the copies that hold it.
	before []int
	// The last timestamp taken from the piece, and whether it held there what was returned.
	takenT  int64
	agreed  bool
	stretch int
}

// stretch is a run of pieces that overlap in time, [first, last). Stretches are in order and do not overlap.
type stretch struct {
	first, last int
	mint, maxt  int64
}

func (s stretch) single() bool { return s.last-s.first == 1 }

// layout is how the chunks of a series' copies lie in time. Its slices are used again by the next series.
type layout struct {
	pieces    []piece
	stretches []stretch

	held  []held // Of copies that are alike, those of the first one only.
	alike bool   // All copies have the same chunks, none of which overlap, as copies mostly have.
	// How many chunks the first copy has, and how many of the copy that is being read are the same while all are alike.
	first, matched int

	its    []chunks.Iterator
	latest []int // The piece last seen of each copy.
}

// held is one chunk of one copy.
type held struct {
	meta  chunks.Meta
	owner int
}

// build lays out the chunks of the copies that have samples in trim.
func (l *layout) build(copies []storage.ChunkSeries, trim span) error {
	if err := l.read(copies, trim); err != nil {
		return err
	}
	if l.alike {
		l.placeOne()
	} else {
		l.placeAll(len(copies))
	}
	return nil
}

// placeAll makes pieces of chunks of any kind.
func (l *layout) placeAll(copies int) {
	slices.SortStableFunc(l.held, func(a, b held) int {
		return cmp.Or(cmp.Compare(a.meta.MinTime, b.meta.MinTime), cmp.Compare(a.meta.MaxTime, b.meta.MaxTime))
	})
	l.pieces = l.pieces[:0]
	l.latest = l.latest[:0]
	for range copies {
		l.latest = append(l.latest, -1)
	}
	for _, h := range l.held {
		l.place(h)
	}
	l.stretches = l.stretches[:0]
	for i := range l.pieces {
		m := l.pieces[i].meta
		if n := len(l.stretches); n > 0 && m.MinTime <= l.stretches[n-1].maxt {
			l.stretches[n-1].last = i + 1
			l.stretches[n-1].maxt = max(l.stretches[n-1].maxt, m.MaxTime)
		} else {
			l.stretches = append(l.stretches, stretch{first: i, last: i + 1, mint: m.MinTime, maxt: m.MaxTime})
		}
		l.pieces[i].stretch = len(l.stretches) - 1
	}
}

// read collects the chunks of all copies.
func (l *layout) read(copies []storage.ChunkSeries, trim span) error {
	l.held, l.alike = l.held[:0], true
	for len(l.its) < len(copies) {
		l.its = append(l.its, nil)
	}
	for owner, c := range copies {
		l.matched = 0
		if peers, ok := c.(*bufferedSeries); ok {
			for i := range peers.chunks {
				l.take(&peers.chunks[i], owner, trim)
			}
		} else {
			it := c.Iterator(l.its[owner])
			for l.its[owner] = it; it.Next(); {
				m := it.At()
				l.take(&m, owner, trim)
			}
			if err := it.Err(); err != nil {
				return err
			}
		}
		switch {
		case owner == 0:
			l.first = len(l.held)
		case l.alike && l.matched < l.first:
			l.differ(owner)
		}
	}
	return nil
}

// take takes up the next chunk of a copy.
func (l *layout) take(m *chunks.Meta, owner int, trim span) {
	if m.MaxTime < trim.mint || m.MinTime > trim.maxt {
		return
	}
	switch n := len(l.held); {
	case owner == 0:
		l.alike = l.alike && m.MinTime <= m.MaxTime && (n == 0 || l.held[n-1].meta.MaxTime < m.MinTime)
	case l.alike && l.matched < l.first && sameChunk(&l.held[l.matched].meta, m):
		l.matched++
		return
	case l.alike:
		l.differ(owner)
	}
	l.held = append(l.held, held{*m, owner})
}

// differ notes that a copy is not like the others, and adds what was left out so far because it is what the first one has.
func (l *layout) differ(owner int) {
	l.alike = false
	for o := 1; o < owner; o++ {
		for _, h := range l.held[:l.first] {
			l.held = append(l.held, held{h.meta, o})
		}
	}
	for _, h := range l.held[:l.matched] {
		l.held = append(l.held, held{h.meta, owner})
	}
}

// placeOne makes pieces of the chunks of the first copy, each with a stretch of its own.
func (l *layout) placeOne() {
	l.pieces, l.stretches = l.pieces[:0], l.stretches[:0]
	for i, h := range l.held {
		p := piece{meta: h.meta, takenT: math.MinInt64, stretch: i}
		if i > 0 && isHistogram(h.meta.Chunk) {
			p.before = []int{i - 1}
		}
		l.pieces = append(l.pieces, p)
		l.stretches = append(l.stretches, stretch{first: i, last: i + 1, mint: h.meta.MinTime, maxt: h.meta.MaxTime})
	}
}

// place makes a chunk a piece, or finds the piece that it is.
func (l *layout) place(h held) {
	at := -1
	for i := len(l.pieces) - 1; i >= 0 && sameTimes(l.pieces[i].meta, h.meta); i-- {
		if sameBytes(l.pieces[i].meta.Chunk, h.meta.Chunk) {
			at = i
			break
		}
	}
	if at < 0 {
		l.pieces = append(l.pieces, piece{meta: h.meta, takenT: math.MinInt64})
		at = len(l.pieces) - 1
	}
	if prev := l.latest[h.owner]; prev >= 0 && isHistogram(h.meta.Chunk) && !slices.Contains(l.pieces[at].before, prev) {
		l.pieces[at].before = append(l.pieces[at].before, prev)
	}
	l.latest[h.owner] = at
}

func sameChunk(a, b *chunks.Meta) bool {
	return a.MinTime == b.MinTime && a.MaxTime == b.MaxTime && sameBytes(a.Chunk, b.Chunk)
}

func sameTimes(a, b chunks.Meta) bool { return a.MinTime == b.MinTime && a.MaxTime == b.MaxTime }

func sameBytes(a, b chunkenc.Chunk) bool {
	return a.Encoding() == b.Encoding() && bytes.Equal(a.Bytes(), b.Bytes())
}

func isHistogram(c chunkenc.Chunk) bool {
	switch c.Encoding() {
	case chunkenc.EncXOR, chunkenc.EncXOR2, chunkenc.EncNone:
		return false
	default:
		return true
	}
}
