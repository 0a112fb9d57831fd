// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package checker

import (
	"maps"
	"math"
	"slices"
	"testing"
	"time"
)

var testPlan = Plan{Name: "test", Seed: 1, Shards: 2, Series: 3, Interval: 2 * time.Second, Start: time.UnixMilli(1_700_000_000_000)}

// answer is what a store that lost nothing has of a window.
func (p Plan) answer(w Window) []Found {
	var out []Found
	for series := range p.Series {
		f := Found{Labels: map[string]string{}}
		for _, pair := range p.labels(w.Shard, series) {
			f.Labels[pair[0]] = pair[1]
		}
		for tick := w.From; tick < w.To; tick++ {
			f.Samples = append(f.Samples, Sample{p.Time(tick), p.Value(w.Shard, series, tick)})
		}
		out = append(out, f)
	}
	return out
}

func clone(answer []Found) []Found {
	out := slices.Clone(answer)
	for i := range out {
		out[i] = Found{Labels: maps.Clone(out[i].Labels), Samples: slices.Clone(out[i].Samples)}
	}
	return out
}

// TestCompare: each thing that can be wrong with an answer is found, once, and nothing else is.
func TestCompare(t *testing.T) {
	all := []Outcome{Acked, Acked, Unknown, Acked}
	good := Window{Shard: 1, From: 5, To: 9, Before: all, After: all}
	unsent := []Outcome{Acked, Acked, Unsent, Acked}
	refused := []Outcome{Acked, Acked, Refused, Acked}
	const acked = 9 // 3 series, 3 ticks
	for name, c := range map[string]struct {
		w      Window
		change func(a []Found) []Found
		want   Findings
	}{
		"everything": {good, func(a []Found) []Found { return a }, Findings{Right: 12, Acked: acked}},
		"nothing":    {good, func([]Found) []Found { return nil }, Findings{Acked: acked, Lost: acked}},
		"one acked is missing": {good, func(a []Found) []Found {
			a[1].Samples = slices.Delete(a[1].Samples, 3, 4)
			return a
		}, Findings{Right: 11, Acked: acked, Lost: 1}},
		"one unknown is missing": {good, func(a []Found) []Found {
			a[1].Samples = slices.Delete(a[1].Samples, 2, 3)
			return a
		}, Findings{Right: 11, Acked: acked}},
		"one bit is wrong": {good, func(a []Found) []Found {
			s := &a[2].Samples[0]
			s.Value = math.Float64frombits(math.Float64bits(s.Value) ^ 1)
			return a
		}, Findings{Right: 11, Acked: acked, Wrong: 1}},
		"one bit of an unknown is wrong": {good, func(a []Found) []Found {
			a[2].Samples[2].Value = a[1].Samples[2].Value
			return a
		}, Findings{Right: 11, Acked: acked, Wrong: 1}},
		"one is there twice": {good, func(a []Found) []Found {
			a[0].Samples = append(a[0].Samples, a[0].Samples[3])
			return a
		}, Findings{Right: 13, Acked: acked, Duplicated: 1}},
		"a series is there twice": {good, func(a []Found) []Found { return append(a, a[0]) }, Findings{Right: 16, Acked: acked, Duplicated: 4}},
		"one was never sent":      {with(good, unsent), func(a []Found) []Found { return a }, Findings{Right: 9, Acked: acked, Invented: 3}},
		"one was refused":         {with(good, refused), func(a []Found) []Found { return a }, Findings{Right: 9, Acked: acked, Invented: 3}},
		"one is between two ticks": {good, func(a []Found) []Found {
			a[0].Samples = append(a[0].Samples, Sample{a[0].Samples[0].Time + 1, 1})
			return a
		}, Findings{Right: 12, Acked: acked, Invented: 1}},
		"one is outside": {good, func(a []Found) []Found {
			a[0].Samples = append(a[0].Samples, Sample{testPlan.Time(9), testPlan.Value(1, 0, 9)})
			return a
		}, Findings{Right: 12, Acked: acked, Invented: 1}},
		"a label is wrong": {good, func(a []Found) []Found {
			a[0].Labels[PartLabel] = "test-0"
			return a
		}, Findings{Right: 8, Acked: acked, Lost: 3, Invented: 4}},
		"a label is new": {good, func(a []Found) []Found {
			a[0].Labels["more"] = "x"
			return a
		}, Findings{Right: 8, Acked: acked, Lost: 3, Invented: 4}},
		"the replica is deduplicated away": {good, func(a []Found) []Found {
			for i := range a {
				delete(a[i].Labels, replicaLabel)
			}
			return a
		}, Findings{Right: 12, Acked: acked}},
		"two series have changed places": {good, func(a []Found) []Found {
			a[0].Samples, a[1].Samples = a[1].Samples, a[0].Samples
			return a
		}, Findings{Right: 4, Acked: acked, Wrong: 8}},
	} {
		got := testPlan.Compare(c.w, c.change(clone(testPlan.answer(good))))
		if (got.Faults() > 0) != (len(got.Examples) > 0) || (got.Err() != nil) != (got.Faults() > 0) {
			t.Errorf("%s: %d faults, examples %q, %v", name, got.Faults(), got.Examples, got.Err())
		}
		got.Examples = nil
		if got.String() != c.want.String() {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// with is a window that knew other outcomes, before and after.
func with(w Window, outcomes []Outcome) Window {
	w.Before, w.After = outcomes, outcomes
	return w
}

// TestValues: no two samples near each other have the same bits, and all are numbers.
func TestValues(t *testing.T) {
	seen := map[uint64]bool{}
	for shard := range 4 {
		for series := range 50 {
			for tick := range 100 {
				v := testPlan.Value(shard, series, tick)
				if bits := math.Float64bits(v); math.IsNaN(v) || math.IsInf(v, 0) || seen[bits] {
					t.Fatalf("shard %d series %d tick %d: %v", shard, series, tick, v)
				}
				seen[math.Float64bits(v)] = true
			}
		}
	}
}
