// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/refill"
	"github.com/penstock-io/penstock/ring"
)

// viewOf makes a view of n members, of which m0 is the asking one.
func viewOf(rf, n int, change ...func([]ring.MemberStatus)) *ring.View {
	view := &ring.View{Self: "m0"}
	for i := range n {
		view.Members = append(view.Members, ring.MemberStatus{Alive: true, Member: ring.Member{Name: fmt.Sprintf("m%d", i), State: ring.Active, Generation: uint64(i + 1)}})
	}
	for _, f := range change {
		f(view.Members)
	}
	var members []ring.Member
	for _, m := range view.Members {
		if m.InRing() {
			members = append(members, m.Member)
		}
	}
	view.Ring = ring.New(members, rf)
	return view
}

func holes(ids ...int) func([]ring.MemberStatus) {
	return func(ms []ring.MemberStatus) {
		for _, i := range ids {
			ms[i].Holes = true
		}
	}
}

func TestDonors(t *testing.T) {
	for _, c := range []struct {
		name          string
		rf, n         int
		change        []func([]ring.MemberStatus)
		spare         int
		lacking       int
		readRF, asked int
	}{
		{name: "RF 3: both others", rf: 3, n: 3, readRF: 1, asked: 2},
		{name: "RF 3 of 5: all others", rf: 3, n: 5, readRF: 1, asked: 4},
		{name: "RF 2: the other", rf: 2, n: 2, readRF: 1, asked: 1},
		{name: "RF 5: one may be missing", rf: 5, n: 5, spare: 1, readRF: 3, asked: 4},
		{name: "RF 5: one lacks data, and none may be missing", rf: 5, n: 5, change: []func([]ring.MemberStatus){holes(2)}, readRF: 1, asked: 4},
		{name: "RF 5: two lack data", rf: 5, n: 5, change: []func([]ring.MemberStatus){holes(2, 3)}, lacking: 2, readRF: 3, asked: 5},
		{name: "two disks at once", rf: 3, n: 3, change: []func([]ring.MemberStatus){holes(0, 1)}, lacking: 1, readRF: 3, asked: 3},
		{name: "one left for good", rf: 3, n: 4, change: []func([]ring.MemberStatus){func(ms []ring.MemberStatus) { ms[3].State = ring.Left }}, readRF: 3, asked: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := donorsOf(viewOf(c.rf, c.n, c.change...))
			require.NoError(t, err)
			require.Equal(t, c.spare, d.spare)
			require.Len(t, d.lacking, c.lacking)
			ms := d.membership("http")
			require.Equal(t, c.readRF, ms.RF)
			require.Len(t, ms.Members, c.asked)
		})
	}
	_, err := donorsOf(viewOf(1, 3))
	require.ErrorIs(t, err, refill.ErrNoCopies)
	_, err = donorsOf(viewOf(3, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, refill.ErrNoCopies, "it may hear of the others yet")
}

func TestSurveyIsCompleteOrAnError(t *testing.T) {
	d, err := donorsOf(viewOf(3, 3))
	require.NoError(t, err)
	replies := []surveyReply{{Tenants: []string{"b", "a"}, Routing: true}, {Tenants: []string{"c", "a"}, OldestHintSeconds: 1.5}}
	got, err := summarize(d, replies, make([]error, 2))
	require.NoError(t, err)
	require.Equal(t, refill.Survey{Tenants: []string{"a", "b", "c"}, NotRouting: []string{"m2"}, OldestHint: 1500 * time.Millisecond}, got)
	_, err = summarize(d, replies, []error{nil, errors.New("away")})
	require.ErrorContains(t, err, "m2 (away)")
}

func TestRoutesTo(t *testing.T) {
	require.True(t, routesTo(viewOf(3, 3), "m1", 2))
	require.False(t, routesTo(viewOf(3, 3), "m1", 3), "another data directory")
	require.False(t, routesTo(viewOf(3, 3), "m9", 2))
	for _, change := range []func(*ring.MemberStatus){
		func(m *ring.MemberStatus) { m.Alive = false },
		func(m *ring.MemberStatus) { m.Forgotten = true },
		func(m *ring.MemberStatus) { m.State = ring.Joining },
	} {
		require.False(t, routesTo(viewOf(3, 3, func(ms []ring.MemberStatus) { change(&ms[1]) }), "m1", 2))
	}
}

// TestOwnsByFormerRings: a series that this member owned before others joined is given back too.
func TestOwnsByFormerRings(t *testing.T) {
	joined := time.Unix(1_700_000_000, 0)
	view := viewOf(3, 6, func(ms []ring.MemberStatus) {
		for i := range ms {
			ms[i].Generation = uint64(joined.Add(-48 * time.Hour).UnixNano())
			if i > 3 {
				ms[i].Generation = uint64(joined.Add(time.Duration(i) * time.Hour).UnixNano())
			}
		}
		ms[0].Generation, ms[0].Replaced = uint64(joined.Add(12*time.Hour).UnixNano()), 1 // The disk that is refilled.
	})
	old := ring.New(view.Ring.Members()[:4], 3)
	require.Len(t, ringsDuring(view, joined.Add(8*time.Hour), joined.Add(20*time.Hour), time.Hour), 1, "nobody came or left: the ring of now")
	require.Len(t, ringsDuring(view, joined, joined.Add(3*time.Hour), time.Hour), 2, "before both")
	require.Len(t, ringsDuring(view, joined, joined.Add(8*time.Hour), time.Hour), 3, "before both, between, now")
	rings := ringsDuring(view, joined, joined.Add(3*time.Hour), time.Hour)
	require.Equal(t, old.Version(), rings[1].Version())

	former := 0
	for i := range 500 {
		key, _ := ingest.SeriesKey(nil, "t", labels.FromStrings("i", fmt.Sprint(i)))
		if slot := ring.SlotOf(key); owns(old, "m0", slot) && !owns(view.Ring, "m0", slot) {
			former++
		}
	}
	require.Greater(t, former, 50)

	gone := viewOf(3, 5, func(ms []ring.MemberStatus) { ms[4].State, ms[4].LastSeen = ring.Left, joined })
	require.Len(t, ringsDuring(gone, joined.Add(-time.Hour), joined.Add(2*time.Hour), time.Hour), 2)
	require.Len(t, ringsDuring(gone, joined.Add(2*time.Hour), joined.Add(3*time.Hour), time.Hour), 1)
}
