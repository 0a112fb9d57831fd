// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// iterator is the stitched series as the engine reads it: what stitch chooses, without
// skew, trimmed to [mint, maxt].
type iterator struct {
	stitch     stitch
	skew       skewFilter
	mint, maxt int64

	cur     *record // what the iterator stands on; valid until the next move
	at      chosen  // of cur
	last    chosen  // the record before cur that was not dropped; ok is false at the start
	follows bool    // cur comes directly after the record before it in its own replica, or has no hint

	started, done bool
	err           error
}

// reset makes it an iterator over other series, in order of preference.
func (it *iterator) reset(r rule, series []storage.Series, mint, maxt int64) {
	it.stitch.reset(r, series)
	it.mint, it.maxt = mint, maxt
	it.cur, it.at, it.last = nil, chosen{}, chosen{}
	it.started, it.done, it.err = false, false, nil
}

// Next implements chunkenc.Iterator.
func (it *iterator) Next() chunkenc.ValueType {
	if it.done {
		return chunkenc.ValNone
	}
	if !it.started {
		return it.start(it.mint)
	}
	if it.steady() {
		return chunkenc.ValFloat
	}
	it.stitch.next()
	return it.settle(it.mint)
}

// milliseconds is a Unix time. As an alias it also tells go vet that the Seek of a
// chunkenc.Iterator is not meant to be an io.Seeker's.
type milliseconds = int64

// Seek implements chunkenc.Iterator.
func (it *iterator) Seek(t milliseconds) chunkenc.ValueType {
	t = max(t, it.mint)
	switch {
	case it.done:
		return chunkenc.ValNone
	case !it.started:
		return it.start(t)
	case it.cur.t >= t:
		return it.cur.kind
	case t-it.cur.t > it.stitch.rule.margin:
		return it.start(t)
	}
	it.stitch.next()
	return it.settle(t)
}

// steady is the way past all that follows for what most series mostly are: floats of the first replica, which is well. It moves to the
// next sample as stitch.next and settle would, and reports whether it did; if not, nothing has changed.
func (it *iterator) steady() bool {
	s := &it.stitch
	l, tr := &s.levels[0], &s.tracks[0]
	if it.at.replica != 0 || l.below || l.head.index != l.nxt || it.skew.replica != 0 || it.skew.skipped {
		return false
	}
	s.floor = max(s.floor, l.head.t)
	tr.floor = s.floor
	i := l.nxt + 1
	if !tr.have(i) {
		return false
	}
	r := tr.at(i)
	d := r.t - l.head.t
	if r.stale || r.kind != chunkenc.ValFloat || d > s.rule.bridge || r.t > it.maxt || !tr.steadily(l.nxt, d) {
		return false
	}
	l.cur, l.idx, l.nxt, l.gap, l.filling = l.nxt, i, i, gap{}, false
	l.head.index, l.head.t = i, r.t
	it.skew.remember(seen{t: r.t, f: r.f}) // All that skip does for it.
	it.last, it.at = it.at, l.head
	it.cur, it.follows = r, true
	return true
}

// start begins at the first sample at or after t, as if all before it had been read:
// as far earlier as the skew filter looks back.
func (it *iterator) start(t int64) chunkenc.ValueType {
	it.started = true
	it.at = chosen{}
	it.skew.reset(it.stitch.rule.skew)
	it.stitch.seek(minus(t, skewReach*it.stitch.rule.skew))
	return it.settle(t)
}

// settle moves on until the head of stitch is a sample at or after from that counts.
func (it *iterator) settle(from int64) chunkenc.ValueType {
	for ; ; it.stitch.next() {
		if it.err = it.stitch.err(); it.err != nil {
			break
		}
		head := it.stitch.head()
		if !head.ok || head.t > it.maxt {
			break
		}
		r := it.stitch.tracks[head.replica].at(head.index)
		if it.at.ok && head.t <= it.at.t || it.skew.skip(head.replica, r) {
			continue
		}
		it.last, it.at = it.at, head
		if head.t >= from {
			it.follows = r.kind == chunkenc.ValFloat || it.isNext(head)
			it.cur = it.stitch.tracks[head.replica].at(head.index) // isNext may have read ahead
			return it.cur.kind
		}
	}
	it.done, it.cur = true, nil
	return chunkenc.ValNone
}

// isNext reports whether the record before c in its own replica is also the one before
// it here. Only then does its counter reset hint still say something true.
func (it *iterator) isNext(c chosen) bool {
	if it.last.ok {
		return it.last.replica == c.replica && it.last.index == c.index-1
	}
	return it.stitch.consecutive(c)
}

// Err implements chunkenc.Iterator.
func (it *iterator) Err() error { return it.err }

// At implements chunkenc.Iterator.
func (it *iterator) At() (int64, float64) { return it.cur.t, it.cur.f }

// AtT implements chunkenc.Iterator.
func (it *iterator) AtT() int64 { return it.cur.t }

// AtST implements chunkenc.Iterator.
func (it *iterator) AtST() int64 { return it.cur.st }

// AtHistogram implements chunkenc.Iterator. The histogram is the caller's.
func (it *iterator) AtHistogram(h *histogram.Histogram) (int64, *histogram.Histogram) {
	src := it.cur.h
	if src == nil { // it was not read past
		src = &it.stitch.tracks[it.at.replica].h
	}
	if h == nil {
		h = &histogram.Histogram{}
	}
	src.CopyTo(h)
	h.CounterResetHint = it.hint(h.CounterResetHint)
	return it.cur.t, h
}

// AtFloatHistogram implements chunkenc.Iterator. The histogram is the caller's.
func (it *iterator) AtFloatHistogram(fh *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	if fh == nil {
		fh = &histogram.FloatHistogram{}
	}
	tr := &it.stitch.tracks[it.at.replica]
	switch r := it.cur; {
	case r.kind == chunkenc.ValHistogram && r.h != nil:
		fh = r.h.ToFloat(fh)
	case r.kind == chunkenc.ValHistogram:
		fh = tr.h.ToFloat(fh)
	case r.fh != nil:
		r.fh.CopyTo(fh)
	default:
		tr.fh.CopyTo(fh)
	}
	fh.CounterResetHint = it.hint(fh.CounterResetHint)
	return it.cur.t, fh
}

// hint returns a histogram's own hint, or "unknown" after a switch: then it speaks of
// a histogram that the reader did not see, and the reader has to compare for itself.
func (it *iterator) hint(own histogram.CounterResetHint) histogram.CounterResetHint {
	if it.follows || own == histogram.GaugeType {
		return own
	}
	return histogram.UnknownCounterReset
}
