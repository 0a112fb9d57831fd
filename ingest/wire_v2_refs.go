// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"math"
	"slices"
)

// writtenOverhead is what the tags and lengths of a name or a value, or of a series, come
// to at the most when they are written out.
const writtenOverhead = 8

// labelPairs is what readPairs found out of the label references of a series.
type labelPairs struct {
	hash labelHash
	size int64 // of the labels when they are written out
	n    int   // references; 0 if it has found nothing out
}

// readLabelRefs reads label references of a series. The first of its fields is nearly
// always the only one.
func (b *Batch) readLabelRefs(c *cursor, typ uint8, pairs *labelPairs) error {
	if typ != wireBytes || pairs.n > 0 || b.cache == nil {
		var err error
		b.labelRefs, err = readRefs(c, typ, b.labelRefs)
		return err
	}
	run, err := c.bytes()
	if err == nil && !b.readPairs(run, pairs) {
		b.labelRefs, err = unpackRefs(run, b.labelRefs)
	}
	return err
}

// readPairs reads, checks and hashes a packed run of references in one loop. It does
// nothing and returns false if there is anything wrong with them, or one is longer than
// two bytes.
func (b *Batch) readPairs(run []byte, pairs *labelPairs) bool {
	symbols := b.symbols
	grown := slices.Grow(b.labelRefs, len(run)) // No reference is shorter than a byte.
	refs := grown[len(grown) : len(grown)+len(run)]
	hash, size, n := startHash, 0, uint(0)
	for i := uint(0); i < uint(len(run)); n += 2 {
		var nameRef, valueRef uint
		nameRef, i = shortRef(run, i)
		valueRef, i = shortRef(run, i)
		if nameRef >= uint(len(symbols)) || valueRef >= uint(len(symbols)) || n+1 >= uint(len(refs)) {
			return false
		}
		refs[n], refs[n+1] = uint32(nameRef), uint32(valueRef)
		name, value := &symbols[nameRef], &symbols[valueRef]
		size += len(name.text) + len(value.text) + 2*writtenOverhead
		hash = hash.with(&name.hash, &value.hash)
	}
	b.labelRefs = grown[:len(grown)+int(n)]
	*pairs = labelPairs{hash, int64(size), int(n)}
	return true
}

// shortRef reads the reference of one or two bytes at position i of a run, and returns
// where the next one is. What is no such reference is one that is out of range.
func shortRef(run []byte, i uint) (ref, next uint) {
	if i < uint(len(run)) {
		v := uint(run[i])
		if v < 0x80 {
			return v, i + 1
		}
		if i++; i < uint(len(run)) && run[i] < 0x80 {
			return v&0x7f | uint(run[i])<<7, i + 1
		}
	}
	return math.MaxUint, i
}

// checkLabelRefs is checkRefs for the references of a series, as far as readPairs has not
// done it.
func (b *Batch) checkLabelRefs(refs []uint32, pairs *labelPairs, message int) (labelHash, error) {
	if pairs.n == 0 || pairs.n != len(refs) || pairs.n/2 > b.limits.LabelsPerSeries {
		return b.checkRefs(refs, message)
	}
	return pairs.hash, b.addExpanded(int64(message+writtenOverhead) + pairs.size)
}

// checkRefs finds what is wrong with the label references of a series whose message
// has the given size, and adds up what the series comes to when it is written out:
// references are cheap and symbols long. It returns the hash of the series, or a zero
// one when there is no cache.
func (b *Batch) checkRefs(refs []uint32, message int) (labelHash, error) {
	if len(refs)%2 != 0 {
		return labelHash{}, refusef(ReasonSymbols, "odd number of label references (%d)", len(refs))
	}
	if n := len(refs) / 2; n > b.limits.LabelsPerSeries {
		return labelHash{}, tooManyLabels(n, &b.limits)
	}
	size := int64(message + writtenOverhead + len(refs)*writtenOverhead)
	symbols, hash := b.symbols, startHash
	for i := 0; i+1 < len(refs); i += 2 {
		n, v := uint64(refs[i]), uint64(refs[i+1])
		if n >= uint64(len(symbols)) || v >= uint64(len(symbols)) {
			_, err := b.symbol(refs[i])
			if err == nil {
				_, err = b.symbol(refs[i+1])
			}
			return labelHash{}, err
		}
		name, value := &symbols[n], &symbols[v]
		size += int64(len(name.text) + len(value.text))
		hash = hash.with(&name.hash, &value.hash)
	}
	if b.cache == nil {
		hash = labelHash{} // It is of symbols that have no hashes.
	}
	return hash, b.addExpanded(size)
}

// addExpanded bounds what the series of the request come to when they are written out.
func (b *Batch) addExpanded(size int64) error {
	if b.expanded += size; b.expanded > b.limits.ExpandedBytes {
		return &tooLargeError{"size after writing out symbols", b.expanded, b.limits.ExpandedBytes}
	}
	return nil
}

// readRefs reads one label reference, or a packed run of them.
func readRefs(c *cursor, typ uint8, dst []uint32) ([]uint32, error) {
	if typ == wireVarint {
		v, err := c.varint()
		return append(dst, uint32(v)), err
	}
	run, err := c.message(typ)
	if err != nil {
		return dst, err
	}
	return unpackRefs(run, dst)
}

// unpackRefs reads a packed run of references.
func unpackRefs(run []byte, dst []uint32) ([]uint32, error) {
	// No reference is shorter than a byte.
	dst = slices.Grow(dst, len(run))
	refs, n := dst[len(dst):len(dst)+len(run)], 0
	for i := 0; i < len(run) && n < len(refs); n++ {
		// One or two bytes are nearly all references of a batch.
		v := uint32(run[i])
		i++
		if v >= 0x80 {
			if i < len(run) && run[i] < 0x80 {
				v = v&0x7f | uint32(run[i])<<7
				i++
			} else {
				m := cursor{b: run, i: i - 1}
				long, err := m.varint()
				if err != nil {
					return dst, errPackedSplit
				}
				v, i = uint32(long), m.i
			}
		}
		refs[n] = v
	}
	return dst[:len(dst)+n], nil
}
