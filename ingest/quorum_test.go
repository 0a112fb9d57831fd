// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"slices"
	"testing"
)

// eachVector calls f with every vector of n verdicts of owners that have answered.
func eachVector(n int, f func([]Verdict)) {
	answers := []Verdict{Accepted, Rejected, Unavailable, down}
	v := make([]Verdict, n)
	var fill func(int)
	fill = func(i int) {
		if i == n {
			f(v)
			return
		}
		for _, a := range answers {
			v[i] = a
			fill(i + 1)
		}
	}
	fill(0)
}

// eachOrder calls f with every order of n owners.
func eachOrder(n int, f func([]int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var permute func(int)
	permute = func(k int) {
		if k == n {
			f(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			permute(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	permute(0)
}

// arrive feeds the verdicts in the given order and returns the first decision that
// the rule makes.
func arrive(verdicts []Verdict, order []int, rule func([]Verdict) outcome) outcome {
	seen := make([]Verdict, len(verdicts))
	for _, owner := range order {
		seen[owner] = verdicts[owner]
		if o := rule(seen); o != undecided {
			return o
		}
	}
	return undecided
}

// TestDecideEveryVectorInEveryOrder enumerates all there is: whichever owner answers
// first, the outcome is the one that the whole vector has.
func TestDecideEveryVectorInEveryOrder(t *testing.T) {
	t.Parallel()
	runs := 0
	for rf := 1; rf <= 5; rf++ {
		for owners := 1; owners <= rf; owners++ {
			eachVector(owners, func(v []Verdict) {
				want := decide(v, rf)
				if want == undecided {
					t.Fatalf("rf %d: %v is never decided", rf, v)
				}
				eachOrder(owners, func(order []int) {
					runs++
					if got := arrive(v, order, func(seen []Verdict) outcome { return decide(seen, rf) }); got != want {
						t.Fatalf("rf %d: %v in order %v is %d, want %d", rf, v, order, got, want)
					}
				})
			})
		}
	}
	t.Logf("%d runs", runs)
}

// reference is the rule of the design in its own words, over a whole vector.
func reference(v []Verdict, rf int) outcome {
	count := func(want ...Verdict) (n int) {
		for _, x := range v {
			if slices.Contains(want, x) {
				n++
			}
		}
		return n
	}
	w := rf/2 + 1
	switch {
	case count(Accepted) >= w:
		return outcomeAccepted
	case count(Rejected) >= rf-w+1:
		return outcomeRejected
	}
	// What could a retry bring? The slow owners may say anything, the rest the same.
	canAccept := count(Accepted, Unavailable) >= w
	canReject := count(Rejected, Unavailable) >= rf-w+1
	if !canAccept && !canReject && count(Accepted, Rejected) >= w {
		return outcomeMixed
	}
	return outcomeUnavailable
}

func TestDecideIsTheRule(t *testing.T) {
	t.Parallel()
	for rf := 1; rf <= 5; rf++ {
		for owners := 1; owners <= rf; owners++ {
			eachVector(owners, func(v []Verdict) {
				if got, want := decide(v, rf), reference(v, rf); got != want {
					t.Fatalf("rf %d: %v is %d, want %d", rf, v, got, want)
				}
			})
		}
	}
}

// TestDecideCases are the vectors that published systems got wrong, and the ones
// that show each rule at work.
func TestDecideCases(t *testing.T) {
	t.Parallel()
	f := func(rf int, want outcome, v ...Verdict) {
		t.Helper()
		if got := decide(v, rf); got != want {
			t.Errorf("rf %d: %v is %d, want %d", rf, v, got, want)
		}
	}
	f(1, outcomeAccepted, Accepted)
	f(1, outcomeRejected, Rejected)
	f(1, outcomeUnavailable, down)
	// Two copies need both members.
	f(2, outcomeUnavailable, Accepted, down)
	f(2, outcomeRejected, Accepted, Rejected)
	f(3, outcomeAccepted, Accepted, Accepted, down)
	f(3, outcomeRejected, Rejected, Rejected, Accepted)
	// A slow third owner may still tip it; a dead one cannot.
	f(3, outcomeUnavailable, Accepted, Rejected, Unavailable)
	f(3, outcomeMixed, Accepted, Rejected, down)
	// One rejection is no reason to drop data while a quorum is away.
	f(3, outcomeUnavailable, Rejected, down, down)
	f(3, outcomeUnavailable, Accepted, down, down)
	f(4, outcomeUnavailable, Accepted, Accepted, Unavailable, down)
	f(4, outcomeMixed, Accepted, Accepted, Rejected, down)
	f(5, outcomeMixed, Accepted, Accepted, Rejected, Rejected, down)
	// Fewer members than copies.
	f(3, outcomeAccepted, Accepted, Accepted)
	f(3, outcomeMixed, Accepted, Rejected)
	// Undecided while it matters, decided as soon as it does not.
	f(3, undecided, Accepted, pending, pending)
	f(3, outcomeAccepted, Accepted, Accepted, pending)
	f(3, undecided, Accepted, Rejected, pending)
	f(3, outcomeUnavailable, Unavailable, down, pending)
	f(5, undecided, Accepted, Accepted, Rejected, Rejected, pending)
}

// TestNaiveEarlyStopDependsOnOrder shows that the tests above can fail: stopping at
// the first failures that make a quorum impossible, and judging by those, gives one
// vector several answers.
func TestNaiveEarlyStopDependsOnOrder(t *testing.T) {
	t.Parallel()
	naive := func(rf int) func([]Verdict) outcome {
		return func(seen []Verdict) outcome {
			need := rf/2 + 1
			var accepted, rejected, failed int
			for _, v := range seen {
				switch v {
				case Accepted:
					accepted++
				case Rejected:
					rejected++
				case Unavailable, down:
					failed++
				}
			}
			switch {
			case accepted >= need:
				return outcomeAccepted
			case rejected+failed > rf-need && rejected > failed:
				return outcomeRejected
			case rejected+failed > rf-need:
				return outcomeUnavailable
			}
			return undecided
		}
	}
	ambiguous := map[string]bool{}
	for rf := 2; rf <= 5; rf++ {
		eachVector(rf, func(v []Verdict) {
			answers := map[outcome]bool{}
			eachOrder(rf, func(order []int) { answers[arrive(v, order, naive(rf))] = true })
			if len(answers) > 1 {
				ambiguous[fmt.Sprintf("%d %v", rf, v)] = true
			}
		})
	}
	if len(ambiguous) == 0 {
		t.Fatal("the naive rule passed: the enumeration does not see what it is for")
	}
	t.Logf("%d vectors with more than one answer", len(ambiguous))
}

func BenchmarkDecide(b *testing.B) {
	v := []Verdict{Accepted, Accepted, pending}
	b.ReportAllocs()
	for b.Loop() {
		if decide(v, 3) != outcomeAccepted {
			b.Fatal("not accepted")
		}
	}
}
