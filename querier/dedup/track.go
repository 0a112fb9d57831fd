// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math"
	"sort"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// record is one stored sample or stale marker of one replica.
type record struct {
	t, st int64
	f     float64 // the value; of a histogram its count, which is what skew compares
	kind  chunkenc.ValueType
	stale bool
	// Set for histograms that were read ahead of the one the iterator stands on.
	h  *histogram.Histogram
	fh *histogram.FloatHistogram
}

// track is a window over the records of one replica, in time order: from one margin
// before the floor, which only moves forward, to as far ahead as was needed. Records
// are named by their absolute index, which stays valid while the window slides.
//
// A track is opened when it is first asked for anything: a replica that is never
// needed is never decoded.
type track struct {
	rule   rule
	series storage.Series
	floor  int64 // records at or before it were passed; they are kept for their times only

	it     chunkenc.Iterator // of an earlier series until opened is set
	opened bool
	done   bool
	// noneAfter is a time after which it is known to have no record; maxTime if nothing is known.
	noneAfter int64
	err       error

	recs []record
	base int // absolute index of recs[0]

	// No two neighbouring values up to steadyTo and within reach are nearer to each other
	// than steadyMin. Not known if steadyTo is -1. See steadily.
	steadyTo  int
	steadyMin int64

	// The histogram the iterator stands on; reused from one to the next.
	h  histogram.Histogram
	fh histogram.FloatHistogram
}

// reset makes the track one over series, not yet opened. Buffers are reused.
func (tr *track) reset(r rule, series storage.Series) {
	tr.rule, tr.series = r, series
	tr.floor, tr.opened, tr.done, tr.err = math.MinInt64, false, false, nil
	tr.recs, tr.base, tr.steadyTo = tr.recs[:0], 0, -1
	tr.noneAfter = maxTime
}

// position moves the floor forward, and opens the track or jumps if that is far.
// It is cheap when there is nothing to do and comes before every other use.
func (tr *track) position(floor int64) {
	tr.floor = max(tr.floor, floor)
	from := minus(tr.floor, tr.rule.margin)
	switch {
	case !tr.opened:
		tr.it = tr.series.Iterator(tr.it)
		tr.opened = true
	case tr.done || tr.at(tr.end()-1).t >= from:
		return
	}
	tr.base, tr.recs = tr.end(), tr.recs[:0]
	tr.push(tr.it.Seek(from))
}

// mayHaveAfter reports whether there may be a record after t, for a track that is not open. At the newest end of the data nobody has one, and who
// is asked for no more than that need not be read from one margin before.
func (tr *track) mayHaveAfter(t int64) bool {
	switch {
	case t >= tr.noneAfter:
		return false
	case t == minTime: // Whoever has anything.
		return true
	}
	tr.it = tr.series.Iterator(tr.it)
	if tr.it.Seek(t+1) != chunkenc.ValNone || tr.it.Err() != nil {
		return true
	}
	tr.noneAfter = t
	return false
}

// end is the index after the last record that was read.
func (tr *track) end() int { return tr.base + len(tr.recs) }

// at returns record i. The pointer is valid until the next record is read.
func (tr *track) at(i int) *record { return &tr.recs[i-tr.base] }

// have reports whether there is a record i, reading ahead if it takes that.
func (tr *track) have(i int) bool {
	for i >= tr.end() {
		if !tr.load() {
			return false
		}
	}
	return true
}

// haveAfter reports whether there is a record after t, reading ahead if it takes that.
func (tr *track) haveAfter(t int64) bool {
	for len(tr.recs) == 0 || tr.recs[len(tr.recs)-1].t <= t {
		if !tr.load() {
			return false
		}
	}
	return true
}

// search returns the index of the first record after t among those that were read.
func (tr *track) search(t int64) int {
	return tr.base + sort.Search(len(tr.recs), func(i int) bool { return tr.recs[i].t > t })
}

// nextValue returns the first record from i on that is not a stale marker, or -1.
func (tr *track) nextValue(i int) int {
	for ; tr.have(i); i++ {
		if !tr.at(i).stale {
			return i
		}
	}
	return -1
}

// lastValue returns the last value up to i that is within reach, or -1.
func (tr *track) lastValue(i int) int {
	for ; i >= tr.base && tr.at(i).t >= minus(tr.floor, tr.rule.margin); i-- {
		if !tr.at(i).stale {
			return i
		}
	}
	return -1
}

// load reads one more record.
func (tr *track) load() bool {
	if tr.done {
		return false
	}
	n := len(tr.recs)
	if n == 0 {
		return tr.push(tr.it.Next())
	}
	last := &tr.recs[n-1]
	if last.kind != chunkenc.ValFloat {
		tr.save(last)
		return tr.push(tr.it.Next())
	}
	kind := tr.it.Next()
	if kind != chunkenc.ValFloat || n == cap(tr.recs) {
		return tr.push(kind)
	}
	// A float behind a float, for which there is room: as nearly all are.
	tr.recs = tr.recs[:n+1]
	r := &tr.recs[n]
	t, v := tr.it.At()
	*r = record{t: t, st: tr.it.AtST(), f: v, kind: kind, stale: value.IsStaleNaN(v)}
	return true
}

// save keeps the histogram that the iterator is about to leave, if it is still needed.
func (tr *track) save(r *record) {
	if r.t <= tr.floor {
		return
	}
	switch r.kind {
	case chunkenc.ValHistogram:
		r.h = tr.h.Copy()
	case chunkenc.ValFloatHistogram:
		r.fh = tr.fh.Copy()
	default:
	}
}

// push takes in what the iterator stands on.
func (tr *track) push(kind chunkenc.ValueType) bool {
	r := record{kind: kind}
	switch kind {
	case chunkenc.ValNone:
		tr.done, tr.err = true, tr.it.Err()
		return false
	case chunkenc.ValFloat:
		r.t, r.f = tr.it.At()
		r.stale = value.IsStaleNaN(r.f)
	case chunkenc.ValHistogram:
		var h *histogram.Histogram
		if r.t, h = tr.it.AtHistogram(&tr.h); h != &tr.h {
			h.CopyTo(&tr.h)
		}
		r.f, r.stale = float64(tr.h.Count), value.IsStaleNaN(tr.h.Sum)
	case chunkenc.ValFloatHistogram:
		var fh *histogram.FloatHistogram
		if r.t, fh = tr.it.AtFloatHistogram(&tr.fh); fh != &tr.fh {
			fh.CopyTo(&tr.fh)
		}
		r.f, r.stale = tr.fh.Count, value.IsStaleNaN(tr.fh.Sum)
	}
	r.st = tr.it.AtST()
	if len(tr.recs) == cap(tr.recs) {
		tr.forget()
	}
	tr.recs = append(tr.recs, r)
	return true
}

// forget drops what is further back than anything can be asked for, if that frees at
// least half of the window; else the window grows.
func (tr *track) forget() {
	old := tr.search(minus(tr.floor, tr.rule.margin+1)) - tr.base
	if 2*old < len(tr.recs) {
		return
	}
	kept := copy(tr.recs, tr.recs[old:])
	clear(tr.recs[kept:]) // let go of histograms
	tr.recs, tr.base = tr.recs[:kept], tr.base+old
}
