// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"bytes"

	"github.com/prometheus/prometheus/model/labels"
)

// Labels as they are in a message: a field for each, with its name and its value. Every member writes those of a series in the same
// way, sorted, so that two series have the same labels exactly if these bytes are the same.

// appendLabels adds labels as they are in a message.
func appendLabels(b []byte, lset labels.Labels) []byte {
	lset.Range(func(l labels.Label) {
		n := len(l.Name) + len(l.Value)
		if n < 0x80-4 { // All lengths are of one byte, as nearly always.
			b = append(b, fieldLabels<<3|wireBytes, byte(n+4), fieldName<<3|wireBytes, byte(len(l.Name)))
			b = append(b, l.Name...)
			b = append(b, fieldValue<<3|wireBytes, byte(len(l.Value))) // #nosec G115 -- it is less than n.
			b = append(b, l.Value...)
			return
		}
		b = appendHead(b, fieldLabels, tagged(len(l.Name))+tagged(len(l.Value)))
		b = append(appendHead(b, fieldName, len(l.Name)), l.Name...)
		b = append(appendHead(b, fieldValue, len(l.Value)), l.Value...)
	})
	return b
}

// decodeLabels reads what appendLabels has written. The labels have memory of their own.
func decodeLabels(b []byte, builder *labels.ScratchBuilder) labels.Labels {
	w := wireLabels{message: b}
	return w.decode(builder)
}

// wireLabels are the labels of a series' message, of which the fields are added one by one.
type wireLabels struct {
	message []byte
	plain   bool   // They are at its start, and as appendLabels writes them.
	end     int    // Of those that were added, in the message.
	name    []byte // The last one.
}

// plainLabels returns the labels at the start of a message as far as they are plain and short, as nearly all are: those that follow are to
// be added.
func plainLabels(message []byte) wireLabels {
	w := wireLabels{message: message, plain: true}
	for {
		b := message[w.end:]
		if len(b) < 6 || b[0] != fieldLabels<<3|wireBytes || b[1] >= 0x80 || len(b) < 2+int(b[1]) || b[1] < 4 {
			return w
		}
		b = b[:2+int(b[1])]
		afterName := 4 + int(b[3])
		if b[2] != fieldName<<3|wireBytes || b[3] >= 0x80 || afterName+2 > len(b) {
			return w
		}
		name := b[4:afterName]
		if b[afterName] != fieldValue<<3|wireBytes || afterName+2+int(b[afterName+1]) != len(b) || b[afterName+1] >= 0x80 ||
			w.end > 0 && string(w.name) >= string(name) {
			return w
		}
		w.end += len(b)
		w.name = name
	}
}

// add takes up the label that the cursor stands on.
func (w *wireLabels) add(c *cursor) error {
	name, value, err := decodeLabel(c.data)
	if err != nil {
		return err
	}
	start := w.end
	w.end = len(w.message) - len(c.rest)
	size := tagged(len(name)) + tagged(len(value))
	w.plain = w.plain && size == len(c.data) && w.end-start == tagged(size) && (start == 0 || bytes.Compare(w.name, name) < 0) &&
		name != nil && value != nil && c.data[0] == fieldName<<3|wireBytes
	w.name = name
	return nil
}

// decodeLabel returns a part of the message.
func decodeLabel(message []byte) (name, value []byte, err error) {
	c := cursor{rest: message}
	for c.next() {
		switch c.field {
		case fieldName:
			name = c.data
		case fieldValue:
			value = c.data
		}
	}
	return name, value, c.err
}

// decode returns the labels in memory of their own: as far as they can be read, when the message is damaged.
func (w *wireLabels) decode(builder *labels.ScratchBuilder) labels.Labels {
	builder.Reset()
	c := cursor{rest: w.message}
	for c.next() {
		if c.field == fieldLabels {
			name, value, _ := decodeLabel(c.data)
			builder.Add(text(name), text(value))
		}
	}
	builder.Sort()
	return builder.Labels()
}

// bytes returns the labels as appendLabels writes them, which is a part of the message if that has them so.
func (w *wireLabels) bytes(builder *labels.ScratchBuilder) []byte {
	if w.plain {
		return w.message[:w.end:w.end]
	}
	return appendLabels(nil, w.decode(builder))
}
