// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// evenReplies are the kinds of replies of an owner that has three series: of all
// alike, and such as tell them apart. A nil reply never comes.
func evenReplies() []*Reply {
	fault := func(v Verdict, items ...uint32) []Fault {
		return []Fault{{Pos: 1, Verdict: v, Items: items, Reason: ReasonTooOld, Detail: "one series"}}
	}
	return []*Reply{
		nil,
		{All: Accepted},
		{All: Unavailable, Reason: ReasonStorage, Detail: "slow"},
		{All: down, Reason: ReasonDown, Detail: "gone"},
		{All: Accepted, Faults: fault(Rejected, 1)},
		{All: Accepted, Faults: fault(Unavailable)},
		{All: Rejected, Reason: ReasonLimit, Detail: "all of it"},
	}
}

// eachReplies calls f with every vector of n replies.
func eachReplies(n int, kinds []*Reply, f func([]*Reply)) {
	v := make([]*Reply, n)
	var fill func(int)
	fill = func(i int) {
		if i == n {
			f(v)
			return
		}
		for _, r := range kinds {
			v[i] = r
			fill(i + 1)
		}
	}
	fill(0)
}

// TestEvenTallyIsTheTally compares the tally that counts owners with the one that
// counts series: after every reply both have decided or both have not, and in the end
// they tell the same and hint the same. Every vector of replies, in every order.
func TestEvenTallyIsTheTally(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	second := seriesV1(now, 1, "__name__", "y")
	second.Samples = append(second.Samples, second.Samples[0])
	series := []prompb.TimeSeries{seriesV1(now, 1, "__name__", "x"), second, seriesV1(now, 1, "__name__", "z"), seriesV1(now, 1, "no", "name")}
	// A batch has one tally at a time.
	b, other := batchOf(t, series...), batchOf(t, series...)
	require.Len(t, b.valid, 3)
	kinds := evenReplies()
	runs := 0
	for rf := 1; rf <= 5; rf++ {
		for owners := 1; owners <= rf; owners++ {
			some := kinds
			if owners > 3 {
				some = kinds[:5] // The rest would take minutes.
			}
			if owners > 4 {
				some = []*Reply{kinds[0], kinds[1], kinds[2], kinds[4]}
			}
			var members []ring.Member
			for n := range owners {
				members = append(members, ring.Member{Name: fmt.Sprint("m", n)})
			}
			r := ring.New(members, rf)
			eachReplies(owners, some, func(replies []*Reply) {
				eachOrder(owners, func(order []int) {
					runs++
					requireSameTally(t, b, other, r, rf, replies, order)
				})
			})
		}
	}
	t.Logf("%d runs", runs)
}

func requireSameTally(t *testing.T, b, other *Batch, r *ring.Ring, rf int, replies []*Reply, order []int) {
	t.Helper()
	even, byOne := newTally(b, rf, group(b, r)), newTally(other, rf, group(other, r))
	byOne.spread()
	name := func() string {
		said := fmt.Sprintf("rf %d, order %v, replies", rf, order)
		for _, r := range replies {
			said += fmt.Sprintf(" %+v", r)
		}
		return said
	}
	if !even.even || byOne.even {
		t.Fatal("nothing to compare: " + name())
	}
	for _, n := range order {
		if replies[n] == nil {
			continue
		}
		even.record(&even.plan.shares[n], *replies[n])
		byOne.record(&byOne.plan.shares[n], *replies[n])
		if (even.undecided == 0) != (byOne.undecided == 0) {
			t.Fatalf("%s: %d and %d undecided", name(), even.undecided, byOne.undecided)
		}
	}
	even.finish()
	byOne.finish()
	if want, got := byOne.outcome(), even.outcome(); !reflect.DeepEqual(want, got) {
		t.Fatalf("%s: %+v, want %+v", name(), got, want)
	}
	for n := range even.plan.shares {
		want, got := byOne.missedPart(&byOne.plan.shares[n]), even.missedPart(&even.plan.shares[n])
		if !slices.Equal(want, got) {
			t.Fatalf("%s: member %d misses %v, want %v", name(), n, got, want)
		}
	}
}
