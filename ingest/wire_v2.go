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

// scanV2 reads a remote write 2.0 request. The series keep their references into the
// symbol table: the cache knows them by the hashes of their symbols, so that the text
// of their labels is touched only where it is not known. A series with bad references
// is refused alone; a body that is no such message is an error.
func (b *Batch) scanV2(body []byte) error {
	b.body, b.form = body, protoV2
	// Fields may come in any order, so that the symbols are collected first.
	c := cursor{b: body}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		switch field {
		case fieldV2Symbols:
			var sym []byte
			if sym, err = c.message(typ); err == nil {
				err = b.addSymbol(sym)
			}
		case fieldV2Series:
			_, err = c.message(typ)
		case fieldV1Series, fieldV1Metadata:
			return errMismatch // 2.0 keeps these numbers free.
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	if len(b.symbols) > 0 && len(b.symbols[0].text) != 0 {
		return errFirstSymbol
	}
	return b.scanAllSeriesV2(body)
}

// symbol is an entry of a symbol table.
type symbol struct {
	text []byte
	hash labelHash // of the text; zero without a cache
}

func (b *Batch) addSymbol(text []byte) error {
	if n := len(b.symbols) + 1; n > b.limits.SymbolsPerRequest {
		return &tooLargeError{"number of symbols", int64(n), int64(b.limits.SymbolsPerRequest)}
	}
	s := symbol{text: text}
	if b.cache != nil {
		s.hash = b.cache.cache.hash(text)
	}
	b.symbols = append(b.symbols, s)
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
				err = b.scanSeriesV2(msg, c.i-len(msg))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scanSeriesV2 reads the TimeSeries message that begins at position at of the body.
func (b *Batch) scanSeriesV2(msg []byte, at int) error {
	m, firstRef := b.mark(), len(b.labelRefs)
	var family inlineFamily
	var pairs labelPairs
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		if field == fieldV2LabelRefs {
			err = b.readLabelRefs(&c, typ, &pairs)
		} else {
			err = b.scanFieldV2(&c, field, typ, &family)
		}
		if err != nil {
			return err
		}
	}

	refs := spanOf(firstRef, len(b.labelRefs))
	hash, err := b.checkLabelRefs(within(b.labelRefs, refs), &pairs, len(msg))
	refused, err := asRefusal(err)
	if err != nil {
		return err
	}
	before := len(b.refused)
	if err := b.expandExemplars(m.exemplars); err != nil {
		return err
	}
	s, err := b.addSeries(m)
	if err != nil {
		return err
	}
	s.message, s.labels, s.labelsIn, s.hash = spanOf(at, at+len(msg)), refs, inRefs, hash
	s.damaged = len(b.refused) > before
	return b.finishSeriesV2(refused, &family)
}

// finishSeriesV2 applies to the series that was added last what can be said only now.
func (b *Batch) finishSeriesV2(refused *refusal, family *inlineFamily) error {
	i := len(b.series) - 1
	if refused == nil {
		refused, _ = asRefusal(b.addFamily(i, family))
	}
	if c := b.counts(&b.series[i]); refused == nil && c.Samples > 0 && c.Histograms > 0 {
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

// expandLabels appends the label entries that refs name to the arena. Limits are
// applied before a symbol is copied.
func (b *Batch) expandLabels(refs []uint32) error {
	if _, err := b.checkRefs(refs, 0); err != nil {
		return err
	}
	for i := 0; i < len(refs); i += 2 {
		name, value := b.symbols[refs[i]].text, b.symbols[refs[i+1]].text
		if len(value) == 0 && len(name) > 0 {
			continue // It will be no label.
		}
		if err := checkLengths(name, value, &b.limits); err != nil {
			return err
		}
	}
	b.arena = b.appendLabels(b.arena, refs)
	return nil
}

// appendLabels appends the label entries that refs, which are known to be good, name.
func (b *Batch) appendLabels(dst []byte, refs []uint32) []byte {
	for i := 0; i < len(refs); i += 2 {
		dst = appendLabel(dst, b.symbols[refs[i]].text, b.symbols[refs[i+1]].text)
	}
	return dst
}

// expand writes the labels of a 2.0 series out, so that they can be decoded.
func (b *Batch) expand(s *Series) error {
	start := len(b.arena)
	if err := b.expandLabels(b.refsOf(s)); err != nil {
		b.arena = b.arena[:start]
		return err
	}
	s.labels, s.labelsIn = spanOf(start, len(b.arena)), inArena
	return nil
}

func (b *Batch) symbol(ref uint32) ([]byte, error) {
	if uint64(ref) >= uint64(len(b.symbols)) {
		return nil, refusef(ReasonSymbols, "symbol reference %d out of range (%d symbols)", ref, len(b.symbols))
	}
	return b.symbols[ref].text, nil
}
