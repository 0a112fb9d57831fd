// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math"
	"slices"
)

// The bounds, as DESIGN.md derives them. They hold of windows in which a target is there and at
// any time one of its replicas is well.

// limits are what the bounds are made of, in ms.
type limits struct {
	slow, fast int64 // the longest and shortest scrape interval
	jitter     int64
	skew       int64 // the most by which two clocks differ
	clock      int64 // the most by which one clock is off
	nearest    int64 // m: no two samples are nearer to each other
	farthest   int64 // D: nor farther apart
	edge       int64 // the oldest that the last sample can be at the newest end
	skips      int64 // samples that a switch may cost as skew
	pad        int64 // how far beyond a window anything counts that is in the bounds
}

func (s *scene) limits() limits {
	l := limits{slow: s.slowest(), fast: s.fastest(), jitter: s.servers[0].jitter}
	for _, a := range s.servers {
		l.clock = max(l.clock, a.skew, -a.skew)
		for _, b := range s.servers {
			l.skew = max(l.skew, a.skew-b.skew)
		}
	}
	window := newRule(0).skew
	guard := (l.slow + l.jitter) * guardPercent / 100
	l.nearest = (l.fast-l.jitter)*guardPercent/100 - 1
	if l.nearest < window { // what comes behind a switch may be skipped as skew
		guard = max(guard, window)
		if s.kind == gauges { // and when it falls back too
			guard = max(guard, 2*window)
		}
		l.skips = guard/l.fast + 1
	}
	l.farthest = guard + l.slow + l.jitter
	if len(s.servers) > 2 {
		l.farthest = max(l.farthest+guard, 2*(l.slow+l.jitter))
	}
	l.edge = l.farthest + (l.slow+l.jitter)*3/2
	l.pad = l.farthest + l.slow + l.skew
	return l
}

// trouble is when a target is seen by no server that is well, in true time. A server is not
// well in a hole, nor three of its scrapes before and after.
func (s *scene) trouble(n int) []hole {
	all := []hole{{from: math.MinInt64 / 2, to: math.MaxInt64 / 2}}
	for i := range s.servers {
		v := &s.servers[i]
		if !v.sees[n] {
			continue
		}
		around := 3*(v.interval+v.jitter) + newRule(0).skew
		var both []hole
		for _, h := range slices.Concat(v.holes, []hole{{from: v.lag, to: math.MaxInt64 / 2}}) {
			for _, o := range all {
				if from, to := max(minus(h.from, around), o.from), min(plus(h.to, around), o.to); from < to {
					both = append(both, hole{from: from, to: to})
				}
			}
		}
		all = both
	}
	return all
}

// window is what the bounds need to know of (from, to] of one target.
type window struct {
	from, to int64
	fair     bool // the bounds hold of it
	resets   int  // in it or near enough to matter
	seen     int  // resets that are in it for sure
	within   int  // resets that may be in it
	gaps     int  // holes of replicas that others stand in for
}

func (s *scene) window(n int, l limits, trouble []hole, from, to int64) window {
	tg := &s.targets[n]
	w := window{from: from, to: to}
	first, last := from-l.pad, to+l.pad
	w.fair = first >= tg.from+l.pad && last < tg.to && to <= s.length-l.edge &&
		!slices.ContainsFunc(trouble, func(h hole) bool { return h.from <= last && h.to >= first })
	for _, r := range tg.resets {
		if r >= first && r <= last {
			w.resets++
		}
		if r > from-l.clock && r <= to+l.clock {
			w.within++
		}
		if r-l.farthest-l.clock > from && r+l.farthest+l.clock <= to {
			w.seen++
		}
	}
	gaps := 0 // of the replica before
	for i := range s.servers {
		if s.servers[i].sees[n] { // with nobody behind it nobody stands in for it
			w.gaps += gaps
			gaps = s.servers[i].gaps(first, last)
		}
	}
	return w
}

// gaps counts the holes of a server between two times.
func (v *server) gaps(first, last int64) int {
	n := 0
	for _, h := range v.holes {
		if h.from <= last && h.to >= first {
			n++
		}
	}
	if v.lag <= last {
		n++
	}
	return n
}

// increases bounds how far the increase of the pair may be from that of the lone Prometheus, for a
// counter that grows by perMs: below and above.
func (w window) increases(l limits, perMs float64, lone int64) (below, above float64) {
	length := float64(w.to - w.from)
	scale := length / (length - 2*float64(l.farthest)) // of extrapolation
	k := float64(w.resets)
	ends := 2 * perMs * (float64(l.farthest) - float64(l.nearest)/2)
	skewed := (k + 1) * (perMs*float64(l.skew) + 1) * scale
	floor := (k + 1) * scale // of the lone one's own rounding
	below = ends + skewed + k*perMs*float64(l.farthest)*scale + floor
	above = skewed + k*perMs*float64(lone)*scale + floor
	return below, above
}

// counts bounds the number of samples.
func (w window) counts(l limits, replicas int) (least, most float64) {
	length := float64(w.to - w.from)
	lost := int64(w.gaps) * 2 * l.skips
	if replicas > 2 {
		lost += int64(w.gaps)
	}
	return length/float64(l.slow) - 2 - float64(lost), length/float64(l.fast) + 2 + float64(w.gaps)
}
