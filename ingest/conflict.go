// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/histogram"
)

// A request can have two values for one time of a series: in one TimeSeries or in two
// with the same labels. A TSDB compares what it appends with what was committed before,
// so that it takes both and keeps the first, without a word. So they are looked for
// here, before any owner is asked, and all owners are given the same: the first is kept
// and one with another value is refused. The same value again is no conflict.
//
// Two requests that are under way at the same time are not compared; what they make of
// two copies is settled when these are read.

// refuseConflicts refuses the samples and histograms of the valid series for whose time
// the request had another value before.
func (b *Batch) refuseConflicts() {
	if len(b.valid) == 0 {
		return
	}
	b.repeats.find(b)
	if !b.repeats.uneven {
		return // Nearly always.
	}
	for _, group := range b.unevenGroups() {
		b.settleGroup(group)
	}
	b.valid = slices.DeleteFunc(b.valid, func(i uint32) bool { return b.series[i].refused })
}

// overlaps tells whether a repeat begins before the end of what it repeats.
func (b *Batch) overlaps(r repeat) bool {
	return b.firstTime(&b.series[r.at]) <= b.lastTime(&b.series[r.before])
}

// firstTime returns the time of the first item of a series that has samples.
func (b *Batch) firstTime(s *Series) int64 {
	if s.samples.n > 0 {
		return b.samples[s.samples.from].T
	}
	return b.histogramsOf(s)[0].t
}

// lastTime returns the time of the last item of a series that has samples.
func (b *Batch) lastTime(s *Series) int64 {
	if h := b.histogramsOf(s); len(h) > 0 {
		return h[len(h)-1].t
	}
	return b.samples[s.samples.end()-1].T
}

// unevenGroups returns the entries of each series whose times do not strictly rise, in
// the order of the request.
func (b *Batch) unevenGroups() [][]uint32 {
	first := make(map[uint32]uint32, len(b.repeats.repeats))
	head := func(i uint32) uint32 { // the first entry of the series
		if h, ok := first[i]; ok {
			return h
		}
		return i
	}
	uneven := map[uint32]bool{}
	for _, r := range b.repeats.repeats {
		first[r.at] = head(r.before)
		if b.overlaps(r) {
			uneven[first[r.at]] = true
		}
	}
	for _, i := range b.valid {
		if b.series[i].uneven {
			uneven[head(i)] = true
		}
	}
	var groups [][]uint32
	place := map[uint32]int{}
	for _, i := range b.valid {
		h := head(i)
		if !uneven[h] || !b.hasSamples(&b.series[i]) {
			continue
		}
		if _, ok := place[h]; !ok {
			place[h] = len(groups)
			groups = append(groups, nil)
		}
		groups[place[h]] = append(groups[place[h]], i)
	}
	return groups
}

// timedItem is an item of a series in the order of time.
type timedItem struct {
	t      int64
	series uint32
	item   uint32 // samples first, then histograms
}

// settleGroup refuses items of the entries of one series.
func (b *Batch) settleGroup(group []uint32) {
	var items []timedItem
	for _, i := range group {
		s := &b.series[i]
		n := uint32(0)
		for _, smp := range b.samplesOf(s) {
			items = append(items, timedItem{smp.T, i, n})
			n++
		}
		for _, h := range b.histogramsOf(s) {
			items = append(items, timedItem{h.t, i, n})
			n++
		}
	}
	// Of items with one time the first stays first.
	slices.SortStableFunc(items, func(x, y timedItem) int { return cmp.Compare(x.t, y.t) })
	var refused []timedItem
	for from := 0; from < len(items); {
		to := from + 1
		for to < len(items) && items[to].t == items[from].t {
			to++
		}
		if to-from > 1 {
			refused = b.appendConflicts(refused, items[from:to])
		}
		from = to
	}
	slices.SortFunc(refused, func(x, y timedItem) int {
		return cmp.Or(cmp.Compare(x.series, y.series), cmp.Compare(x.item, y.item))
	})
	for len(refused) > 0 {
		n := 1
		for n < len(refused) && refused[n].series == refused[0].series {
			n++
		}
		b.dropConflicts(refused[:n])
		refused = refused[n:]
	}
}

// appendConflicts appends those of the items, all of one time, that differ from the
// first. Histograms that are none are left to the owners, who say what is wrong.
func (b *Batch) appendConflicts(dst []timedItem, items []timedItem) []timedItem {
	var kept *itemValue
	for _, it := range items {
		v, ok := b.valueOf(it)
		switch {
		case !ok:
		case kept == nil:
			kept = &v
		case !kept.equal(&v):
			dst = append(dst, it)
		}
	}
	return dst
}

// itemValue is the value of a sample or histogram.
type itemValue struct {
	bits     uint64 // of a float
	integer  *histogram.Histogram
	floating *histogram.FloatHistogram
}

// valueOf returns the value of an item. It is not ok for a histogram that is none.
func (b *Batch) valueOf(it timedItem) (v itemValue, ok bool) {
	s := &b.series[it.series]
	if it.item < s.samples.n {
		return itemValue{bits: math.Float64bits(b.samplesOf(s)[it.item].V)}, true
	}
	var err error
	v.integer, v.floating, err = b.histogramsOf(s)[it.item-s.samples.n].decode()
	return v, err == nil
}

// equal tells whether two values are the same to a TSDB.
func (v *itemValue) equal(o *itemValue) bool {
	switch {
	case v.integer != nil:
		return v.integer.Equals(o.integer)
	case v.floating != nil:
		return v.floating.Equals(o.floating)
	default:
		return o.integer == nil && o.floating == nil && v.bits == o.bits
	}
}

// dropConflicts takes items, which are in ascending order, out of their series.
func (b *Batch) dropConflicts(items []timedItem) {
	i := int(items[0].series)
	s := &b.series[i]
	n := uint32(0)
	keep := func(kind Counts) bool {
		at := n
		n++
		if len(items) == 0 || items[0].item != at {
			return true
		}
		b.refuseItems(i, kind, &refusal{ReasonDuplicate, fmt.Sprintf("timestamp %d: duplicate timestamp, different value in one request", items[0].t)})
		items = items[1:]
		return false
	}
	s.samples.n = keepIf(b.samplesOf(s), func(*Sample) bool { return keep(Counts{Samples: 1}) })
	if s.extra != 0 {
		x := &b.extras[s.extra-1]
		x.histograms.n = keepIf(b.histogramsOf(s), func(*histogramView) bool { return keep(Counts{Histograms: 1}) })
	}
	s.message = span{}                   // It has other items now.
	s.refused = b.counts(s).total() == 0 // Each item for a reason of its own.
}
