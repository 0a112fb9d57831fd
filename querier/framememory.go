// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"sync"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	// firstBytes is room for the start of an answer, and moreBytes for what comes then. Many have no more, and a query can hold many: what
	// it is thought to hold is twice what it was sent.
	firstBytes = 8 << 10
	moreBytes  = 128 << 10
	// blockBytes is room for all that follows: so much of a peer's answer is read before leave to decode it is asked for, a few milliseconds
	// of work.
	blockBytes = 512 << 10
	// perArena is how many chunks are allocated at a time.
	perArena = 1024
	// seriesAtLeast is for how many series of an answer there is room at first, and seriesKept for how many it is kept for another one.
	seriesAtLeast = 64
	seriesKept    = 1 << 16
)

type (
	frameBlock [blockBytes]byte
	metaArena  [perArena]chunks.Meta
	xorArena   [perArena]chunkenc.XORChunk
)

// What answers used. All of it is cleared but for the bytes of frames, which are written before they are read.
var (
	frameBlocks = sync.Pool{New: func() any { return new(frameBlock) }}
	metaArenas  = sync.Pool{New: func() any { return new(metaArena) }}
	xorArenas   = sync.Pool{New: func() any { return new(xorArena) }}
	seriesLists = sync.Pool{New: func() any { return new([]bufferedSeries) }}
)

// frameMemory is where a peer's answer is, and what was decoded of it: in blocks that are used again for other answers, because to
// allocate and clear them costs as much as to decode what is in them. Whoever has the answer owns it, until it is released: when
// the querier that asked is closed, like all that a TSDB gave.
type frameMemory struct {
	rooms  int // That were given out.
	blocks []*frameBlock
	metas  []*metaArena
	xors   []*xorArena
}

// room returns memory for n bytes or more, with nothing in it.
func (m *frameMemory) room(n int) []byte {
	m.rooms++
	switch {
	case m.rooms == 1 && n <= firstBytes:
		return make([]byte, 0, firstBytes)
	case m.rooms <= 2 && n <= moreBytes:
		return make([]byte, 0, moreBytes)
	case n > blockBytes:
		return make([]byte, 0, n)
	}
	b := frameBlocks.Get().(*frameBlock)
	m.blocks = append(m.blocks, b)
	return b[:0]
}

// roomForMetas and roomForXORs return room for perArena of them, with nothing in it.
func (m *frameMemory) roomForMetas() []chunks.Meta {
	a := metaArenas.Get().(*metaArena)
	m.metas = append(m.metas, a)
	return a[:0]
}

func (m *frameMemory) roomForXORs() []chunkenc.XORChunk {
	a := xorArenas.Get().(*xorArena)
	m.xors = append(m.xors, a)
	return a[:0]
}

// release gives everything back. Nothing in it may be read after it.
func (m *frameMemory) release() {
	for _, b := range m.blocks {
		frameBlocks.Put(b)
	}
	for _, a := range m.metas {
		clear(a[:])
		metaArenas.Put(a)
	}
	for _, a := range m.xors {
		clear(a[:])
		xorArenas.Put(a)
	}
	*m = frameMemory{}
}

// newBufferedSet returns an empty set, to be released.
func newBufferedSet(sorted bool) *bufferedSet {
	list := seriesLists.Get().(*[]bufferedSeries)
	return &bufferedSet{next: -1, sorted: sorted, newest: minTime, list: list, series: (*list)[:0]}
}

// release ends the use of all that the set has given, but for labels.
func (s *bufferedSet) release() error {
	s.memory.release()
	if s.list != nil && cap(s.series) <= seriesKept {
		clear(s.series)
		*s.list = s.series[:0]
		seriesLists.Put(s.list)
	}
	s.list, s.series = nil, nil
	return nil
}
