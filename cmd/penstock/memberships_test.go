// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/ring"
)

// emptyStore has no series and misses none.
type emptyStore struct{}

func (emptyStore) Querier(string, int64, int64) (storage.Querier, error) {
	return storage.NoopQuerier(), nil
}

func (emptyStore) ChunkQuerier(string, int64, int64) (storage.ChunkQuerier, error) {
	return storage.NoopChunkedQuerier(), nil
}

func (emptyStore) ExemplarQuerier(context.Context, string) (storage.ExemplarQuerier, error) {
	return nil, nil //nolint:nilnil // Never called.
}

func (emptyStore) LocalStart(string) int64 { return math.MinInt64 }

func (emptyStore) Newest(string) int64 { return math.MinInt64 }

// BlockSets implements querier.Local: it has no blocks.
func (emptyStore) BlockSets(context.Context, string, *storage.SelectHints, ...*labels.Matcher) (map[string]storage.ChunkSeriesSet, func() error, error) {
	return nil, func() error { return nil }, nil
}

func (emptyStore) Ready() bool { return true }

// ringAndQuerier is what member a knows of the others, and a querier that goes by it.
type ringAndQuerier struct {
	*ring.History
	now   time.Time
	peer  string // Where every other member is.
	query *querier.Querier
}

func newRingAndQuerier(t *testing.T) *ringAndQuerier {
	logger := slog.New(slog.DiscardHandler)
	tenant := func(*http.Request) (string, error) { return "t", nil }
	peer := httptest.NewServer(querier.NewPeerHandler(querier.PeerHandlerConfig{Local: emptyStore{}, Tenant: tenant}, logger, nil))
	t.Cleanup(peer.Close)
	w := &ringAndQuerier{now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), peer: strings.TrimPrefix(peer.URL, "http://")}
	w.History = ring.NewHistory(w.record("a", 1, 0), nil, 3)
	w.query = querier.New(querier.Config{
		Local:   emptyStore{},
		Members: func() querier.Membership { return membershipOf(w.View(w.now), "http") },
	}, logger, nil)
	return w
}

func (w *ringAndQuerier) record(name string, generation, refilled uint64) ring.Record {
	return ring.Record{LastSeen: w.now, Member: ring.Member{
		Name: name, State: ring.Active, InternalAddr: w.peer, Generation: generation, Refilled: refilled,
	}}
}

// ask returns why the answer is not complete, or nil.
func (w *ringAndQuerier) ask(t *testing.T) error {
	q, err := w.query.Querier(0, math.MaxInt64)
	require.NoError(t, err)
	defer q.Close()
	set := q.Select(querier.WithTenant(t.Context(), "t"), true, nil, labels.MustNewMatcher(labels.MatchNotEqual, "__name__", ""))
	for set.Next() {
		t.Fatal("a series out of nothing")
	}
	return set.Err()
}

// Two disks are replaced one after the other, and then the third member is down. Two of three answer, which
// is enough but for the samples that only the third still holds.
func TestReplacedDisksAreMissing(t *testing.T) {
	w := newRingAndQuerier(t)
	for _, name := range []string{"b", "c"} {
		w.Seen(w.record(name, 1, 0))
	}
	w.Lost("c", w.now)
	require.NoError(t, w.ask(t), "one of three is missing")
	w.Seen(w.record("c", 1, 0))

	replace := func(name string, refilled uint64) {
		w.Lost(name, w.now)
		w.Seen(w.record(name, 2, 0))
		require.NoError(t, w.ask(t), "the other two have everything")
		w.Seen(w.record(name, 2, refilled))
	}
	replace("b", 1)
	replace("c", 0)
	require.NoError(t, w.ask(t))
	w.Lost("b", w.now)
	require.ErrorContains(t, w.ask(t), "2 of 3 members are missing: b (unreachable), c (disk replaced, being refilled)")
	w.Seen(w.record("c", 2, 1))
	require.NoError(t, w.ask(t), "c was refilled")
	w.Seen(w.record("b", 2, 0))
	require.NoError(t, w.ask(t))

	// Without a refill in between.
	w = newRingAndQuerier(t)
	w.Seen(w.record("b", 1, 0))
	w.Seen(w.record("c", 1, 0))
	replace("b", 0)
	w.Lost("c", w.now)
	w.Seen(w.record("c", 2, 0))
	require.ErrorContains(t, w.ask(t), "2 of 3 members are missing")
}

// Every kind of member, as the read path sees it. Whole members are seen as they always were.
func TestMembershipOf(t *testing.T) {
	for _, state := range []ring.State{ring.Joining, ring.Active, ring.Leaving, ring.Left} {
		for i := range 32 {
			bit := func(n int) bool { return i&(1<<n) != 0 }
			m := ring.MemberStatus{
				Member: ring.Member{Name: "m", Zone: "z", State: state, InternalAddr: "h:1", Holes: bit(0)},
				Alive:  bit(1), Forgotten: bit(2), Ended: 5,
			}
			if bit(3) {
				m.Replaced = 7
			}
			if bit(4) {
				m.Refilled = 7
			}
			view := &ring.View{Self: "m", Ring: ring.New([]ring.Member{m.Member}, 3), Members: []ring.MemberStatus{m}}
			got := membershipOf(view, "https")
			require.Equal(t, 3, got.RF)
			if state == ring.Left {
				require.Equal(t, []querier.Gone{{Name: "m", Generation: 5}}, got.Gone)
				require.Empty(t, got.Members)
				continue
			}
			want := querier.Member{
				Name: "m", Zone: "z", URL: "https://h:1", Self: true, Alive: bit(1),
				Serving: state == ring.Active || state == ring.Leaving, Forgotten: bit(2),
				Generation: m.Generation, Replaced: m.Replaced, Refilled: m.Refilled,
			}
			require.Equal(t, []querier.Gone{{Name: "m", Generation: 5}}, got.Gone)
			switch {
			case bit(0):
				want.Lacks = "lost data, being refilled"
			case bit(3) && !bit(4):
				want.Lacks = "disk replaced, being refilled"
			}
			require.Equal(t, []querier.Member{want}, got.Members, fmt.Sprint(i))
		}
	}
}

func TestCutOff(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	f := func(want bool, since time.Time) {
		t.Helper()
		require.Equal(t, want, cutOff(&ring.View{MinoritySince: since}, time.Minute, now))
	}
	f(false, time.Time{})
	f(false, now)
	f(false, now.Add(-time.Minute))
	f(true, now.Add(-time.Minute-1))
}

func TestPrintRingShowsWhatMembersLack(t *testing.T) {
	var out strings.Builder
	whole, not := true, false
	require.NoError(t, printRing(&out, &ringStatus{Members: []ringMember{
		{Name: "old-version"}, {Name: "whole", Whole: &whole}, {Name: "lost", Whole: &not, Holes: true}, {Name: "new", Whole: &not, Replaced: 1},
	}}))
	require.Regexp(t, `(?s)old-version .* whole .*\nwhole .* whole .*\nlost .* lost data, being refilled .*\nnew .* disk replaced, being refilled `, out.String())
}
