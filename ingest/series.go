// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "github.com/prometheus/prometheus/model/labels"

// Series is one TimeSeries message. It says where in the batch's memory things are
// and holds no pointers: a request has thousands of them, each is written, looked up
// and read once, and at one cache line each they stay in the cache beside the body.
// Once it is validated nothing of it changes, so that owners may read it at the same
// time.
type Series struct {
	// hash, slot, ref and generation are set by validation. ref is the reference in
	// the TSDB of this member that was opened as generation.
	hash       labelHash
	ref        uint64
	generation uint32
	slot       uint16
	known      bool // the cache has the series
	// refused is set when nothing of the series may go on to the owners.
	refused bool

	// message is where the body has the series, in the protocol of the body. It is
	// empty for a series of which items were dropped.
	message span
	// labels are the label entries of the 1.0 form, tags and lengths included,
	// contiguous and in the order in which they were sent. Of a 2.0 series they are
	// written out only when the cache does not know it; until then they are label
	// references.
	labels   span
	labelsIn labelPlace
	// damaged is set when the scanner has refused exemplars of it.
	damaged bool
	// below are the bits of the series key below the slot. Together they are the same for
	// the same labels, however these were sent, and rarely so for others.
	below uint8
	// uneven is set when the timestamps of the series do not strictly rise.
	uneven bool

	samples span
	// extra is one more than the place in Batch.extras of what few series have; 0 is
	// nothing.
	extra uint32
}

// span is a stretch of a buffer. Limits.withDefaults keeps all of them below 4 GiB.
type span struct{ from, n uint32 }

func spanOf(from, to int) span { return span{uint32(from), uint32(to - from)} }

func (s span) end() int { return int(s.from) + int(s.n) }

// within returns the part of buf that s is.
func within[T any](buf []T, s span) []T { return buf[s.from:s.end():s.end()] }

// labelPlace is the buffer that has the labels of a series.
type labelPlace uint8

const (
	inBody labelPlace = iota
	inArena
	inRefs // as references into the symbol table
)

// extra is what a series of floats that the cache knows has not.
type extra struct {
	histograms span
	exemplars  span
	// labels are those of a series that the cache did not know. Batch.labelsOf
	// decodes those of the others when somebody needs them.
	labels labels.Labels
}

// addExtra gives s an extra, if it has none.
func (b *Batch) addExtra(s *Series) *extra {
	if s.extra == 0 {
		b.extras = append(b.extras, extra{})
		s.extra = uint32(len(b.extras))
	}
	return &b.extras[s.extra-1]
}

func (b *Batch) samplesOf(s *Series) []Sample { return within(b.samples, s.samples) }

func (b *Batch) histogramsOf(s *Series) []histogramView {
	if s.extra == 0 {
		return nil
	}
	return within(b.histograms, b.extras[s.extra-1].histograms)
}

// exemplarsOf returns the Exemplar messages of s.
func (b *Batch) exemplarsOf(s *Series) [][]byte {
	if s.extra == 0 {
		return nil
	}
	return within(b.exemplars, b.extras[s.extra-1].exemplars)
}

// rawOf returns the message of s in remote write 1.0 form, with the extension fields
// that docs/format/push.md lists, or nil if the body does not have it in that form;
// appendSeries writes it out then.
func (b *Batch) rawOf(s *Series) []byte {
	if s.message.n == 0 || b.form != protoV1 {
		return nil
	}
	return within(b.body, s.message)
}

// labelBytesOf returns the label entries of a series. Those that have not been written
// out yet are written to buf, which may be nil; the others are views of the batch.
func (b *Batch) labelBytesOf(s *Series, buf *[]byte) []byte {
	switch {
	case s.labelsIn == inBody:
		return within(b.body, s.labels)
	case s.labelsIn == inArena:
		return within(b.arena, s.labels)
	case buf == nil:
		return b.appendLabels(nil, b.refsOf(s))
	default:
		*buf = b.appendLabels((*buf)[:0], b.refsOf(s))
		return *buf
	}
}

// refsOf returns the label references of a series that has them.
func (b *Batch) refsOf(s *Series) []uint32 { return within(b.labelRefs, s.labels) }

// labelsOf returns the labels of a valid series. The decoder is the caller's: several
// owners may read one batch at the same time.
func (b *Batch) labelsOf(s *Series, d *labelDecoder) labels.Labels {
	if s.extra != 0 {
		if ls := b.extras[s.extra-1].labels; !ls.IsEmpty() {
			return ls
		}
	}
	// The same bytes were decoded without an error before, under these limits or
	// stricter ones.
	unlimited := b.limits.between()
	ls, _, _ := d.decode(b.Tenant, b.labelBytesOf(s, &d.entries), &unlimited)
	return ls
}

// counts returns how many items of each kind s has.
func (b *Batch) counts(s *Series) Counts {
	c := Counts{Samples: int(s.samples.n)}
	if s.extra != 0 {
		x := &b.extras[s.extra-1]
		c.Histograms, c.Exemplars = int(x.histograms.n), int(x.exemplars.n)
	}
	return c
}

// hasSamples tells whether s has anything but exemplars.
func (b *Batch) hasSamples(s *Series) bool {
	return s.samples.n > 0 || s.extra != 0 && b.extras[s.extra-1].histograms.n > 0
}

// kind returns Counts with a one for the kind of the given item of s.
func (b *Batch) kind(s *Series, item uint32) Counts {
	c := b.counts(s)
	switch n := int(item); {
	case n < c.Samples:
		return Counts{Samples: 1}
	case n < c.Samples+c.Histograms:
		return Counts{Histograms: 1}
	default:
		return Counts{Exemplars: 1}
	}
}
