// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math"

	"github.com/prometheus/prometheus/storage"
)

const (
	minTime = math.MinInt64
	maxTime = math.MaxInt64
)

// chosen names a chosen record by replica and index; none if ok is false.
type chosen struct {
	replica, index int
	t              int64
	ok             bool
}

// stitch chooses between the records of the replicas of one series. It yields the
// chosen ones in time order; two may still carry the same time, or be skew.
//
//	level 0: all of replica 0, and in its gaps
//	level 1:     all of replica 1, and in its gaps
//	level 2:         all of replica 2 …
//
// A level is sought only when the one above has a gap, so that a healthy replica is
// read alone.
type stitch struct {
	rule   rule
	tracks []track
	levels []level
	// floor is the time that was reached: no question is asked about what is more than
	// one margin before it.
	floor int64
}

// reset starts over with other series, in order of preference.
func (s *stitch) reset(r rule, series []storage.Series) {
	s.rule, s.floor = r, minTime
	if cap(s.tracks) < len(series) {
		s.tracks = make([]track, len(series))
		s.levels = make([]level, len(series))
	}
	s.tracks, s.levels = s.tracks[:len(series)], s.levels[:len(series)]
	for n := range series {
		s.tracks[n].reset(r, series[n])
		s.levels[n] = level{s: s, n: n}
	}
}

// noneAfter says that no replica has a record after t.
func (s *stitch) noneAfter(t int64) {
	for n := range s.tracks {
		s.tracks[n].noneAfter = t
	}
}

// seek makes the first chosen record at or after t the head; t never goes back.
func (s *stitch) seek(t int64) {
	s.floor = max(s.floor, minus(t, 1))
	s.levels[0].seek(t)
}

// next makes the chosen record after the head the head.
func (s *stitch) next() {
	s.floor = max(s.floor, s.levels[0].head.t)
	s.levels[0].next()
}

func (s *stitch) head() chosen { return s.levels[0].head }

// err returns the first error of any replica that was read. An iterator that failed
// looks exhausted, so err comes before every conclusion from what next yields.
func (s *stitch) err() error {
	for n := range s.tracks {
		if err := s.tracks[n].err; err != nil {
			return err
		}
	}
	return nil
}

// consecutive reports whether the record before the head in its own replica was chosen
// too and directly before it, as far as one can tell without having seen it chosen:
// the two must be joined, and in the same gap of every replica above.
func (s *stitch) consecutive(c chosen) bool {
	tr := &s.tracks[c.replica]
	i := c.index - 1
	if i < tr.base || tr.at(i).stale || tr.at(c.index).stale || !s.joined(c.replica, i, c.index) {
		return false
	}
	for n := range c.replica {
		if tr.at(i).t < s.levels[n].gap.lo {
			return false
		}
	}
	return true
}

// level merges replica n with the level below, which it lets through in its gaps.
type level struct {
	s    *stitch
	n    int
	head chosen

	cur int // the replica's last value before the head, -1: none
	nxt int // its next value, -1: none
	idx int // its next record to look at: a stale marker, or nxt
	gap gap // between cur and nxt

	filling bool // the level below was sought in gap
	below   bool // the head came from the level below
}

// seek makes the level's first chosen record at or after t its head.
func (l *level) seek(t int64) {
	tr := &l.s.tracks[l.n]
	tr.position(l.s.floor)
	tr.haveAfter(minus(t, 1))
	l.idx = tr.search(minus(t, 1))
	l.cur = tr.lastValue(l.idx - 1)
	l.open(t)
	l.step()
}

// next moves the head on by one.
func (l *level) next() {
	tr := &l.s.tracks[l.n]
	tr.floor = l.s.floor // no need to jump: the next value was read already
	switch {
	case l.below:
		l.s.levels[l.n+1].next()
	case l.head.index == l.nxt:
		l.cur, l.idx = l.nxt, l.nxt+1
		if l.steady(tr) {
			return
		}
		l.open(tr.at(l.cur).t)
	default: // a stale marker
		l.idx = l.head.index + 1
	}
	l.step()
}

// steady is the way past all of the above for a replica that is well: its next record
// follows directly and is made the head. It reports whether that is so.
func (l *level) steady(tr *track) bool {
	if !tr.have(l.idx) {
		return false
	}
	r := tr.at(l.idx)
	d := r.t - l.head.t
	if r.stale || d > tr.rule.bridge || !tr.steadily(l.cur, d) {
		return false
	}
	l.nxt, l.gap, l.filling = l.idx, gap{}, false
	l.head.index, l.head.t = l.idx, r.t
	return true
}

// open looks at what lies between cur and the next value: when the level below is to
// be let through, not before from.
func (l *level) open(from int64) {
	first := l.idx
	if l.cur >= 0 {
		first = l.cur + 1
	}
	l.nxt = l.s.tracks[l.n].nextValue(first)
	l.gap, l.filling = gap{}, false
	if l.n+1 == len(l.s.levels) {
		return // the last one: nobody to let through
	}
	if l.gap = l.s.gapBetween(l.n, l.cur, l.nxt); !l.gap.empty() {
		if lo := max(l.gap.lo, from); lo < l.gap.hi && l.s.anyFrom(l.n+1, lo) {
			l.s.levels[l.n+1].seek(lo)
			l.filling = true
		}
	}
}

// step makes the earlier of the replica's own next record and the level below's head
// the head. At equal times a value comes before a stale marker.
func (l *level) step() {
	tr := &l.s.tracks[l.n]
	for {
		own := chosen{replica: l.n, index: l.idx, t: maxTime}
		if own.ok = tr.have(l.idx); own.ok {
			own.t = tr.at(l.idx).t
		}
		if l.filling {
			if sub := l.s.levels[l.n+1].head; sub.ok && sub.t < l.gap.hi && sub.t < own.t {
				l.head, l.below = sub, true
				return
			}
		}
		if own.ok && l.idx != l.nxt && l.s.alive(l.n, own.t) {
			l.idx++
			continue
		}
		l.head, l.below = own, false
		return
	}
}
