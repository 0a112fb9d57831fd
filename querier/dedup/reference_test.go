// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/value"
)

// point is a sample of a float series, or a stale marker.
type point struct {
	t int64
	f float64
}

func (p point) stale() bool { return value.IsStaleNaN(p.f) }

// reference is the stitch rule once more, word for word over whole slices: no windows,
// no levels, no iterators. It is slow, and it is what the iterator has to agree with.
type reference struct {
	rule     rule
	replicas [][]point
}

func (r reference) values(n int) []point {
	var values []point
	for _, p := range r.replicas[n] {
		if !p.stale() {
			values = append(values, p)
		}
	}
	return values
}

func usualOf(d []int64) int64 {
	d = slices.Sorted(slices.Values(d[:min(len(d), distancesMax)]))
	switch {
	case len(d) == 0:
		return 0
	case len(d) <= distancesMax/2:
		return d[0]
	}
	return d[1]
}

// before looks at the values up to t and no more than history before it, after at those from t on.
func (r reference) before(n int, t int64) int64 {
	var d []int64
	v := r.values(n)
	for i := len(v) - 1; i > 0; i-- {
		if v[i].t <= t && v[i-1].t >= t-r.rule.history {
			d = append(d, v[i].t-v[i-1].t)
		}
	}
	return usualOf(d)
}

func (r reference) after(n int, t int64) int64 {
	var d []int64
	v := r.values(n)
	for i := 1; i < len(v); i++ {
		if v[i-1].t >= t && v[i].t <= t+r.rule.history {
			d = append(d, v[i].t-v[i-1].t)
		}
	}
	return usualOf(d)
}

// usualUntil and usualFrom ask the other replicas if n does not know.
func (r reference) usualUntil(n int, t int64) int64 {
	usual := r.before(n, t)
	for k := 0; k < len(r.replicas) && usual == 0; k++ {
		if _, first := r.around(k, t); k != n && first != nil && first.t <= t+r.rule.bridge {
			usual = r.after(k, first.t)
		}
	}
	for k := 0; k < len(r.replicas) && usual == 0; k++ {
		if k != n {
			usual = r.before(k, t)
		}
	}
	return usual
}

func (r reference) usualFrom(n int, t int64) int64 {
	usual := r.after(n, t)
	for k := 0; k < len(r.replicas) && usual == 0; k++ {
		if last, _ := r.around(k, t-1); k != n && last != nil && last.t >= t-r.rule.bridge {
			usual = r.before(k, last.t)
		}
	}
	for k := 0; k < len(r.replicas) && usual == 0; k++ {
		if k != n {
			usual = r.after(k, t)
		}
	}
	return usual
}

func (r reference) anyRecord(lo, hi int64) bool {
	for _, points := range r.replicas {
		if slices.ContainsFunc(points, func(p point) bool { return p.t > lo && p.t <= hi }) {
			return true
		}
	}
	return false
}

// around returns replica n's last value at or before t and its first one after t.
func (r reference) around(n int, t int64) (before, after *point) {
	for _, p := range r.values(n) {
		if p.t <= t {
			before = &p
		} else if after == nil {
			after = &p
		}
	}
	return before, after
}

func (r reference) joined(n int, a, b *point) bool {
	if a == nil || b == nil || b.t-a.t > r.rule.bridge {
		return false
	}
	if slices.ContainsFunc(r.replicas[n], func(p point) bool { return p.stale() && p.t > a.t && p.t < b.t }) {
		return false
	}
	before, after := r.before(n, a.t), r.after(n, b.t)
	if before == 0 && after == 0 {
		before, after = r.usualUntil(n, a.t), r.usualFrom(n, b.t)
	}
	return before == 0 && after == 0 || 2*(b.t-a.t) <= 3*max(before, after)
}

// known reports whether replica n, whose value a is not joined to a next, is known to
// be late, and when it would be.
func (r reference) known(n int, a *point) (bool, int64) {
	late := a.t + r.rule.late(r.usualUntil(n, a.t))
	own := slices.ContainsFunc(r.replicas[n], func(p point) bool { return p.t > a.t && p.t <= a.t+r.rule.bridge })
	return own || r.anyRecord(late, a.t+r.rule.margin), late
}

// holds reports whether replica n holds time t against lower ones.
func (r reference) holds(n int, t int64) bool {
	a, b := r.around(n, t)
	if a != nil && a.t == t || r.joined(n, a, b) {
		return true
	}
	if a != nil {
		known, late := r.known(n, a)
		if known && t < a.t+r.rule.guard(r.usualUntil(n, a.t)) || !known && t <= late {
			return true
		}
	}
	return b != nil && t >= b.t-r.rule.guard(r.usualFrom(n, b.t))
}

// present reports whether replica n shows the series alive across t.
func (r reference) present(n int, t int64) bool {
	a, b := r.around(n, t)
	if a == nil {
		return false
	}
	if a.t == t || r.joined(n, a, b) {
		return true
	}
	known, late := r.known(n, a)
	return !known && t <= late
}

type pick struct {
	point
	replica int
}

func (r reference) stitch() []pick {
	var picks []pick
	for n, points := range r.replicas {
		for _, p := range points {
			keep := true
			for k := range r.replicas {
				if k < n && r.holds(k, p.t) || k > n && p.stale() && r.present(k, p.t) {
					keep = false
				}
			}
			if keep {
				picks = append(picks, pick{p, n})
			}
		}
	}
	slices.SortStableFunc(picks, func(a, b pick) int { return int(a.t - b.t) })
	picks = slices.CompactFunc(picks, func(a, b pick) bool { return a.t == b.t })
	return r.withoutSkew(picks)
}

// withoutSkew looks at each sample's run of samples from one replica.
func (r reference) withoutSkew(picks []pick) []pick {
	var kept, values []pick
	for _, p := range picks {
		if !p.stale() {
			values = append(values, p)
		}
	}
	for _, p := range picks {
		if p.stale() || !r.isSkew(values, slices.IndexFunc(values, func(v pick) bool { return v.t == p.t })) {
			kept = append(kept, p)
		}
	}
	return kept
}

func (r reference) isSkew(values []pick, i int) bool {
	first := i
	for first > 0 && values[first-1].replica == values[i].replica {
		first--
	}
	for j := first; j <= i; j++ {
		most := math.Inf(-1)
		for k := range first {
			if values[k].replica != values[i].replica && values[k].t >= values[j].t-r.rule.skew {
				most = max(most, values[k].f)
			}
		}
		if !(values[j].f < most) && !r.beforeFall(values[:first], values[j]) {
			return false
		}
	}
	return true
}

// beforeFall looks for a fall to half or less in another replica before, of which p is on the upper side.
func (r reference) beforeFall(values []pick, p pick) bool {
	for k := 1; k < len(values); k++ {
		from, to := values[k-1], values[k]
		if from.replica == to.replica && to.replica != p.replica && to.t >= p.t-r.rule.skew && from.t >= to.t-2*r.rule.skew &&
			from.f > 0 && to.f >= 0 && from.f >= 2*to.f && p.f-to.f > (from.f-to.f)/2 {
			return true
		}
	}
	return false
}
