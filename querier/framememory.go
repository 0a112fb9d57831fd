// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import "sync"

const (
	// firstBytes is room for the start of an answer, and moreBytes for what comes then. Many have no more, and a query can hold many: what
	// it is thought to hold is twice what it was sent.
	firstBytes = 8 << 10
	moreBytes  = 128 << 10
	// blockBytes is room for all that follows: so much is read of a peer's answer before leave to decode it is asked for, a few milliseconds of work.
	blockBytes = 512 << 10
)

type frameBlock [blockBytes]byte

var frameBlocks = sync.Pool{New: func() any { return new(frameBlock) }}

// frameMemory is where a peer's answer is: in blocks that are used again for other answers, because to allocate and clear as many bytes
// as an answer has costs as much as to decode them. Whoever has the answer owns it, until it is released: when the querier that
// asked is closed, like all that a TSDB gave.
type frameMemory struct {
	rooms  int // That were given out.
	blocks []*frameBlock
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

// release gives the blocks back. Nothing in them may be read after it.
func (m *frameMemory) release() {
	for _, b := range m.blocks {
		frameBlocks.Put(b)
	}
	m.blocks = nil
}
