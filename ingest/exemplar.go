// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/exemplar"
)

// scanExemplar checks the structure of a 1.0 Exemplar message and adds a view of it
// to the arena.
func (b *Batch) scanExemplar(msg []byte) error {
	if _, _, err := walkExemplar(msg, nil); err != nil {
		return err
	}
	b.exemplars = append(b.exemplars, msg)
	return b.checkItems()
}

// walkExemplar reads an Exemplar message and calls label, if it is not nil, for
// each label of it.
func walkExemplar(msg []byte, label func(name, value []byte) error) (value float64, t int64, err error) {
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return 0, 0, err
		}
		var v uint64
		switch field {
		case fieldLabels:
			var entry, name, val []byte
			if entry, err = c.message(typ); err != nil {
				return 0, 0, err
			}
			if name, val, err = readLabel(entry); err == nil && label != nil {
				err = label(name, val)
			}
		case 2:
			v, err = c.double(typ)
			value = float64Of(v)
		case 3:
			v, err = c.number(typ)
			t = int64(v)
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return value, t, nil
}

// checkExemplar says what is wrong with an exemplar, in a way that does not depend
// on the state of any owner: the same exemplar gets the same answer again.
func checkExemplar(msg []byte, maxTime int64) error {
	runes := 0
	_, t, err := walkExemplar(msg, func(name, value []byte) error {
		if len(name) == 0 || !utf8.Valid(name) || !utf8.Valid(value) {
			return fmt.Errorf("exemplar label %s is not valid UTF-8 or has no name", quote(name))
		}
		runes += utf8.RuneCount(name) + utf8.RuneCount(value)
		if runes > exemplar.ExemplarMaxLabelSetLength {
			return fmt.Errorf("exemplar labels exceed %d characters", exemplar.ExemplarMaxLabelSetLength)
		}
		return nil
	})
	if err == nil && t > maxTime {
		err = fmt.Errorf("exemplar timestamp %d is too far in the future", t)
	}
	return err
}

// decodeExemplar returns the exemplar as a value that shares no memory with msg.
func (d *labelDecoder) decodeExemplar(msg []byte) (exemplar.Exemplar, error) {
	d.pairs = d.pairs[:0]
	value, t, err := walkExemplar(msg, func(name, value []byte) error {
		d.pairs = append(d.pairs, labelPair{name, value})
		return nil
	})
	if err != nil {
		return exemplar.Exemplar{}, err
	}
	d.sort()
	return exemplar.Exemplar{Labels: d.build(), Value: value, Ts: t, HasTs: t != 0}, nil
}
