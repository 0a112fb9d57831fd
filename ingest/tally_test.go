// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"strings"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// TestTallyDoesNotDependOnOrder holds more than the verdicts: counts and the reason
// that a sender is told are the same whoever answers first.
func TestTallyDoesNotDependOnOrder(t *testing.T) {
	t.Parallel()
	now := nowMillis()
	series := seriesV1(now, 1, "__name__", "x")
	series.Samples = append(series.Samples, series.Samples[0], series.Samples[0])
	b := batchOf(t, series, seriesV1(now, 1, "__name__", "y"))
	r := ring.New([]ring.Member{{Name: "a"}, {Name: "b"}, {Name: "c"}}, 3)
	fault := func(pos uint32, reason Reason, items ...uint32) Fault {
		return Fault{Pos: pos, Verdict: Rejected, Items: items, Reason: reason, Detail: string(reason)}
	}
	replies := []Reply{
		{All: Accepted, Faults: []Fault{fault(0, ReasonTooOld, 0, 1), fault(1, ReasonDuplicate)}},
		{All: Accepted, Faults: []Fault{fault(0, ReasonOutOfOrder, 1, 2), fault(1, ReasonTooOld)}},
		{All: Accepted},
	}
	var want *Outcome
	eachOrder(3, func(order []int) {
		p := group(b, r)
		tl := newTally(b, 3, p)
		for _, n := range order {
			tl.record(&p.shares[n], replies[n])
		}
		require.Zero(t, tl.undecided)
		tl.finish()
		o := tl.outcome()
		if want == nil {
			want = &o
		}
		require.Equal(t, *want, o)
	})
	require.Equal(t, Counts{Samples: 2}, want.Written)
	require.Len(t, want.Rejected, 2)
	require.Equal(t, Counts{Samples: 1}, want.Rejected[0].Items)
}

// TestGroupIsWhatTheRingSays gives every owner each of its series once.
func TestGroupIsWhatTheRingSays(t *testing.T) {
	t.Parallel()
	b := batchOf(t, benchRequest(1).Timeseries[:500]...)
	var members []ring.Member
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		members = append(members, ring.Member{Name: name})
	}
	for rf := 1; rf <= 5; rf++ {
		r := ring.New(members, rf)
		got := map[[2]int]int{}
		p := group(b, r)
		for _, sh := range p.shares {
			for pos, i := range sh.part {
				got[[2]int{sh.member, int(i)}]++
				require.Equal(t, int(r.Owners(b.series[i].slot)[sh.ranks[pos]]), sh.member)
			}
		}
		require.Len(t, got, 500*rf)
		for pair, n := range got {
			require.Equal(t, 1, n, pair)
		}
	}
}

// TestExpansionStopsAtTheLimit in the middle of one series: its exemplars could name
// one long symbol for as long as there is memory.
func TestExpansionStopsAtTheLimit(t *testing.T) {
	t.Parallel()
	req := &writev2.Request{Symbols: []string{"", "__name__", strings.Repeat("v", DefaultLabelValueBytes)}}
	s := writev2.TimeSeries{LabelsRefs: []uint32{1, 2}}
	for range 10_000 {
		s.Exemplars = append(s.Exemplars, writev2.Exemplar{LabelsRefs: []uint32{1, 2}})
	}
	req.Timeseries = append(req.Timeseries, s)
	body, err := req.Marshal()
	require.NoError(t, err)
	limits := Limits{ExpandedBytes: 1 << 20}.withDefaults()
	pool := batchPool{limits: limits}
	b := pool.get(testTenant)
	var large *tooLargeError
	require.ErrorAs(t, b.scanV2(body), &large)
	require.Less(t, int64(len(b.arena)), limits.ExpandedBytes+2*DefaultLabelValueBytes)
}
