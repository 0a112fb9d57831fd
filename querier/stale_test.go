// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// staleCluster is a cluster whose member 0 has heard nothing since generation 10, while each
// other member says what it was told to.
type staleCluster struct {
	*cluster
	views []atomic.Pointer[Membership]
	lists atomic.Int64 // Answers that told of all members.
}

func newStaleCluster(t *testing.T, n int) *staleCluster {
	s := &staleCluster{cluster: newCluster(t, n, 3), views: make([]atomic.Pointer[Membership], n)}
	for i := range s.members.Members {
		s.members.Members[i].Generation = 10
	}
	for i := 1; i < n; i++ {
		s.tell(i, nil)
		h := NewPeerHandler(PeerHandlerConfig{
			Local: s.stores[i], Tenant: tenantOf, Members: func() Membership { return *s.views[i].Load() },
			Heads: headOf(s.stores[i], s.members.Members[i].Name, 3),
		}, quiet(), nil)
		s.replace(t, i, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(w, r)
			if facts, _ := decodeFacts(w.Header().Get(headerMembers)); len(facts) > 0 {
				s.lists.Add(1)
			}
		}))
	}
	return s
}

// tell changes what member i knows, from what member 0 knows.
func (s *staleCluster) tell(i int, change func(*Membership)) {
	ms := Membership{RF: 3}
	for j, m := range s.members.Members {
		m.Self = j == i
		ms.Members = append(ms.Members, m)
	}
	if change != nil {
		change(&ms)
	}
	s.views[i].Store(&ms)
}

// questions are all that can be asked; each returns why there was no answer.
func (s *staleCluster) questions(t *testing.T) map[string]func() error {
	return map[string]func() error{
		opRead: func() error { return s.query(t, tenantCtx(), 0, 1000, nil, all()).err },
		opSeries: func() error {
			return s.query(t, tenantCtx(), 0, 1000, &storage.SelectHints{End: 1000, Func: funcSeries}, all()).err
		},
		opLabels: func() error {
			q, err := s.Querier.Querier(0, 1000)
			require.NoError(t, err)
			defer q.Close()
			_, _, err = q.LabelNames(tenantCtx(), nil)
			return err
		},
		opValues: func() error {
			q, err := s.Querier.Querier(0, 1000)
			require.NoError(t, err)
			defer q.Close()
			_, _, err = q.LabelValues(tenantCtx(), "__name__", nil)
			return err
		},
		opExemplars: func() error {
			q, err := s.ExemplarQuerier(tenantCtx())
			require.NoError(t, err)
			_, err = q.Select(0, 1000, []*labels.Matcher{all()})
			return err
		},
		opCardinality: func() error {
			_, _, err := s.Cardinality(tenantCtx())
			return err
		},
	}
}

// TestAnswersTellWhatTheAskerHasNotHeard: with one member down, whatever the others have to say of themselves or
// of a member that is not known here makes every kind of answer incomplete.
func TestAnswersTellWhatTheAskerHasNotHeard(t *testing.T) {
	for name, news := range map[string]struct {
		of     int
		change func(*Membership)
		says   string
	}{
		"lost data":      {1, func(ms *Membership) { ms.Members[1].Lacks = "lost data, being refilled" }, "m1 (lost data, being refilled)"},
		"not open":       {1, func(ms *Membership) { ms.Members[1].Serving = false }, "m1 (not serving yet)"},
		"disk replaced":  {1, func(ms *Membership) { ms.Members[1].Generation = 11 }, "m1 (" + reasonReplaced + ")"},
		"of another one": {1, func(ms *Membership) { ms.Members[0].Generation = 9 }, "m0 (" + reasonReplaced + ")"},
		"joined":         {1, func(ms *Membership) { ms.Members = append(ms.Members, Member{Name: "m9", Generation: 12}) }, "m9 (" + reasonStranger + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStaleCluster(t, 3)
			s.stores[1].writeExemplar(t, lset("a"), exemplar.Exemplar{Labels: lset("x"), Value: 1, Ts: 1, HasTs: true})
			for op, ask := range s.questions(t) {
				require.NoError(t, ask(), op)
			}
			require.Zero(t, s.lists.Load(), "who knows the same says so, and no more")
			s.tell(news.of, news.change)
			for op, ask := range s.questions(t) {
				require.NoError(t, ask(), "one may be missing: %s", op)
			}
			s.stop(2)
			for op, ask := range s.questions(t) {
				err := ask()
				var incomplete *IncompleteError
				require.ErrorAs(t, err, &incomplete, op)
				require.ErrorContains(t, err, news.says, op)
			}
		})
	}
}

// TestLossDuringAnAnswer: a member that finds out while it answers that data is missing says so at the end, and so does
// the asking side of itself.
func TestLossDuringAnAnswer(t *testing.T) {
	s := newStaleCluster(t, 3)
	whole := *s.views[1].Load()
	lacking := whole
	lacking.Members = append([]Member(nil), whole.Members...)
	lacking.Members[1].Lacks = "a block was set aside"
	asked := 0
	h := NewPeerHandler(PeerHandlerConfig{Local: s.stores[1], Tenant: tenantOf, Heads: headOf(s.stores[1], "m1", 3), Members: func() Membership {
		if asked++; asked%2 == 1 {
			return whole
		}
		return lacking
	}}, quiet(), nil)
	s.replace(t, 1, h)
	s.stop(2)
	questions := s.questions(t)
	for op, ask := range questions {
		require.ErrorContains(t, ask(), "m1 (a block was set aside)", op)
	}
	require.Equal(t, 2*len(questions), asked)

	own := newCluster(t, 3, 3)
	own.stop(2)
	calls := 0
	own.cfg.Members = func() Membership {
		ms := own.members
		if calls++; calls%2 == 0 {
			ms.Members = append([]Member(nil), ms.Members...)
			ms.Members[0].Lacks = "a log was set aside"
		}
		return ms
	}
	require.ErrorContains(t, own.query(t, tenantCtx(), 0, 1000, nil, all()).err, "m0 (a log was set aside)")
}

// TestNewcomerCallsNothingComplete: it may not know of those who have what it lacks.
func TestNewcomerCallsNothingComplete(t *testing.T) {
	s := newStaleCluster(t, 3)
	s.members.Newcomer = true
	for op, ask := range s.questions(t) {
		require.ErrorContains(t, ask(), "this member is new, knows 3 members", op)
	}
	alone := newCluster(t, 1, 1)
	require.NoError(t, alone.query(t, tenantCtx(), 0, 1000, nil, all()).err)
	alone.members.Newcomer = true
	require.Error(t, alone.query(t, tenantCtx(), 0, 1000, nil, all()).err)
}

// TestAnswerOfTheFirstVersions: a member that says nothing of itself is taken as gossip has it.
func TestAnswerOfTheFirstVersions(t *testing.T) {
	s := newStaleCluster(t, 3)
	s.replace(t, 1, NewPeerHandler(PeerHandlerConfig{Local: s.stores[1], Tenant: tenantOf, Heads: headOf(s.stores[1], "m1", 3)}, quiet(), nil))
	w := httptest.NewRecorder()
	NewPeerHandler(PeerHandlerConfig{Local: s.stores[1], Tenant: tenantOf, Heads: headOf(s.stores[1], "m1", 3)}, quiet(), nil).ServeHTTP(w, readRequest(t))
	require.Empty(t, w.Header().Get(headerSelf))
	require.Empty(t, w.Header().Get(headerMembers))
	s.stop(2)
	for op, ask := range s.questions(t) {
		require.NoError(t, ask(), op)
	}
}
