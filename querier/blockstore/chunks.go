// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
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
	// windowPages is how much is read from the local file at once.
	windowPages = (256 << 10) / pageBytes
	// slabBytes is what chunks are copied into.
	slabBytes = 64 << 10
	// chunkBytesMax is what is believed of a chunk's length.
	chunkBytesMax = 64 << 20
	// loadAttempts is how often chunk pages are fetched again that were evicted before they were read.
	loadAttempts = 3
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

// loadBatch fetches chunks from the given one on, as many as fit, and returns the first that did not.
func (s *selection) loadBatch(from int) (int, error) {
	var want runs
	guess := s.block.cache.cfg.guesses
	last, fetched, to := -1, 0, from // Fetched counts gaps, as long as a request goes over them.
	for ; to < len(s.chunks.refs) && fetched < batchPages; to++ {
		o, off, err := s.block.chunkAt(s.chunks.refs[to])
		if err != nil {
			return 0, err
		}
		r := o.pagesOf(off, max(guess.chunk, chunks.MaxChunkLengthFieldSize))
		if last < 0 || r.from-last > guess.gap {
			fetched += r.len()
		} else {
			fetched += max(r.to-last, 0)
		}
		last = max(last, r.to)
		want = want.add(r)
	}
	var err error
	for range loadAttempts {
		var got loaded
		got, err = s.block.cache.load(s.ctx, s.block.entry, s.block.file, s.usage(kindChunks), want)
		if err != nil {
			return 0, err
		}
		in := &pageReader{block: s.block, want: want, got: got}
		for ; from < to && err == nil; from++ {
			err = s.takeChunk(from, in)
		}
		if !errors.Is(err, errPagesGone) {
			return to, err
		}
		from--
	}
	return 0, fmt.Errorf("block %s: %w: raise --%s", s.block.id, err, FlagMaxBytes)
}

// takeChunk copies one chunk out of pages that were loaded.
func (s *selection) takeChunk(i int, in *pageReader) error {
	ref := s.chunks.refs[i]
	o, off, err := s.block.chunkAt(ref)
	if err != nil {
		return err
	}
	damaged := func(what string) error {
		return fmt.Errorf("block %s: %w: chunk at %d of %s: %s", s.block.id, errDamaged, off, o.rel, what)
	}
	head, err := in.peek(o, off, chunks.MaxChunkLengthFieldSize)
	if err != nil {
		return err
	}
	length, n := binary.Uvarint(head)
	if n <= 0 || length > chunkBytesMax {
		return damaged("its length makes no sense")
	}
	total := n + chunks.ChunkEncodingSize + int(length) + crc32.Size
	all, err := in.peek(o, off, total)
	if errors.Is(err, errPagesGone) && int64(total) > s.block.cache.cfg.guesses.chunk {
		all, err = s.longChunk(o, off, total)
	}
	if err != nil {
		return err
	}
	if len(all) < total {
		return damaged("it ends behind its segment")
	}
	content, sum := all[n:total-crc32.Size], all[total-crc32.Size:total]
	if crc32.Checksum(content, castagnoli) != binary.BigEndian.Uint32(sum) {
		return damaged("its checksum is wrong")
	}
	s.chunks.data[i] = s.chunks.copyOf(content)
	return nil
}

// longChunk fetches a chunk that is longer than was guessed.
func (s *selection) longChunk(o object, off int64, total int) ([]byte, error) {
	want := runs{o.pagesOf(off, int64(total))}
	got, err := s.block.cache.load(s.ctx, s.block.entry, s.block.file, s.usage(kindChunks), want)
	if err != nil {
		return nil, err
	}
	return (&pageReader{block: s.block, want: want, got: got}).peek(o, off, total)
}

// errPagesGone says that pages were evicted between being fetched and being read.
var errPagesGone = errors.New("pages were evicted before they were read")

// pageReader reads bytes of objects from flights and from the local file. Offsets mostly ascend.
type pageReader struct {
	block *openBlock
	want  runs // What was loaded.
	got   loaded

	object object
	from   int64 // Offset of window in the object.
	window []byte
	buf    []byte
}

// peek returns n bytes from off, or fewer at the end of the object. They are good until the next call.
func (p *pageReader) peek(o object, off int64, n int) ([]byte, error) {
	n = int(min(int64(n), o.size-off))
	if p.object != o || off < p.from || off+int64(n) > p.from+int64(len(p.window)) {
		if err := p.move(o, o.pagesOf(off, int64(n))); err != nil {
			return nil, err
		}
	}
	at := off - p.from
	return p.window[at : at+int64(n)], nil
}

// move puts the window on the pages that are needed: on a flight that brought them, or on a copy of them and of those behind
// them that were wanted too.
func (p *pageReader) move(o object, need run) error {
	p.object, p.from = o, int64(need.from-o.first)*pageBytes
	for _, f := range p.got {
		if f.data != nil && f.run.from <= need.from && need.to <= f.run.to {
			p.window = f.data[int64(need.from-f.run.from)*pageBytes:]
			return nil
		}
	}
	end := need.to
	i, found := slices.BinarySearchFunc(p.want, need.from, func(r run, page int) int { return cmp.Compare(r.from, page) })
	if !found {
		i--
	}
	if i >= 0 {
		end = max(end, min(p.want[i].to, need.from+windowPages, o.first+o.pages()))
	}
	p.window = p.buf[:0]
	for page := need.from; page < end; {
		next, err := p.appendPages(o, run{page, end})
		if err != nil {
			return err
		}
		if next == page {
			if page >= need.to {
				break
			}
			p.object = object{}
			return errPagesGone
		}
		page = next
	}
	p.buf = p.window
	return nil
}

// appendPages adds the first pages of r to the window, as many as are there in one piece.
func (p *pageReader) appendPages(o object, r run) (next int, err error) {
	for _, f := range p.got {
		if f.data != nil && f.run.from <= r.from && r.from < f.run.to {
			r.to = min(r.to, f.run.to)
			from := int64(r.from-f.run.from) * pageBytes
			p.window = append(p.window, f.data[from:from+o.bytesOf(r)]...)
			return r.to, nil
		}
	}
	if missing := p.block.file.ready.missing(r); missing != (run{}) {
		r.to = missing.from
	}
	if r.len() == 0 {
		return r.from, nil
	}
	at, n := len(p.window), int(o.bytesOf(r))
	p.window = slices.Grow(p.window, n)[:at+n]
	ok, err := p.block.file.readAt(o, p.window[at:], int64(r.from-o.first)*pageBytes)
	if err != nil || !ok {
		p.window = p.window[:at]
		return r.from, err
	}
	return r.to, nil
}
