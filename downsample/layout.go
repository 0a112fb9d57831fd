// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/prometheus/prometheus/model/histogram"
)

var (
	errShort  = errors.New("its histogram layout is cut off")
	errLayout = errors.New("its histogram layout")
)

// checkLayout looks at the layout with which Prometheus' histogram chunks begin: threshold of the zero bucket, schema, spans
// of buckets. An iterator allocates as many buckets as the spans say, so that a flipped bit could cost gigabytes; here they
// must fit into the bytes that follow, of which each bucket of the first sample takes a bit at least.
func checkLayout(data []byte) error {
	if data[0] == 0 && data[1] == 0 {
		return nil // No samples, no layout.
	}
	r := &bitReader{data: data[histogramHeader:]}
	if r.bits(8) == 0xff { // Any other byte stands for a threshold.
		r.skip(64)
	}
	schema := r.signed()
	buckets := uint64(0)
	for range 2 { // Positive and negative.
		spans := r.unsigned()
		for i := uint64(0); i < spans && !r.short; i++ {
			length := r.unsigned()
			r.signed()
			if length > r.left() {
				return fmt.Errorf("%w has a span of %d buckets in %d bits", errLayout, length, r.left())
			}
			buckets += length
		}
	}
	if r.short {
		return errShort
	}
	if schema != int64(int32(schema)) || !histogram.IsKnownSchema(int32(schema)) {
		return fmt.Errorf("%w has schema %d", errLayout, schema)
	}
	if buckets > r.left() {
		return fmt.Errorf("%w has %d buckets in %d bits", errLayout, buckets, r.left())
	}
	return nil
}

// bitReader reads from the most significant bit of each byte on. Once it is short it reads zeros.
type bitReader struct {
	data  []byte
	pos   uint64 // In bits.
	short bool
}

func (r *bitReader) left() uint64 { return uint64(len(r.data))*8 - r.pos }

func (r *bitReader) skip(n uint64) {
	if n > r.left() {
		r.short = true
		n = r.left()
	}
	r.pos += n
}

// bits reads the next n bits, at most 64.
func (r *bitReader) bits(n int) uint64 {
	if uint64(n) > r.left() {
		r.short = true
		r.pos = uint64(len(r.data)) * 8
		return 0
	}
	var v uint64
	for n > 0 {
		used := int(r.pos % 8)
		take := min(8-used, n)
		b := r.data[r.pos/8] << used >> (8 - take)
		v = v<<take | uint64(b)
		r.pos += uint64(take)
		n -= take
	}
	return v
}

// width reads the prefix that says how many bits a number has: ones up to a zero, or eight ones.
func (r *bitReader) width() int {
	widths := [...]int{0, 3, 6, 9, 12, 18, 25, 56, 64}
	ones := 0
	for ones < 8 && r.bits(1) == 1 {
		ones++
	}
	return widths[ones]
}

func (r *bitReader) unsigned() uint64 { return r.bits(r.width()) }

func (r *bitReader) signed() int64 {
	n := r.width()
	v := r.bits(n)
	if n > 0 && n < 64 && v > 1<<(n-1) && bits.Len64(v) == n {
		return int64(v) - 1<<n
	}
	return int64(v)
}
