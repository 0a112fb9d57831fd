// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// frameDecoder adds the series of messages to a set. Chunks and labels are not copied: they live as long as the message. Of a set in
// no order labels are not even decoded: mostly another holder has the series too, and its labels are at hand there (see collector).
type frameDecoder struct {
	set     *bufferedSet
	builder labels.ScratchBuilder
	arena   []chunks.Meta       // Free room behind its length.
	xors    []chunkenc.XORChunk // Likewise.
}

func (d *frameDecoder) decode(message []byte) error {
	c := cursor{rest: message}
	for c.next() {
		if c.field != fieldSeries {
			continue
		}
		if err := d.series(c.data); err != nil {
			return err
		}
	}
	return c.err
}

func (d *frameDecoder) series(message []byte) error {
	if cap(d.arena)-len(d.arena) == 0 {
		d.arena = d.set.memory.roomForMetas()
	}
	found := d.arena[len(d.arena):]
	var err error
	wire := plainLabels(message)
	c := cursor{rest: message[wire.end:]}
	for err == nil && c.next() {
		switch c.field {
		case fieldLabels:
			err = wire.add(&c)
		case fieldChunks:
			var meta chunks.Meta
			meta, err = d.chunk(c.data)
			found = append(found, meta)
			d.set.newest = max(d.set.newest, meta.MaxTime)
		}
	}
	if err == nil {
		err = c.err
	}
	if err != nil {
		return fmt.Errorf("series %s: %w", wire.decode(&d.builder), err)
	}
	if len(d.arena)+len(found) <= cap(d.arena) { // Else they have moved to memory of their own.
		d.arena = d.arena[:len(d.arena)+len(found)]
	}
	found = found[:len(found):len(found)]
	if d.set.sorted {
		return d.set.add(wire.decode(&d.builder), found)
	}
	d.set.addWire(wire.bytes(&d.builder), found)
	return nil
}

// chunk refuses what an iterator would read beyond: every encoding starts with a count of two bytes.
func (d *frameDecoder) chunk(message []byte) (meta chunks.Meta, err error) {
	const headerBytes = 3 // Count of samples, and flags of a histogram or the first bits of a float.
	var encoding uint64
	var stream []byte
	c := cursor{rest: message}
	for c.next() {
		switch c.field {
		case fieldMinTime:
			meta.MinTime = int64(c.n) // #nosec G115 -- that is how negative numbers are written.
		case fieldMaxTime:
			meta.MaxTime = int64(c.n) // #nosec G115 -- likewise.
		case fieldEncoding:
			encoding = c.n
		case fieldData:
			stream = c.data
		}
	}
	switch {
	case c.err != nil:
		return meta, c.err
	case len(stream) < headerBytes:
		return meta, fmt.Errorf("chunk of %d bytes", len(stream))
	case encoding > 0xff:
		return meta, fmt.Errorf("chunk of encoding %d", encoding)
	case encoding == uint64(chunkenc.EncXOR): // As nearly all are.
		meta.Chunk = d.xor(stream)
		return meta, nil
	}
	meta.Chunk, err = chunkenc.FromData(chunkenc.Encoding(encoding), stream)
	return meta, err
}

// xor returns a chunk of floats, which is allocated together with others.
func (d *frameDecoder) xor(stream []byte) *chunkenc.XORChunk {
	if len(d.xors) == cap(d.xors) {
		d.xors = d.set.memory.roomForXORs()
	}
	d.xors = d.xors[:len(d.xors)+1]
	x := &d.xors[len(d.xors)-1]
	x.Reset(stream)
	return x
}

// cursor walks the fields of a message.
type cursor struct {
	rest []byte // What comes after the current field.
	err  error

	field int    // The current one; negative if its number is too large to be one of ours.
	n     uint64 // Its number, or how many bytes it has.
	data  []byte // These bytes, which are a part of the message; nil of a number.
}

// next moves to the next field. It returns false at the end of the message, or where that is damaged.
func (c *cursor) next() bool {
	if len(c.rest) == 0 {
		return false
	}
	var tag uint64
	var head int
	if len(c.rest) > 1 && c.rest[0]|c.rest[1] < 0x80 { // As nearly all are.
		tag, c.n, head = uint64(c.rest[0]), uint64(c.rest[1]), 2
	} else {
		var size, used int
		if tag, size = binary.Uvarint(c.rest); size > 0 {
			c.n, used = binary.Uvarint(c.rest[size:])
		}
		if size <= 0 || used <= 0 {
			return c.damaged()
		}
		head = size + used
	}
	c.rest, c.data = c.rest[head:], nil
	c.field = int(tag >> 3) // #nosec G115 -- numbers of fields are small, and others unknown.
	switch tag & 7 {
	case wireVarint:
	case wireBytes:
		if c.n > uint64(len(c.rest)) {
			return c.damaged()
		}
		c.data, c.rest = c.rest[:c.n:c.n], c.rest[c.n:]
	default: // The messages have no others.
		return c.damaged()
	}
	return true
}

func (c *cursor) damaged() bool {
	c.rest, c.err = nil, errFrame
	return false
}

// text is bytes as a string without a copy: nobody writes to a message.
func text(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) // #nosec G103 -- for that reason.
}
