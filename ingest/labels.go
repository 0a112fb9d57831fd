// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"slices"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// labelDecoder turns raw label bytes into canonical labels: sorted by name, without
// empty values, valid. It reuses its memory from series to series.
type labelDecoder struct {
	pairs   []labelPair
	builder labels.ScratchBuilder
	hashBuf []byte
	entries []byte // label entries that were written out to be decoded
}

// labelPair is a view of one label.
type labelPair struct{ name, value []byte }

func newLabelDecoder() labelDecoder {
	d := labelDecoder{builder: labels.NewScratchBuilder(32)}
	d.builder.SetUnsafeAdd(true) // Labels must not keep views of a request.
	return d
}

// decode reads the label entries of a series and returns its labels, which share no
// memory with raw, and its key. A refusal means that the series is not a legal one,
// any other error that the bytes are no label entries.
func (d *labelDecoder) decode(tenant string, raw []byte, limits *Limits) (labels.Labels, uint64, error) {
	n, err := d.read(raw, limits.LabelsPerSeries)
	if err != nil {
		return labels.EmptyLabels(), 0, err
	}
	if n > limits.LabelsPerSeries {
		return labels.EmptyLabels(), 0, tooManyLabels(n, limits)
	}
	if err := d.check(limits); err != nil {
		return labels.EmptyLabels(), 0, err
	}
	key, buf := seriesKey(d.hashBuf[:0], tenant, d.pairs)
	d.hashBuf = buf
	return d.build(), key, nil
}

// read fills pairs with the labels that have a value, sorted by name. It keeps at
// most limit of them, for a label can take two bytes and many times that here, and
// returns how many were sent.
func (d *labelDecoder) read(raw []byte, limit int) (n int, err error) {
	d.pairs = d.pairs[:0]
	c := cursor{b: raw}
	for !c.done() {
		// The scanner found these entries; their tags are known to be label tags.
		if _, _, err := c.tag(); err != nil {
			return 0, err
		}
		entry, err := c.bytes()
		if err != nil {
			return 0, err
		}
		name, value, err := readLabel(entry)
		if err != nil {
			return 0, err
		}
		n++
		// A label without a value is the same as none, if it has a name at all.
		if len(value) == 0 && len(name) > 0 {
			continue
		}
		if n <= limit {
			d.pairs = append(d.pairs, labelPair{name, value})
		}
	}
	d.sort()
	return n, nil
}

func (d *labelDecoder) sort() {
	byName := func(a, b labelPair) int { return bytes.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(d.pairs, byName) {
		slices.SortStableFunc(d.pairs, byName)
	}
}

// readLabel reads a Label message.
func readLabel(entry []byte) (name, value []byte, err error) {
	c := cursor{b: entry}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return nil, nil, err
		}
		switch field {
		case 1:
			name, err = c.message(typ)
		case 2:
			value, err = c.message(typ)
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return name, value, nil
}

// check applies the rules that every stored series fulfils to the sorted pairs.
func (d *labelDecoder) check(limits *Limits) error {
	named := false
	for i, p := range d.pairs {
		if err := checkLengths(p.name, p.value, limits); err != nil {
			return err
		}
		switch {
		case len(p.name) == 0:
			return refusef(ReasonLabelNameEmpty, "empty label name")
		case !utf8.Valid(p.name) || !utf8.Valid(p.value):
			return refusef(ReasonLabelUTF8, "label %s is not valid UTF-8", quote(p.name))
		case i > 0 && bytes.Equal(p.name, d.pairs[i-1].name):
			return refusef(ReasonLabelDuplicate, "duplicate label %s", quote(p.name))
		}
		named = named || string(p.name) == model.MetricNameLabel
	}
	if !named {
		return refusef(ReasonMissingName, "no metric name")
	}
	return nil
}

func tooManyLabels(n int, limits *Limits) error {
	return refusef(ReasonLabelCount, "series has %d labels, limit %d %s", n, limits.LabelsPerSeries, raise(LimitLabels))
}

func checkLengths(name, value []byte, limits *Limits) error {
	if n := len(name); n > limits.LabelNameBytes {
		return refusef(ReasonLabelNameLength, "label name %s has %d bytes, limit %d %s", quote(name), n, limits.LabelNameBytes, raise(LimitLabelName))
	}
	if n := len(value); n > limits.LabelValueBytes {
		return refusef(ReasonLabelValueLength, "value of label %s has %d bytes, limit %d %s", quote(name), n, limits.LabelValueBytes, raise(LimitLabelValue))
	}
	return nil
}

func (d *labelDecoder) build() labels.Labels {
	d.builder.Reset()
	for _, p := range d.pairs {
		if len(p.value) > 0 {
			d.builder.Add(viewString(p.name), viewString(p.value))
		}
	}
	return d.builder.Labels()
}

// viewString is b as a string without a copy; it must not outlive b.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// quoteBytesMax bounds how much of one text of a sender goes into a message.
const quoteBytesMax = 64

// escape shows a sender's text: bounded, and escaped so that it cannot forge lines
// of a log or of an answer.
func escape(b []byte) string {
	tail := ""
	if len(b) > quoteBytesMax {
		b, tail = b[:quoteBytesMax], "..."
	}
	q := strconv.Quote(string(b))
	return q[1:len(q)-1] + tail
}

func quote(b []byte) string { return `"` + escape(b) + `"` }
