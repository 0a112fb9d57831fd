// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"slices"

	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// skewFilter drops what only looks like a counter reset: the first samples after a
// switch of replicas that lie below what the other replica showed within the five
// seconds before. If clocks differ, such a sample is older than its timestamp says.
//
//	a  10 20 30 |down
//	b            28 38 48      28 fell below 30 within 5 s of the switch: skipped
//
// And it drops what would show a reset twice: samples from before a reset that the other
// replica has shown already.
//
//	a  70 80  0 |down
//	b            86 92  8      a fell from 80 within 5 s of the switch: 86 and 92 are skipped
//
// A fall that is real stays: it is still there five seconds after the switch, and
// within one replica a fall is never skew. A gauge that falls right at a switch may
// lose samples of at most those five seconds.
type skewFilter struct {
	window  int64
	recent  []seen // values of the last window, in time order
	falls   []fall // to half or less, of the last window
	last    seen   // the value before
	replica int    // that the run of consecutive values is from, -1: none yet
	skipped bool   // all values of that run so far
}

// fall is a value and the one before it in the same replica.
type fall struct {
	seen
	from float64
}

type seen struct {
	t         int64
	f         float64
	replica   int
	histogram bool
}

func (k *skewFilter) reset(window int64) {
	*k = skewFilter{window: window, recent: k.recent[:0], falls: k.falls[:0], last: seen{replica: -1}, replica: -1}
}

// skip tells whether the record, the next in time order, is to be dropped. Whether a
// sample is dropped depends on what was chosen, not on what was dropped before it, and
// so on no more than four windows: one to the first sample of its run, one to a fall before
// that, two to the value that it fell from.
func (k *skewFilter) skip(replica int, r *record) bool {
	if r.stale {
		return false
	}
	s := seen{t: r.t, f: r.f, replica: replica, histogram: r.kind != chunkenc.ValFloat}
	if replica != k.replica {
		k.replica, k.skipped = replica, true
	}
	if k.skipped {
		k.skipped = k.below(s) || k.before(s)
	}
	k.remember(s)
	return k.skipped
}

// below reports whether another replica showed more within the window before s.
func (k *skewFilter) below(s seen) bool {
	for i := range k.recent {
		o := &k.recent[i]
		if k.comparable(o, s) && o.f > s.f {
			return true
		}
	}
	return false
}

// before reports whether another replica fell within the window before s, and s is nearer to what
// it fell from.
func (k *skewFilter) before(s seen) bool {
	for i := range k.falls {
		o := &k.falls[i]
		if k.comparable(&o.seen, s) && s.f-o.f > (o.from-o.f)/2 {
			return true
		}
	}
	return false
}

func (k *skewFilter) comparable(o *seen, s seen) bool {
	return o.replica != s.replica && o.histogram == s.histogram && o.t >= s.t-k.window
}

// remember adds s, and drops what can no longer decide anything: what has left the
// window, and at the end what is neither later nor greater than s.
func (k *skewFilter) remember(s seen) {
	old := 0
	for old < len(k.recent) && k.recent[old].t < s.t-k.window {
		old++
	}
	kept := k.recent[:copy(k.recent, k.recent[old:])]
	for n := len(kept); n > 0; n-- {
		o := kept[n-1]
		if o.replica != s.replica || o.histogram != s.histogram || !(o.f <= s.f) { // one may be NaN
			break
		}
		kept = kept[:n-1]
	}
	kept = append(kept, s)
	k.recent = kept

	if len(k.falls) > 0 {
		k.falls = slices.DeleteFunc(k.falls, func(f fall) bool { return f.t < s.t-k.window })
	}
	if o := k.last; o.f >= 2*s.f && s.f >= 0 && o.f > 0 && o.replica == s.replica && o.histogram == s.histogram && o.t >= s.t-2*k.window {
		k.falls = append(k.falls, fall{seen: s, from: o.f})
	}
	k.last = s
}
