// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
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
	if c.i < len(c.b) && c.b[c.i] < 0x80 {
		v := c.b[c.i]
		c.i++
		return uint64(v), nil
	}
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
