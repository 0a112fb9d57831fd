// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

const (
	// batchPages bounds the pages that are in memory at once while chunks are copied out of them: 64 MiB.
	batchPages = (64 << 20) / pageBytes
	// slabBytes is what chunks are copied into.
	slabBytes = 64 << 10
	// maxRounds is how often pages of a batch of chunks are looked for: as long as was guessed, as long as they are, and held.
	maxRounds = 4
	// chunkBytesMax is what is believed of a chunk's length.
	chunkBytesMax = 64 << 20
)

// chunkSet holds the chunks of a selection by their references, which ascend.
type chunkSet struct {
	refs []chunks.ChunkRef
	data [][]byte // Encoding and content.
	slab []byte
}

// raw returns the encoding and the bytes of a chunk. Both are the caller's to keep, not to change.
func (c *chunkSet) raw(ref chunks.ChunkRef) (chunkenc.Encoding, []byte, error) {
	i, ok := slices.BinarySearch(c.refs, ref)
	if !ok || c.data[i] == nil {
		return 0, nil, errors.New("the chunk was not selected")
	}
	return chunkenc.Encoding(c.data[i][0]), c.data[i][1:], nil
}

func (c *chunkSet) copyOf(p []byte) []byte {
	if len(p) > cap(c.slab)-len(c.slab) {
		c.slab = make([]byte, 0, max(slabBytes, len(p)))
	}
	at := len(c.slab)
	c.slab = append(c.slab, p...)
	return c.slab[at:len(c.slab):len(c.slab)]
}

// chunkReader is the chunks of a block to TSDB's querier.
type chunkReader struct{ s *selection }

var _ tsdb.ChunkReader = chunkReader{}

// ChunkOrIterable implements tsdb.ChunkReader.
func (r chunkReader) ChunkOrIterable(meta chunks.Meta) (chunkenc.Chunk, chunkenc.Iterable, error) {
	encoding, data, err := r.s.chunks.raw(meta.Ref)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.s.pool.Get(encoding, data)
	return c, nil, err
}

// Close implements tsdb.ChunkReader.
func (chunkReader) Close() error { return nil }

// loadChunks fetches the chunks of the parsed series that have samples in the range of the question.
func (s *selection) loadChunks() error {
	n := 0
	for _, p := range s.series {
		n += len(p.chunks)
	}
	refs := make([]chunks.ChunkRef, 0, n)
	for _, p := range s.series {
		for _, m := range p.chunks {
			if m.OverlapsClosedInterval(s.mint, s.maxt) {
				refs = append(refs, m.Ref)
			}
		}
	}
	if !slices.IsSorted(refs) {
		slices.Sort(refs)
	}
	refs = slices.Compact(refs)
	s.chunks = chunkSet{refs: refs, data: make([][]byte, len(refs))}
	for from := 0; from < len(refs); {
		to, err := s.loadBatch(from)
		if err != nil {
			return err
		}
		from = to
	}
	return nil
}

// chunkAt returns where a chunk begins.
func (b *openBlock) chunkAt(ref chunks.ChunkRef) (object, int64, error) {
	segment, off := chunks.BlockChunkRef(ref).Unpack()
	o, ok := b.file.layout.segment(segment)
	if !ok || int64(off) >= o.size {
		return object{}, 0, fmt.Errorf("block %s: %w: it has no chunk %d", b.id, errDamaged, ref)
	}
	return o, int64(off), nil
}

// wantedChunk is a chunk that is on its way.
type wantedChunk struct {
	i      int   // In chunkSet.
	length int64 // Bytes, as far as is known.
}

// loadBatch fetches chunks from the given one on, as many as fit, and returns the first that did not.
func (s *selection) loadBatch(from int) (int, error) {
	guess := s.block.cache.cfg.guesses
	var batch []wantedChunk
	last, fetched := -1, 0 // Fetched counts gaps, as long as a request goes over them.
	for ; from < len(s.chunks.refs) && fetched < batchPages; from++ {
		o, off, err := s.block.chunkAt(s.chunks.refs[from])
		if err != nil {
			return 0, err
		}
		w := wantedChunk{from, max(guess.chunk, chunks.MaxChunkLengthFieldSize)}
		r := o.pagesOf(off, w.length)
		if last < 0 || r.from-last > guess.gap {
			fetched += r.len()
		} else {
			fetched += max(r.to-last, 0)
		}
		last = max(last, r.to)
		batch = append(batch, w)
	}
	// Chunks that are longer than was guessed come in a second round, all together; and in one more those whose pages were
	// evicted before they could be read, which are then held.
	hold := false
	for range maxRounds {
		var err error
		if batch, hold, err = s.takeChunks(batch, hold); err != nil {
			return 0, err
		}
		if len(batch) == 0 {
			return from, nil
		}
	}
	return 0, fmt.Errorf("block %s: %w", s.block.id, errPagesGone)
}

// takeChunks fetches the pages of chunks and copies the chunks out. It returns those that it could not get, and whether that
// was because pages were gone.
func (s *selection) takeChunks(batch []wantedChunk, hold bool) (rest []wantedChunk, gone bool, err error) {
	var want runs
	for _, w := range batch {
		o, off, err := s.block.chunkAt(s.chunks.refs[w.i])
		if err != nil {
			return nil, false, err
		}
		want = want.add(o.pagesOf(off, w.length))
	}
	got, err := s.block.cache.load(s.ctx, s.block.entry, s.block.file, s.usage(kindChunks), want, hold)
	if err != nil {
		return nil, false, err
	}
	in := &pageReader{block: s.block, want: want, got: got}
	for _, w := range batch {
		length, err := s.takeChunk(w.i, in)
		if errors.Is(err, errPagesGone) {
			gone = gone || length <= w.length
			rest = append(rest, wantedChunk{w.i, max(length, w.length)})
		} else if err != nil {
			return nil, false, err
		}
	}
	return rest, gone, nil
}

// takeChunk copies one chunk out of pages that were loaded. It returns the length of the chunk when it knows it.
func (s *selection) takeChunk(i int, in *pageReader) (int64, error) {
	o, off, err := s.block.chunkAt(s.chunks.refs[i])
	if err != nil {
		return 0, err
	}
	head, err := in.peek(o, off, chunks.MaxChunkLengthFieldSize)
	if err != nil {
		return 0, err
	}
	length, n := binary.Uvarint(head)
	total := int64(n) + chunks.ChunkEncodingSize + int64(length) + crc32.Size
	if n <= 0 || length > chunkBytesMax || off+total > o.size {
		return 0, s.badChunk(o, off, "its length makes no sense")
	}
	all, err := in.peek(o, off, int(total))
	if err != nil {
		return total, err
	}
	content, sum := all[n:total-crc32.Size], all[total-crc32.Size:]
	if crc32.Checksum(content, castagnoli) != binary.BigEndian.Uint32(sum) {
		return 0, s.badChunk(o, off, "its checksum is wrong")
	}
	s.chunks.data[i] = s.chunks.copyOf(content)
	return total, nil
}

func (s *selection) badChunk(o object, off int64, what string) error {
	return fmt.Errorf("block %s: %w: chunk at %d of %s: %s", s.block.id, errDamaged, off, o.rel, what)
}
