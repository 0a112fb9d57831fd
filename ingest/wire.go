// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireGroup   = 3
	wireEnd     = 4
	wireFixed32 = 5
)

// skipDepthMax bounds how deeply unknown groups may nest. No known sender writes
// groups at all; the bound only keeps a hostile body from being walked for nothing.
const skipDepthMax = 100

// Errors of the scanner. All of them mean that the body is not the message it was
// declared to be; nothing of such a request is stored.
var (
	errTruncated   = errors.New("truncated message")
	errVarint      = errors.New("varint longer than 10 bytes")
	errTag         = errors.New("illegal field tag")
	errWireType    = errors.New("wrong wire type")
	errGroupEnd    = errors.New("end of a group that was not opened")
	errGroupDepth  = fmt.Errorf("groups nested deeper than %d", skipDepthMax)
	errPackedSplit = errors.New("packed field ends inside a value")
)

// cursor reads protobuf from a byte slice. It never reads outside of it, never
// allocates and never recurses, and it believes no length before having compared it
// with what is left. What bytes returns is a view of the slice.
type cursor struct {
	b []byte
	i int
}

func (c *cursor) done() bool { return c.i >= len(c.b) }

// varint reads a base-128 number. Like the generated decoders it takes up to ten
// bytes and drops what does not fit 64 bits.
func (c *cursor) varint() (uint64, error) {
	b, i := c.b, c.i
	if i < len(b) {
		v := uint64(b[i])
		if v < 0x80 {
			c.i = i + 1
			return v, nil
		}
		if i+1 < len(b) && b[i+1] < 0x80 {
			c.i = i + 2
			return v&0x7f | uint64(b[i+1])<<7, nil
		}
	}
	return c.longVarint()
}

// longVarint is varint for a number of any length. Those of up to eight bytes, as
// timestamps are, take no branch for each of them.
func (c *cursor) longVarint() (uint64, error) {
	left := len(c.b) - c.i
	if len(c.b) < 8 || left <= 0 {
		return c.anyVarint()
	}
	var v uint64
	if left >= 8 {
		v = binary.LittleEndian.Uint64(c.b[c.i:])
	} else {
		v = binary.LittleEndian.Uint64(c.b[len(c.b)-8:]) >> (64 - 8*left) // Zeros follow it.
	}
	const last = 0x8080808080808080 // The bit that is not set in the last byte.
	ends := ^v & last
	n := bits.TrailingZeros64(ends)/8 + 1
	if n > min(left, 8) {
		return c.anyVarint()
	}
	c.i += n
	v &= (ends ^ (ends - 1)) &^ last // What follows the number is not of it.
	v = v&0x007f007f007f007f | v&0x7f007f007f007f00>>1
	v = v&0x00003fff00003fff | v&0x3fff00003fff0000>>2
	return v&0xfffffff | v>>32<<28, nil
}

func (c *cursor) anyVarint() (uint64, error) {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if c.i >= len(c.b) {
			return 0, errTruncated
		}
		b := c.b[c.i]
		c.i++
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, errVarint
}

func (c *cursor) fixed64() (uint64, error) {
	if len(c.b)-c.i < 8 {
		return 0, errTruncated
	}
	v := binary.LittleEndian.Uint64(c.b[c.i:])
	c.i += 8
	return v, nil
}

// bytes reads a length and returns a view of that many bytes.
func (c *cursor) bytes() ([]byte, error) {
	if c.i < len(c.b) {
		if n := int(c.b[c.i]); n < 0x80 && n < len(c.b)-c.i {
			from := c.i + 1
			c.i = from + n
			return c.b[from:c.i:c.i], nil
		}
	}
	return c.longBytes()
}

// longBytes is bytes for any length.
func (c *cursor) longBytes() ([]byte, error) {
	n, err := c.varint()
	if err != nil {
		return nil, err
	}
	if n > uint64(len(c.b)-c.i) {
		return nil, errTruncated
	}
	from := c.i
	c.i += int(n)
	return c.b[from:c.i:c.i], nil
}

// tag reads the key of the next field.
func (c *cursor) tag() (field int32, typ uint8, err error) {
	if c.i < len(c.b) {
		if key := c.b[c.i]; key < 0x80 && key >= 1<<3 && key&7 != wireEnd {
			c.i++
			return int32(key >> 3), key & 7, nil
		}
	}
	return c.longTag()
}

// longTag is tag for a key of any length.
func (c *cursor) longTag() (field int32, typ uint8, err error) {
	key, err := c.varint()
	if err != nil {
		return 0, 0, err
	}
	// Truncation to 32 bits is what the generated decoders do with huge numbers.
	field, typ = int32(key>>3), uint8(key&7)
	if typ == wireEnd {
		return 0, 0, errGroupEnd
	}
	if field <= 0 {
		return 0, 0, errTag
	}
	return field, typ, nil
}

// message reads a length-delimited field whose tag had type typ.
func (c *cursor) message(typ uint8) ([]byte, error) {
	if typ != wireBytes {
		return nil, errWireType
	}
	return c.bytes()
}

// number reads a varint field whose tag had type typ.
func (c *cursor) number(typ uint8) (uint64, error) {
	if typ != wireVarint {
		return 0, errWireType
	}
	return c.varint()
}

// double reads a fixed64 field whose tag had type typ.
func (c *cursor) double(typ uint8) (uint64, error) {
	if typ != wireFixed64 {
		return 0, errWireType
	}
	return c.fixed64()
}

// skip passes over the value of an unknown field.
func (c *cursor) skip(typ uint8) error {
	depth := 0
	for {
		switch typ {
		case wireVarint:
			if _, err := c.varint(); err != nil {
				return err
			}
		case wireFixed64:
			if err := c.advance(8); err != nil {
				return err
			}
		case wireFixed32:
			if err := c.advance(4); err != nil {
				return err
			}
		case wireBytes:
			if _, err := c.bytes(); err != nil {
				return err
			}
		case wireGroup:
			if depth++; depth > skipDepthMax {
				return errGroupDepth
			}
		case wireEnd:
			depth-- // Never below zero: tag refuses it outside of a group.
		default:
			return errWireType
		}
		if depth == 0 {
			return nil
		}
		key, err := c.varint()
		if err != nil {
			return err
		}
		typ = uint8(key & 7)
	}
}

func (c *cursor) advance(n int) error {
	if len(c.b)-c.i < n {
		return errTruncated
	}
	c.i += n
	return nil
}

// zigzag decodes the sint32 and sint64 form.
func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// appendEntry appends a length-delimited field; field must be below 16, so that its
// tag is one byte.
func appendEntry(dst []byte, field int, payload []byte) []byte {
	return append(appendEntryHeader(dst, field, len(payload)), payload...)
}

func appendEntryHeader(dst []byte, field, size int) []byte {
	dst = append(dst, byte(field<<3|wireBytes))
	return binary.AppendUvarint(dst, uint64(size))
}

// entrySize is the number of bytes that appendEntry adds.
func entrySize(payload int) int { return 1 + uvarintSize(uint64(payload)) + payload }

func uvarintSize(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
