// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"math"

	"github.com/prometheus/prometheus/model/histogram"
)

// counterSource yields one counter of raw and downsampled chunks.
//
// As far as there are downsampled chunks it never falls: what they say is corrected for resets, so what is beside them must be
// too. Behind the last of them it is what raw samples say, as it is in the answers of members that will be joined to it. There
// it may not jump: PromQL would take a fall for a reset, and add what was counted before it once more. So all that is
// corrected is shifted, by the sum of the corrections, to end at the value that the counter really showed. It can begin below 0
// for that, which rates do not mind.
//
//	         downsampled | raw
//	shown    5 9 0 4 8   | 1 3 5    with resets after 9 and 8
//	total    5 9 9 13 17 |
//	yielded  -4 0 0 4 8  | 1 3 5
//
// A downsampled chunk is read to its end even where its piece ends before: only there it says what the counter showed. Raw
// samples of that time are left out.
//
// Histograms are yielded as they are. Of two that follow one another across chunks PromQL sees itself whether there was a
// reset.
type counterSource struct {
	items   []item
	joined  int // How many of the items are corrected.
	shift   float64
	j       joiner
	cur     source
	at      int // The index of the item that cur is of.
	fresh   bool
	lastT   int64
	failure error
}

func newCounterSource(items []item) (*counterSource, error) {
	s := &counterSource{items: items, lastT: math.MinInt64}
	for i := range items {
		if items[i].raw == nil && !items[i].parts.isHistogram() {
			s.joined = i + 1
		}
	}
	// Once through all that is corrected, to know by how much.
	first := &counterSource{items: items[:s.joined], joined: s.joined, lastT: math.MinInt64}
	for {
		if _, ok := first.next(); !ok {
			break
		}
	}
	s.shift = first.j.total - first.j.last
	return s, first.failure
}

func (s *counterSource) next() (sample, bool) {
	for s.failure == nil {
		if s.cur == nil {
			if s.at == len(s.items) {
				break
			}
			if s.cur, s.failure = s.items[s.at].open(ReadCounter); s.failure != nil {
				break
			}
			s.j.begin()
			s.fresh = true
		}
		got, ok := s.cur.next()
		if !ok {
			s.failure = s.cur.err()
			s.cur = nil
			s.at++
			continue
		}
		if got, ok = s.take(got); ok {
			return got, true
		}
	}
	return sample{}, false
}

// take returns a sample of the current item as it is yielded, or false.
func (s *counterSource) take(got sample) (sample, bool) {
	it := &s.items[s.at]
	if it.raw != nil && (got.t < it.mint || got.t > it.maxt) {
		return got, false
	}
	if s.at >= s.joined || got.h != nil || got.fh != nil {
		if got.t < it.mint || got.t <= s.lastT {
			return got, false
		}
		if s.fresh {
			hintUnknown(&got)
		}
		s.fresh, s.lastT = false, got.t
		return got, true
	}
	if got.t < it.mint { // Another block answers for that time. From its value on this one goes on.
		s.j.skip(got.t, got.v)
		return got, false
	}
	if !s.j.add(got.t, got.v) {
		return got, false
	}
	s.lastT = got.t
	return sample{t: got.t, v: s.j.total - s.shift}, true
}

// hintUnknown makes PromQL look for a reset before the first histogram of a chunk.
func hintUnknown(s *sample) {
	if s.fh != nil && s.fh.CounterResetHint != histogram.GaugeType {
		fh := *s.fh
		fh.CounterResetHint = histogram.UnknownCounterReset
		s.fh = &fh
	}
	if s.h != nil && s.h.CounterResetHint != histogram.GaugeType {
		h := *s.h
		h.CounterResetHint = histogram.UnknownCounterReset
		s.h = &h
	}
}

func (s *counterSource) err() error { return s.failure }

// dense puts samples between those of windows that follow one another, five minutes apart on the line between them. PromQL
// guesses what a counter grew at the ends of a range, outside of its samples, by how far apart samples are in all of the range:
// beside raw samples it would take an hour without one for an outage.
type dense struct {
	*counterSource
	some       bool
	last, goal sample
	step       int64 // 0 while there is nothing to put in.
}

func (d *dense) next() (sample, bool) {
	if d.step == 0 {
		s, ok := d.counterSource.next()
		if !ok {
			return s, false
		}
		it := &d.items[d.at]
		gap := s.t - d.last.t
		if it.raw != nil || s.fh != nil || gap <= FiveMinutes || gap > it.resolution || !d.some {
			d.some, d.last = true, s
			return s, true
		}
		d.goal, d.step = s, FiveMinutes
	}
	out := d.last
	out.t += d.step
	if out.t >= d.goal.t {
		d.last, d.step = d.goal, 0
		return d.goal, true
	}
	out.v += (d.goal.v - d.last.v) * float64(d.step) / float64(d.goal.t-d.last.t)
	d.step += FiveMinutes
	return out, true
}
