// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// metricName returns the metric name in the label bytes of a valid series. It is the
// first label of nearly every sender.
func metricName(labelBytes []byte) []byte {
	c := cursor{b: labelBytes}
	for !c.done() {
		if _, _, err := c.tag(); err != nil {
			return nil
		}
		entry, err := c.bytes()
		if err != nil {
			return nil
		}
		if name, value, err := readLabel(entry); err == nil && string(name) == model.MetricNameLabel && len(value) > 0 {
			return value
		}
	}
	return nil
}

// Metadata is what is known of a metric family.
type Metadata struct {
	Name string           `json:"name"`
	Type model.MetricType `json:"type"`
	Help string           `json:"help,omitempty"`
	Unit string           `json:"unit,omitempty"`
}

// Bounds of one metadata entry; what is longer is dropped, never an error of a write.
const (
	familyNameBytesMax = 1 << 10
	familyHelpBytesMax = 4 << 10
	familyUnitBytesMax = 128
)

// metricTypes are the types by their number, which 1.0 and 2.0 share.
func metricType(n uint64) model.MetricType {
	switch n {
	case 1:
		return model.MetricTypeCounter
	case 2:
		return model.MetricTypeGauge
	case 3:
		return model.MetricTypeHistogram
	case 4:
		return model.MetricTypeGaugeHistogram
	case 5:
		return model.MetricTypeSummary
	case 6:
		return model.MetricTypeInfo
	case 7:
		return model.MetricTypeStateset
	default:
		return model.MetricTypeUnknown
	}
}

// metricTypeNumber is the inverse of metricType.
func metricTypeNumber(t model.MetricType) byte {
	for n := range byte(8) {
		if metricType(uint64(n)) == t {
			return n
		}
	}
	return 0
}

// Field numbers of a 1.0 MetricMetadata.
const (
	fieldFamilyType = 1
	fieldFamilyName = 2
	fieldFamilyHelp = 4
	fieldFamilyUnit = 5
)

// scanMetadata reads a 1.0 MetricMetadata message.
func (b *Batch) scanMetadata(msg []byte) error {
	var typ uint64
	var name, help, unit []byte
	c := cursor{b: msg}
	for !c.done() {
		field, wire, err := c.tag()
		if err != nil {
			return err
		}
		switch field {
		case fieldFamilyType:
			typ, err = c.number(wire)
		case fieldFamilyName:
			name, err = c.message(wire)
		case fieldFamilyHelp:
			help, err = c.message(wire)
		case fieldFamilyUnit:
			unit, err = c.message(wire)
		default:
			err = c.skip(wire)
		}
		if err != nil {
			return err
		}
	}
	return b.addMetadata(string(name), typ, help, unit)
}

// addMetadata keeps an entry that is usable and within its bounds.
func (b *Batch) addMetadata(name string, typ uint64, help, unit []byte) error {
	if n := len(b.metadata) + 1; n > b.limits.SeriesPerRequest {
		return &tooLargeError{"number of metadata entries", int64(n), int64(b.limits.SeriesPerRequest)}
	}
	tooLong := len(name) > familyNameBytesMax || len(help) > familyHelpBytesMax || len(unit) > familyUnitBytesMax
	if name == "" || tooLong || !utf8.ValidString(name) || !utf8.Valid(help) || !utf8.Valid(unit) {
		return nil
	}
	b.metadata = append(b.metadata, Metadata{Name: name, Type: metricType(typ), Help: string(help), Unit: string(unit)})
	return nil
}

// inlineFamily is the metadata of a 2.0 series, before the name of its family is
// known.
type inlineFamily struct {
	series           int
	typ              uint64
	helpRef, unitRef uint32
	help, unit       []byte
}

// read reads a 2.0 Metadata message; several of them are merged.
func (f *inlineFamily) read(msg []byte) error {
	c := cursor{b: msg}
	for !c.done() {
		field, typ, err := c.tag()
		if err != nil {
			return err
		}
		var v uint64
		switch field {
		case 1:
			f.typ, err = c.number(typ)
		case 3:
			v, err = c.number(typ)
			f.helpRef = uint32(v)
		case 4:
			v, err = c.number(typ)
			f.unitRef = uint32(v)
		default:
			err = c.skip(typ)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// addFamily looks the symbols of the metadata of series i up. It returns a refusal
// when a reference is out of range.
func (b *Batch) addFamily(i int, f *inlineFamily) error {
	if b.familyKnown(b.refsOf(&b.series[i]), f) {
		return nil
	}
	var err error
	if f.helpRef != 0 {
		if f.help, err = b.symbol(f.helpRef); err != nil {
			return err
		}
	}
	if f.unitRef != 0 {
		if f.unit, err = b.symbol(f.unitRef); err != nil {
			return err
		}
	}
	if f.typ == 0 && len(f.help) == 0 && len(f.unit) == 0 {
		return nil
	}
	f.series = i
	b.families = append(b.families, *f)
	return nil
}

// familyKnown tells whether a series of the same name has brought the same metadata
// in this request, and notes that it has.
func (b *Batch) familyKnown(refs []uint32, f *inlineFamily) bool {
	for i := 0; i+1 < len(refs); i += 2 {
		if string(b.symbols[refs[i]].text) != model.MetricNameLabel {
			continue
		}
		if len(b.familySeen) != len(b.symbols) {
			b.familySeen = zeroed(b.familySeen, len(b.symbols))
		}
		seen := &b.familySeen[refs[i+1]]
		mark := 1 + (f.typ<<60 | uint64(f.helpRef)<<30 | uint64(f.unitRef)) // A hash: losing metadata is no harm.
		known := *seen == mark
		*seen = mark
		return known
	}
	return false
}

// resolveFamilies gives the metadata of 2.0 series the name of their family, once
// the labels are known. Neighbouring series of one family become one entry.
func (b *Batch) resolveFamilies() error {
	last := ""
	for _, f := range b.families {
		s := &b.series[f.series]
		if s.refused {
			continue
		}
		name := familyName(viewString(metricName(b.labelBytesOf(s, &b.scratch))), metricType(f.typ))
		if name == last {
			continue
		}
		last = strings.Clone(name)
		if err := b.addMetadata(last, f.typ, f.help, f.unit); err != nil {
			return err
		}
	}
	return nil
}

// familyName is the name under which a series' metadata is asked for: classic
// histograms and summaries are families of several series.
func familyName(series string, t model.MetricType) string {
	switch t {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram, model.MetricTypeSummary:
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if name, ok := strings.CutSuffix(series, suffix); ok {
				return name
			}
		}
	}
	return series
}

// appendMetadata appends the entry of a 1.0 request for m.
func appendMetadata(dst []byte, m Metadata) []byte {
	size := 2 + entrySize(len(m.Name)) + entrySize(len(m.Help)) + entrySize(len(m.Unit))
	dst = appendEntryHeader(dst, fieldV1Metadata, size)
	dst = append(dst, fieldFamilyType<<3|wireVarint, metricTypeNumber(m.Type))
	dst = appendEntry(dst, fieldFamilyName, []byte(m.Name))
	dst = appendEntry(dst, fieldFamilyHelp, []byte(m.Help))
	return appendEntry(dst, fieldFamilyUnit, []byte(m.Unit))
}
