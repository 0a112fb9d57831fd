// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
)

// repeatFinder finds the series that come more than once in a request, whatever the
// order in which their labels were sent. Its memory is reused from batch to batch.
//
// Most requests have no series twice, and what is at hand are 20 bits of the key of each.
// Two passes over bitmaps, without branches that depend on them, leave the few series
// that share theirs with another. These are looked up in a table and compared, by the
// hash of their bytes, and by their labels when that differs. The bits are no secret, so
// that a sender can make many series share them; when looking takes too long, all labels
// are compared by a map.
type repeatFinder struct {
	seen, shared []uint64 // bitmaps
	suspects     []uint32
	table        []repeatSlot
	shift        uint
	// effort is what may still be spent on looking.
	effort  int
	repeats []repeat
	// uneven is set when the times of some series do not strictly rise, in one entry or
	// from one to the next.
	uneven bool

	decoder labelDecoder // of the other one of two series
	buf     []byte
}

// repeatSlot is a place of the table: the latest series with a key.
type repeatSlot struct {
	key    uint32
	latest uint32 // one more than its position; 0 is a free place
}

// repeat is a series, by its position, and the latest one before that is the same.
type repeat struct{ at, before uint32 }

const (
	repeatKeyBits = 20
	// repeatBitmapBits is how many more bits a bitmap has than it has series, as powers of
	// two: one in 64 series shares its bit with another by chance.
	repeatBitmapBits = 5
	// repeatEffort is what may be spent for each series, in steps of a search, and
	// repeatCompare what it takes to compare the labels of two. Without ill will a
	// series takes half a step.
	repeatEffort  = 8
	repeatCompare = 64
)

// find sets repeats, by ascending position, and uneven for the valid series of a batch.
func (f *repeatFinder) find(b *Batch) {
	f.repeats, f.uneven = f.repeats[:0], false
	f.suspect(b)
	if len(f.suspects) == 0 {
		return
	}
	size := bits.Len(uint(2 * len(f.suspects))) // The table will be half empty.
	f.table = zeroed(f.table, 1<<size)
	f.shift = uint(max(0, repeatKeyBits-size))
	f.effort = repeatEffort*len(b.valid) + repeatCompare
	for _, i := range f.suspects {
		f.look(b, &b.series[i], i)
		if f.effort < 0 {
			f.findByLabels(b)
			return
		}
	}
}

// suspect sets suspects to the series with samples that may be there twice.
func (f *repeatFinder) suspect(b *Batch) {
	size := min(repeatKeyBits, max(6, bits.Len(uint(len(b.valid)))+repeatBitmapBits))
	f.seen, f.shared = zeroed(f.seen, 1<<(size-6)), zeroed(f.shared, 1<<(size-6))
	shift, shared := repeatKeyBits-size, uint64(0)
	for _, i := range b.valid {
		s := &b.series[i]
		f.uneven = f.uneven || s.uneven
		at := s.keyBits() >> shift
		word, bit := &f.seen[at/64], uint64(1)<<(at%64)
		again := *word & bit
		*word |= bit
		f.shared[at/64] |= again
		shared |= again
	}
	f.suspects = f.suspects[:0]
	if shared == 0 {
		return
	}
	for _, i := range b.valid {
		at := b.series[i].keyBits() >> shift
		if f.shared[at/64]&(1<<(at%64)) != 0 && b.hasSamples(&b.series[i]) {
			f.suspects = append(f.suspects, i)
		}
	}
}

// keyBits returns the bits of the series key that are at hand.
func (s *Series) keyBits() uint32 { return uint32(s.slot)<<8 | uint32(s.below) }

// note takes an entry of a series that has samples, and which one it repeats.
func (f *repeatFinder) note(b *Batch, r repeat) {
	f.repeats = append(f.repeats, r)
	f.uneven = f.uneven || b.overlaps(r)
}

// look notes the series at position i, and whether it was there before.
func (f *repeatFinder) look(b *Batch, s *Series, i uint32) {
	key := s.keyBits()
	for at := key >> f.shift; ; at++ {
		place := &f.table[at&uint32(len(f.table)-1)]
		switch {
		case place.latest == 0:
			*place = repeatSlot{key, i + 1}
			return
		case place.key == key && f.same(b, s, &b.series[place.latest-1]):
			f.note(b, repeat{i, place.latest - 1})
			place.latest = i + 1
			return
		}
		if f.effort--; f.effort < 0 {
			return
		}
	}
}

// same tells whether two series have the same labels.
func (f *repeatFinder) same(b *Batch, s, other *Series) bool {
	if s.hash == other.hash && s.hash != (labelHash{}) {
		return true
	}
	f.effort -= repeatCompare
	return slices.EqualFunc(b.pairsOf(s, &b.decoder), b.pairsOf(other, &f.decoder), func(x, y labelPair) bool {
		return bytes.Equal(x.name, y.name) && bytes.Equal(x.value, y.value)
	})
}

// pairsOf returns the labels of a valid series, sorted, as views of the batch and of the
// decoder.
func (b *Batch) pairsOf(s *Series, d *labelDecoder) []labelPair {
	if _, err := d.read(b.labelBytesOf(s, &d.entries), math.MaxInt); err != nil {
		return nil // Cannot happen: the same bytes were read before.
	}
	return d.pairs
}

// findByLabels compares the labels of all suspects. It takes as long whoever chose them.
func (f *repeatFinder) findByLabels(b *Batch) {
	f.repeats = f.repeats[:0]
	latest := make(map[string]uint32, len(f.suspects))
	for _, i := range f.suspects {
		_, f.buf = seriesKey(f.buf[:0], "", b.pairsOf(&b.series[i], &f.decoder))
		if before, ok := latest[string(f.buf)]; ok {
			f.note(b, repeat{i, before})
		}
		latest[string(f.buf)] = i
	}
}
