// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math"
	"time"
)

// The stitch rule. Replicas are ordered by preference, first to last.
//
// A replica *holds* the time around its own samples, and all time between two of
// its samples that are no more than one and a half of its usual distances apart.
// A sample is chosen if no replica of higher preference holds its time. With a
// usual distance of 15 s:
//
//	time     0     15    30    45    60    75    90    105   120   135
//	a        a     a     a     .     a     a    down         a     a
//	b          b     b     b     b     b     b     b     b     b     b
//	a holds  ━━━━━━━━━━━━━━━━      ━━━━━━━━━━━━            ━━━━━━━━━━━━
//	chosen   a     a     a       b   a     a       b     b   a     a
//	                     guard    guard
//
// The guard on either side of a gap is just under half a usual distance. So a gap of n
// missed scrapes has room for n samples, and jitter cannot crowd out the only one there
// is. The guard is wider than clock skew for all but very short scrape intervals; for
// those, see skew.go.
//
// Everything below looks at most rule.margin to either side, so the choice does not
// depend on where a range that is read begins or ends:
//
//	bridge   two samples further apart than this are never joined
//	history  how far before and after a gap the usual distance is looked for
//	skew     how far a sample after a switch may fall below the one before it
//
// with bridge + history + 4*skew = margin.
type rule struct {
	margin, bridge, history, skew int64 // ms
	guarded                       int64 // percent of the usual distance that a border of a gap holds
}

const (
	// marginDefault makes scrape intervals up to two minutes work, the longest that
	// Prometheus' own five-minute lookback lets anyone use.
	marginDefault = 5 * time.Minute
	// marginMin leaves room for the skew window and a few scrapes.
	marginMin = time.Minute
	// skewMax is the clock difference of two replicas that is still handled: more than
	// NTP leaves, and no more than the guard of a scrape interval of 11 seconds.
	skewMax = 5 * time.Second
	// skewReach is how many times skewMax the skew filter looks back.
	skewReach = 4
	// distancesMax bounds how many distances are looked at to find the usual one. Eight,
	// of which the second smallest counts, find the scrape interval of a replica that
	// misses half of its scrapes in 27 cases of 28.
	distancesMax = 8
	// guardPercent is as near to half a distance as jitter allows: with exactly half, a gap
	// of one scrape has no room for a sample that comes a little early or late.
	guardPercent = 45
)

// newRule returns the rule for a margin; zero or less means the default.
func newRule(margin time.Duration) rule {
	if margin <= 0 {
		margin = marginDefault
	}
	margin = max(margin, marginMin)
	m, skew := margin.Milliseconds(), skewMax.Milliseconds()
	return rule{margin: m, bridge: m / 2, history: m/2 - skewReach*skew, skew: skew, guarded: guardPercent}
}

// late is the distance after which a missing sample is missed, for a replica whose
// usual distance is known (above zero) or not.
func (r rule) late(usual int64) int64 {
	if usual <= 0 {
		return r.bridge
	}
	return min(r.bridge, usual+usual/2)
}

// guard is the time that a sample at the border of a gap holds beyond itself.
func (r rule) guard(usual int64) int64 {
	if usual <= 0 {
		return r.skew
	}
	return usual * r.guarded / 100
}

// distances collects the distances between neighbouring samples and knows the usual
// one: the smallest of up to four, the second smallest of five to eight. So a few
// missed scrapes do not stretch it and one odd scrape does not shrink it.
type distances struct {
	n             int
	least, second int64
}

func (d *distances) add(distance int64) {
	switch {
	case d.n == 0:
		d.least, d.second = distance, math.MaxInt64
	case distance < d.least:
		d.least, d.second = distance, d.least
	case distance < d.second:
		d.second = distance
	}
	d.n++
}

func (d *distances) full() bool { return d.n == distancesMax }

// usual returns zero if no distance is known.
func (d *distances) usual() int64 {
	if d.n > distancesMax/2 {
		return d.second
	}
	return d.least
}

// plus and minus are addition and subtraction of times that stop at the ends of time
// instead of wrapping: callers ask for [math.MinInt64, math.MaxInt64] to mean all.
func plus(t, d int64) int64 {
	if d > 0 && t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}

func minus(t, d int64) int64 {
	if d > 0 && t < math.MinInt64+d {
		return math.MinInt64
	}
	return t - d
}
