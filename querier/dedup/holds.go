// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

// What a track says about who holds which time. All indexes are of records that are
// values, not stale markers, unless said otherwise.

// usualBefore is the usual distance of the values up to i; zero if unknown.
func (tr *track) usualBefore(i int) int64 {
	d := tr.distancesBefore(i, minus(tr.at(i).t, tr.rule.history))
	return d.usual()
}

// distancesBefore are those of the values from a time on up to i.
func (tr *track) distancesBefore(i int, first int64) (d distances) {
	last := tr.at(i).t
	for j := i - 1; j >= tr.base && !d.full(); j-- {
		r := tr.at(j)
		if r.t < first {
			break
		}
		if !r.stale {
			d.add(last - r.t)
			last = r.t
		}
	}
	return d
}

// steadily reports whether distance d from value i to the next is no more than one and a
// half of what is usual before. For a replica that is well it has to look at nothing but
// the smallest distance since it last looked, which no usual distance can be below.
func (tr *track) steadily(i int, d int64) bool {
	if tr.steadyTo != i || 2*d > 3*tr.steadyMin {
		before := tr.distancesBefore(i, minus(tr.at(i).t, tr.rule.history))
		if 2*d > 3*before.usual() {
			return false
		}
		tr.steadyMin = before.least
	}
	tr.steadyMin = min(tr.steadyMin, d)
	tr.steadyTo = -1
	if d <= tr.rule.history { // else the next value has nothing to go by
		tr.steadyTo = i + 1
	}
	return true
}

// usualAfter is the usual distance of the values from i on; zero if unknown.
func (tr *track) usualAfter(i int) int64 {
	return tr.usualUpTo(i, plus(tr.at(i).t, tr.rule.history))
}

// usualUpTo is that of the values from i on, up to a time.
func (tr *track) usualUpTo(i int, end int64) int64 {
	var d distances
	last := tr.at(i).t
	for j := i + 1; !d.full() && tr.have(j); j++ {
		r := tr.at(j)
		if r.t > end {
			break
		}
		if !r.stale {
			d.add(r.t - last)
			last = r.t
		}
	}
	return d.usual()
}

// usualUntil is the usual distance of replica n's values up to i. If it has too few of
// them, that of the first other replica which shows values soon after, or else at that
// time: replicas mostly scrape alike. Zero if unknown.
func (s *stitch) usualUntil(n, i int) int64 {
	t := s.tracks[n].at(i).t
	usual := s.tracks[n].usualBefore(i)
	for k := 0; k < len(s.tracks) && usual == 0; k++ {
		if k != n {
			usual = s.usualSoonAfter(k, t)
		}
	}
	for k := 0; k < len(s.tracks) && usual == 0; k++ {
		if k != n {
			usual = s.tracks[k].usualHitherto(t)
		}
	}
	return usual
}

// usualFrom is the same for replica n's values from j on, and others shortly before.
func (s *stitch) usualFrom(n, j int) int64 {
	t := s.tracks[n].at(j).t // before reading ahead, which may move records
	usual := s.tracks[n].usualAfter(j)
	for k := 0; k < len(s.tracks) && usual == 0; k++ {
		if k != n {
			usual = s.usualShortlyBefore(k, t)
		}
	}
	for k := 0; k < len(s.tracks) && usual == 0; k++ {
		if k != n {
			usual = s.tracks[k].usualHence(t)
		}
	}
	return usual
}

// usualSoonAfter is the usual distance of replica k from its first value after t on.
func (s *stitch) usualSoonAfter(k int, t int64) int64 {
	tr := &s.tracks[k]
	tr.position(s.floor)
	tr.haveAfter(t)
	if j := tr.nextValue(tr.search(t)); j >= 0 && tr.at(j).t <= plus(t, s.rule.bridge) {
		return tr.usualAfter(j)
	}
	return 0
}

// usualShortlyBefore is that of replica k up to its last value before t.
func (s *stitch) usualShortlyBefore(k int, t int64) int64 {
	tr := &s.tracks[k]
	tr.position(s.floor)
	tr.haveAfter(t)
	if i := tr.lastValue(tr.search(minus(t, 1)) - 1); i >= 0 && tr.at(i).t >= minus(t, s.rule.bridge) {
		return tr.usualBefore(i)
	}
	return 0
}

// usualHitherto is the usual distance of values at most history before t. It looks less
// far than usualBefore, because the value at t may itself be a bridge away from
// what is being judged; both are asked of tracks that were positioned at t.
func (tr *track) usualHitherto(t int64) int64 {
	first := minus(t, tr.rule.history)
	if i := tr.lastValue(tr.search(t) - 1); i >= 0 && tr.at(i).t >= first {
		d := tr.distancesBefore(i, first)
		return d.usual()
	}
	return 0
}

// usualHence is that of values at most history after t.
func (tr *track) usualHence(t int64) int64 {
	end := plus(t, tr.rule.history)
	if j := tr.nextValue(tr.search(minus(t, 1))); j >= 0 && tr.at(j).t <= end {
		return tr.usualUpTo(j, end)
	}
	return 0
}

// joined reports whether nothing is missing between record i of replica n and record j,
// its next value: no stale marker, and no more than one and a half of what is usual
// before or after them, whichever is longer (so a changed scrape interval is not a gap).
func (s *stitch) joined(n, i, j int) bool {
	if j != i+1 {
		return false
	}
	tr := &s.tracks[n]
	d := tr.at(j).t - tr.at(i).t
	if d > s.rule.bridge {
		return false
	}
	if tr.steadily(i, d) {
		return true
	}
	after := tr.usualAfter(j)
	before := tr.usualBefore(i)
	if before == 0 && after == 0 { // ask the others
		before, after = s.usualUntil(n, i), s.usualFrom(n, j)
	}
	return 2*d <= 3*max(before, after) || before == 0 && after == 0
}

// gap is the time that a replica leaves to lower ones: [lo, hi).
type gap struct{ lo, hi int64 }

func (g gap) empty() bool { return g.lo >= g.hi }

// gapBetween is the gap after value i and before value j, the next one. Either may be
// missing (-1): before its first value and after its last a replica holds nothing.
func (s *stitch) gapBetween(n, i, j int) gap {
	tr := &s.tracks[n]
	g := gap{lo: minTime, hi: maxTime}
	if i >= 0 {
		if j >= 0 && s.joined(n, i, j) {
			return gap{}
		}
		g.lo = s.gapStart(n, i)
	}
	if j >= 0 {
		t := tr.at(j).t // before reading ahead, which may move records
		g.hi = minus(t, s.rule.guard(s.usualFrom(n, j)))
	}
	return g
}

// gapStart is when the gap after value i starts, given that i is not joined to a next
// value. If replica n is known to be late, it starts one guard after i. It is not
// known while no replica has a newer record, as at the newest end of the data: then
// replica n has the benefit of the doubt until it would be late.
func (s *stitch) gapStart(n, i int) int64 {
	tr := &s.tracks[n]
	t, usual := tr.at(i).t, s.usualUntil(n, i)
	if tr.have(i+1) && tr.at(i+1).t <= plus(t, s.rule.bridge) {
		return plus(t, s.rule.guard(usual)) // a stale marker, or a value that comes too late
	}
	late := plus(t, s.rule.late(usual))
	if s.anyRecord(late, plus(t, s.rule.margin)) {
		return plus(t, s.rule.guard(usual))
	}
	return plus(late, 1)
}

// anyRecord reports whether any replica has a record after lo and not after hi.
func (s *stitch) anyRecord(lo, hi int64) bool {
	for n := range s.tracks {
		tr := &s.tracks[n]
		if !tr.opened && !tr.mayHaveAfter(lo) {
			continue
		}
		tr.position(s.floor)
		if tr.haveAfter(lo) && tr.at(tr.search(lo)).t <= hi {
			return true
		}
	}
	return false
}

// anyFrom reports whether replica n or one below it may have a record at or after lo. Where none has, as at the newest end of the data, they
// need not be read.
func (s *stitch) anyFrom(n int, lo int64) bool {
	for k := n; k < len(s.tracks); k++ {
		if tr := &s.tracks[k]; tr.opened || tr.mayHaveAfter(minus(lo, 1)) {
			return true
		}
	}
	return false
}

// alive reports whether a replica below n shows the series alive across time t, at
// which n has a stale marker: then the marker tells of a failed scrape, not of the end
// of the series.
func (s *stitch) alive(n int, t int64) bool {
	for k := n + 1; k < len(s.tracks); k++ {
		if s.present(k, t) {
			return true
		}
	}
	return false
}

// present reports whether replica n has joined values on both sides of t, or is not
// yet late at t.
func (s *stitch) present(n int, t int64) bool {
	tr := &s.tracks[n]
	tr.position(s.floor)
	tr.haveAfter(t)
	i := tr.lastValue(tr.search(t) - 1)
	if i < 0 {
		return false
	}
	last := tr.at(i).t
	if j := tr.nextValue(i + 1); last == t || j >= 0 && s.joined(n, i, j) {
		return true
	}
	late := plus(last, s.rule.late(s.usualUntil(n, i)))
	return t <= late && s.gapStart(n, i) > late
}
