// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "errors"

// Field numbers of a 2.0 TimeSeries.
const (
	fieldV2LabelRefs  = 1
	fieldV2Samples    = 2
	fieldV2Histograms = 3
	fieldV2Exemplars  = 4
	fieldV2Metadata   = 5
)

var errFirstSymbol = errors.New("first symbol must be empty")

// scanV2 reads a remote write 2.0 request. The series come out in 1.0 form, rebuilt
// in the batch's arena from the symbol table. A series with bad references is
// refused alone; a body that is no such message is an error.
func (b *Batch) scanV2(body []byte) error {
	var own, foreign bool
	// Fields may come in any order, so that the symbols are collected first.
	c := cursor{b: body}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch field {
		case fieldV2Symbols:
			own = true
			var sym []byte
			if sym, err = c.message(typ); err == nil {
				err = b.addSymbol(sym)
			}
		case fieldV2Series:
			own = true
			_, err = c.message(typ)
		default:
			foreign = foreign || field == fieldV1Series || field == fieldV1Metadata
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	if foreign && !own {
		return errMismatch
	}
	if len(b.symbols) > 0 && len(b.symbols[0]) != 0 {
		return errFirstSymbol
	}
	return b.scanAllSeriesV2(body)
}

func (b *Batch) addSymbol(sym []byte) error {
	if n := len(b.symbols) + 1; n > b.limits.SymbolsPerRequest {
		return &tooLargeError{"number of symbols", int64(n), int64(b.limits.SymbolsPerRequest)}
	}
	b.symbols = append(b.symbols, sym)
	return nil
}

// scanAllSeriesV2 is the second pass over a body whose outer structure is sound.
func (b *Batch) scanAllSeriesV2(body []byte) error {
	c := cursor{b: body}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		if field != fieldV2Series {
			err = c.skip(typ)
		} else {
			var msg []byte
			if msg, err = c.message(typ); err == nil {
				err = b.scanSeriesV2(msg)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) scanSeriesV2(msg []byte) error {
	m := b.mark()
	var family inlineFamily
	b.seriesRefs = b.seriesRefs[:0]
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		if field == fieldV2LabelRefs {
			b.seriesRefs, err = readRefs(&c, typ, b.seriesRefs)
		} else {
			err = b.scanFieldV2(&c, field, typ, &family)
		}
		if err != nil {
			return err
		}
	}

	var s Series
	refused, err := asRefusal(b.expandSeries(&s, m))
	if err != nil {
		return err
	}
	if err := b.addSeries(s, m); err != nil {
		return err
	}
	i := len(b.series) - 1
	if refused == nil {
		refused, _ = asRefusal(b.addFamily(i, family))
	}
	if added := &b.series[i]; refused == nil && len(added.samples) > 0 && len(added.histograms) > 0 {
		refused = &refusal{ReasonMixedTypes, "series has both samples and histograms"}
	}
	if refused != nil {
		b.refuse(i, refused)
	}
	return nil
}

func (b *Batch) scanFieldV2(c *cursor, field int32, typ uint8, family *inlineFamily) error {
	switch field {
	case fieldV2Samples, fieldV2Histograms, fieldV2Exemplars, fieldV2Metadata:
	default:
		return c.skip(typ)
	}
	item, err := c.message(typ)
	if err != nil {
		return err
	}
	switch field {
	case fieldV2Samples:
		return b.scanSample(item, true)
	case fieldV2Histograms:
		return b.scanHistogram(item, true)
	case fieldV2Metadata:
		return family.read(item)
	default:
		// Kept in 2.0 form until expandSeries, when all of the series is known.
		if _, err := readExemplarV2(item, nil); err != nil {
			return err
		}
		b.exemplars = append(b.exemplars, item)
		return b.checkItems()
	}
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
	for m := (cursor{b: run}); !m.done(); {
		v, err := m.varint()
		if err != nil {
			return dst, errPackedSplit
		}
		dst = append(dst, uint32(v))
	}
	return dst, nil
}

// expandSeries writes the 1.0 form of the series whose references are in seriesRefs
// and whose items are in the arenas since m. It returns a refusal when the series
// has to be refused.
func (b *Batch) expandSeries(s *Series, m marks) error {
	if err := b.expandExemplars(m.exemplars); err != nil {
		return err
	}
	start := len(b.arena)
	if err := b.expandLabels(b.seriesRefs); err != nil {
		b.arena = b.arena[:start]
		return err
	}
	end := len(b.arena)
	b.appendItems(&Series{
		samples:    b.samples[m.samples:],
		histograms: b.histograms[m.histograms:],
		exemplars:  b.exemplars[m.exemplars:],
	})
	if err := b.checkExpanded(); err != nil {
		return err
	}
	s.raw = b.arena[start:len(b.arena):len(b.arena)]
	s.labelBytes = s.raw[: end-start : end-start]
	return nil
}

func (b *Batch) checkExpanded() error {
	if n := int64(len(b.arena)); n > b.limits.ExpandedBytes {
		return &tooLargeError{"size after writing out symbols", n, b.limits.ExpandedBytes}
	}
	return nil
}

// expandLabels appends the label entries that refs name to the arena. Limits are
// applied before a symbol is copied, because references are cheap and symbols long.
func (b *Batch) expandLabels(refs []uint32) error {
	if len(refs)%2 != 0 {
		return refusef(ReasonSymbols, "odd number of label references (%d)", len(refs))
	}
	if n := len(refs) / 2; n > b.limits.LabelsPerSeries {
		return refusef(ReasonLabelCount, "series has %d labels, limit %d", n, b.limits.LabelsPerSeries)
	}
	for i := 0; i < len(refs); i += 2 {
		name, err := b.symbol(refs[i])
		if err != nil {
			return err
		}
		value, err := b.symbol(refs[i+1])
		if err != nil {
			return err
		}
		if err := checkLengths(name, value, &b.limits); err != nil {
			return err
		}
		b.arena = appendLabel(b.arena, name, value)
	}
	return b.checkExpanded()
}

func (b *Batch) symbol(ref uint32) ([]byte, error) {
	if uint64(ref) >= uint64(len(b.symbols)) {
		return nil, refusef(ReasonSymbols, "symbol reference %d out of range (%d symbols)", ref, len(b.symbols))
	}
	return b.symbols[ref], nil
}
