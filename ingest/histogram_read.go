// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"encoding/binary"

	"github.com/prometheus/prometheus/model/histogram"
)

// histogramReader reads a Histogram message. It checks the structure and counts the
// elements into view; with fill, when the view is known already, it fills parts and
// writes nothing to the view, which others may read at the same time.
type histogramReader struct {
	view   *histogramView
	parts  histogramParts
	fill   bool
	strict bool
}

func (r *histogramReader) read() error {
	c := cursor{b: r.view.raw}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch field {
		case histNegativeSpans, histPositiveSpans:
			err = r.span(&c, typ, sideOf(field, histNegativeSpans))
		case histNegativeDeltas, histPositiveDeltas:
			err = r.deltas(&c, typ, sideOf(field, histNegativeDeltas))
		case histNegativeCounts:
			err = r.doubles(&c, typ, &r.view.counts[negative], r.countsOut(negative))
		case histPositiveCounts:
			err = r.doubles(&c, typ, &r.view.counts[positive], r.countsOut(positive))
		case histCustomValues:
			err = r.doubles(&c, typ, &r.view.customs, &r.parts.customs)
		default:
			err = r.scalar(&c, field, typ)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func sideOf(field, negativeField int32) int {
	if field == negativeField {
		return negative
	}
	return positive
}

// scalar reads a field that occurs once. When it is repeated the last one wins.
func (r *histogramReader) scalar(c *cursor, field int32, typ uint8) (err error) {
	p := &r.parts
	var v uint64
	switch field {
	case histCountInt:
		p.countInt, err = c.number(typ)
		r.setFloat(false)
	case histCountFloat:
		v, err = c.double(typ)
		p.countFloat = float64Of(v)
		r.setFloat(true)
	case histSum:
		v, err = c.double(typ)
		p.sum = float64Of(v)
	case histSchema:
		v, err = c.number(typ)
		p.schema = int32(zigzag(v & 0xffffffff))
	case histZeroThreshold:
		v, err = c.double(typ)
		p.zeroThreshold = float64Of(v)
	case histZeroCountInt:
		p.zeroInt, err = c.number(typ)
		p.zeroFloat = 0 // The two are a oneof.
	case histZeroCountFloat:
		v, err = c.double(typ)
		p.zeroFloat, p.zeroInt = float64Of(v), 0
	case histResetHint:
		v, err = c.number(typ)
		p.hint = resetHint(v)
	case histTimestamp:
		v, err = c.number(typ)
		if !r.fill {
			r.view.t = int64(v)
		}
	case fieldHistogramStart:
		if typ != wireVarint && !r.strict {
			return c.skip(typ)
		}
		v, err = c.number(typ)
		if !r.fill {
			r.view.st = int64(v)
		}
	default:
		err = c.skip(typ)
	}
	return err
}

// setFloat notes the kind of the count. While filling it is settled: a message that
// has both kinds must not change its mind half-way.
func (r *histogramReader) setFloat(is bool) {
	if !r.fill {
		r.view.isFloat = is
	}
}

func (r *histogramReader) span(c *cursor, typ uint8, side int) error {
	msg, err := c.message(typ)
	if err != nil {
		return err
	}
	var s histogram.Span
	m := cursor{b: msg}
	for !m.done() {
		field, typ, err := m.tag()
		if err != nil {
			return err
		}
		var v uint64
		switch field {
		case 1:
			v, err = m.number(typ)
			s.Offset = int32(zigzag(v & 0xffffffff))
		case 2:
			v, err = m.number(typ)
			s.Length = uint32(v)
		default:
			err = m.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	if r.fill {
		r.parts.spans[side] = append(r.parts.spans[side], s)
		return nil
	}
	r.view.spans[side]++
	return nil
}

// deltas reads one delta, or a packed run of them.
func (r *histogramReader) deltas(c *cursor, typ uint8, side int) error {
	add := func(v uint64) {
		switch {
		case !r.fill:
			r.view.deltas[side]++
		case !r.view.isFloat:
			r.parts.deltas[side] = append(r.parts.deltas[side], zigzag(v))
		}
	}
	if typ == wireVarint {
		v, err := c.varint()
		if err == nil {
			add(v)
		}
		return err
	}
	run, err := c.message(typ)
	if err != nil {
		return err
	}
	for m := (cursor{b: run}); !m.done(); {
		v, err := m.varint()
		if err != nil {
			return errPackedSplit
		}
		add(v)
	}
	return nil
}

// doubles reads one double, or a packed run of them. While filling, a nil dst drops
// them.
func (r *histogramReader) doubles(c *cursor, typ uint8, count *int, dst *[]float64) error {
	var run []byte
	if typ == wireFixed64 {
		if len(c.b)-c.i < 8 {
			return errTruncated
		}
		run = c.b[c.i : c.i+8]
		c.i += 8
	} else {
		var err error
		if run, err = c.message(typ); err != nil {
			return err
		}
	}
	if len(run)%8 != 0 {
		return errPackedSplit
	}
	if !r.fill {
		*count += len(run) / 8
		return nil
	}
	for ; dst != nil && len(run) > 0; run = run[8:] {
		*dst = append(*dst, float64Of(binary.LittleEndian.Uint64(run)))
	}
	return nil
}

// countsOut is where the absolute counts of a side go; nowhere for an integer
// histogram.
func (r *histogramReader) countsOut(side int) *[]float64 {
	if !r.view.isFloat {
		return nil
	}
	return &r.parts.counts[side]
}
