// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// exemplarV2 is a 2.0 Exemplar.
type exemplarV2 struct {
	refs  []uint32
	value float64
	t     int64
}

// readExemplarV2 reads a 2.0 Exemplar; its references are appended to refs.
func readExemplarV2(msg []byte, refs []uint32) (exemplarV2, error) {
	e := exemplarV2{refs: refs}
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return e, err
		}
		var v uint64
		switch field {
		case 1:
			e.refs, err = readRefs(&c, typ, e.refs)
		case 2:
			v, err = c.double(typ)
			e.value = float64Of(v)
		case 3:
			v, err = c.number(typ)
			e.t = int64(v)
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return e, err
		}
	}
	return e, nil
}

// expandExemplars turns the exemplars in the arena from position from on into 1.0
// form. One with bad references is refused alone.
func (b *Batch) expandExemplars(from int) error {
	kept := b.exemplars[:from]
	for _, msg := range b.exemplars[from:] {
		start := len(b.arena)
		refused, err := asRefusal(b.expandExemplar(msg))
		if err != nil {
			return err
		}
		if refused != nil {
			b.arena = b.arena[:start]
			b.received.Exemplars++
			b.refuseItems(len(b.series), Counts{Exemplars: 1}, refused)
			continue
		}
		kept = append(kept, b.arena[start:len(b.arena):len(b.arena)])
	}
	b.exemplars = kept
	return nil
}

func (b *Batch) expandExemplar(msg []byte) error {
	e, err := readExemplarV2(msg, b.exemplarRefs[:0])
	b.exemplarRefs = e.refs
	if err != nil {
		return err
	}
	if err := b.expandLabels(e.refs); err != nil {
		return err
	}
	b.arena = appendExemplarValue(b.arena, e.value, e.t)
	return nil
}
