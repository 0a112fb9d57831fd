// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/stats"
	"github.com/stretchr/testify/require"
)

// weight is an engine whose queries come to hold so much, a piece at a time.
type weight struct {
	bytes  int64
	answer promql.Vector
	writes time.Duration // The answer.
	fails  error         // What it ends with, for any reason.
}

const (
	weightPiece = 16 << 20
	pieceTakes  = 10 * time.Millisecond
)

func (w weight) NewInstantQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time) (promql.Query, error) {
	return &weightQuery{weight: w}, nil
}

func (w weight) NewRangeQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time, time.Time, time.Duration) (promql.Query, error) {
	return &weightQuery{weight: w}, nil
}

type weightQuery struct {
	weight
	done bool
}

func (q *weightQuery) Exec(ctx context.Context) *promql.Result {
	if q.done {
		panic("a query is executed once")
	}
	q.done = true
	a := From(ctx)
	for range q.bytes / weightPiece {
		turnFrom(ctx).stop() // As one that waits for storage.
		time.Sleep(pieceTakes)
		if err := turnFrom(ctx).begin(); err != nil {
			return &promql.Result{Err: promql.ErrQueryCanceled("expression evaluation")}
		}
		if err := a.touch(1, weightPiece); err != nil {
			return &promql.Result{Err: err}
		}
		if ctx.Err() != nil {
			return &promql.Result{Err: promql.ErrQueryCanceled("expression evaluation")}
		}
	}
	return &promql.Result{Value: q.answer, Err: q.fails}
}

func (*weightQuery) Close()                      {}
func (*weightQuery) Statement() parser.Statement { return nil }
func (*weightQuery) Stats() *stats.Statistics    { return nil }
func (*weightQuery) Cancel()                     {}
func (*weightQuery) String() string              { return "" }

// scale is a node of 4 GiB, of which one is used, and whose memory is watched.
type scale struct {
	t      *testing.T
	books  *Books
	most   int64 // Held at a time.
	mu     sync.Mutex
	counts uint64
	stop   func()
	done   chan error
}

func newScale(t *testing.T, configure ...func(*Config)) *scale {
	s := &scale{t: t, done: make(chan error, 1)}
	cfg := Config{Cores: 2, Memory: func() Usage {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts++
		held := s.books.held.Load()
		s.most = max(s.most, held)
		return Usage{Bytes: gib + held, Limit: 4 * gib, Collections: s.counts}
	}}
	for _, f := range configure {
		f(&cfg)
	}
	s.books = New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	go func() { s.done <- s.books.Run(ctx) }()
	return s
}

// end checks that nothing is left.
func (s *scale) end() {
	s.stop()
	require.NoError(s.t, <-s.done)
	require.Zero(s.t, s.books.held.Load())
	require.Zero(s.t, s.books.line.waiting())
	require.Nil(s.t, s.books.line.first)
	require.Zero(s.t, s.books.turns.running)
	require.Empty(s.t, s.books.accounts())
}

// ask runs a query as the API does.
func (s *scale) ask(ctx context.Context, w weight, limits Limits) (*Account, *promql.Result) {
	a := &Account{limits: limits}
	ctx, finish := s.books.account(ctx, a)
	defer finish()
	q, err := s.books.Again(s.books.Engine(func(int64) promql.QueryEngine { return w })).NewInstantQuery(ctx, nil, nil, "", time.Time{})
	require.NoError(s.t, err)
	defer q.Close()
	res := q.Exec(ctx)
	time.Sleep(w.writes)
	return a, res
}

// Ten queries of which one takes a third of the memory are answered, one after the other.
func TestQueriesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScale(t)
		accounts := make([]*Account, 10)
		var all sync.WaitGroup
		for i := range accounts {
			all.Go(func() {
				var res *promql.Result
				accounts[i], res = s.ask(t.Context(), weight{bytes: gib * 5 / 4}, Limits{MaxSeries: 100, Timeout: DefaultTimeout})
				require.NoError(t, res.Err)
			})
		}
		all.Wait()
		s.mu.Lock()
		require.Less(t, s.most, int64(queryShare*4*gib)-gib)
		s.mu.Unlock()
		begun := 0
		for _, a := range accounts {
			require.LessOrEqual(t, a.restarts.Load(), int64(1))
			require.EqualValues(t, 80, a.series.Load(), "what was given up does not count")
			begun += int(a.restarts.Load())
		}
		require.Equal(t, 9, begun)
		require.InDelta(t, 9, testutil.ToFloat64(s.books.metrics.restarts), 0)
		require.Greater(t, testutil.ToFloat64(s.books.metrics.waitedForMemory), 9*pieceTakes.Seconds()*80)
		s.end()
	})
}

// Those that hold little are left alone, whatever the others hold.
func TestLightQueriesGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScale(t)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				_, res := s.ask(t.Context(), weight{bytes: gib * 3 / 2}, Limits{})
				require.NoError(t, res.Err)
			})
		}
		for range 10 {
			all.Go(func() {
				for range 20 {
					a, res := s.ask(t.Context(), weight{bytes: 2 * weightPiece}, Limits{})
					require.NoError(t, res.Err)
					require.Zero(t, a.restarts.Load())
				}
			})
		}
		all.Wait()
		require.InDelta(t, 1, testutil.ToFloat64(s.books.metrics.restarts), 0)
		s.end()
	})
}

// One that waits is seen, and ends with its time, or when its client goes, and the others go on.
func TestWaitingForRoomEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScale(t)
		gone, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		ask := func(ctx context.Context, w weight, timeout time.Duration, want error) {
			all.Go(func() {
				_, res := s.ask(ctx, w, Limits{Timeout: timeout})
				if want == nil {
					require.NoError(t, res.Err)
					return
				}
				require.IsType(t, want, res.Err)
			})
			time.Sleep(pieceTakes / 2) // The first is the heaviest.
		}
		heavy := weight{bytes: gib * 7 / 4}
		ask(t.Context(), heavy, DefaultTimeout, nil)
		ask(t.Context(), heavy, time.Second, promql.ErrQueryTimeout(""))
		ask(gone, heavy, DefaultTimeout, promql.ErrQueryCanceled(""))
		ask(t.Context(), heavy, DefaultTimeout, nil)
		for s.books.line.waiting() < 3 {
			time.Sleep(pieceTakes)
		}
		rec := httptest.NewRecorder()
		s.books.cfg.Tenant = func(*http.Request) (string, error) { return "", nil }
		s.books.StatusHandler(true).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
		require.Contains(t, rec.Body.String(), `"waitingForMemory":3`)
		require.Contains(t, rec.Body.String(), `"restarts":1,"waitsForMemorySeconds":`)
		leave()
		all.Wait()
		s.end()
	})
}

// One that does not end when it is told to, because its client does not read, holds the others up until its time is over.
func TestLineDoesNotWaitForSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScale(t)
		slow := &Account{limits: Limits{Timeout: time.Second}}
		ctx, finish := s.books.account(t.Context(), slow)
		slow.grow(gib / 2)
		s.books.line.claim(slow)
		start := time.Now()
		require.NoError(t, s.books.line.wait(t.Context(), &Account{}))
		require.Equal(t, time.Second+graceAfter, time.Since(start))
		require.Error(t, ctx.Err())
		finish()
		s.books.line.first = nil // It has no account.
		s.end()
	})
}

// An answer that has no room is given when others have made some, and refused when nobody can.
func TestAnswersMakeRoom(t *testing.T) {
	large := make(promql.Vector, 3_000_000) // A gigabyte of text.
	synctest.Test(t, func(t *testing.T) {
		s := newScale(t, func(c *Config) { c.Cores = 10 })
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { // At the same time: together they hold less than has any of them stopped.
				_, res := s.ask(t.Context(), weight{bytes: weightPiece * 12, answer: large, writes: time.Second}, Limits{})
				require.NoError(t, res.Err)
			})
		}
		all.Wait()
		require.Positive(t, testutil.ToFloat64(s.books.metrics.restarts))
		require.LessOrEqual(t, testutil.ToFloat64(s.books.metrics.restarts), 3.0)

		_, res := s.ask(t.Context(), weight{bytes: gib * 2, answer: large}, Limits{})
		require.ErrorContains(t, res.Err, "no memory for its answer")
		s.end()
	})
}

// Who was told to make room when all but done makes it by being done; and an error that has nothing to do with it is told.
func TestDoneInstead(t *testing.T) {
	for _, fails := range []error{nil, errors.New("failed")} {
		b := New(Config{Memory: nil}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		a := &Account{}
		ctx, finish := b.account(t.Context(), a)
		tell := &telling{weight: weight{fails: fails}}
		q, err := b.Again(b.Engine(func(int64) promql.QueryEngine { return tell })).NewRangeQuery(ctx, nil, nil, "", time.Time{}, time.Time{}, 0)
		require.NoError(t, err)
		res := q.Exec(ctx)
		require.Equal(t, fails, res.Err)
		if fails == nil {
			require.Zero(t, a.restarts.Load())
		} else {
			require.EqualValues(t, 1, a.restarts.Load(), "it may have been because of that")
		}
		finish()
		require.Nil(t, b.line.first)
	}
}

// telling tells its first query to make room when it is done.
type telling struct {
	weight
	told bool
}

func (w *telling) NewRangeQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time, time.Time, time.Duration) (promql.Query, error) {
	return &tellingQuery{weightQuery{weight: w.weight}, w}, nil
}

type tellingQuery struct {
	weightQuery
	of *telling
}

func (q *tellingQuery) Exec(ctx context.Context) *promql.Result {
	if !q.of.told {
		q.of.told = From(ctx).trying.Load().tell()
	}
	return q.weightQuery.Exec(ctx)
}

// What a query may read of the bucket is counted anew when it is begun again.
func TestBegunAgainAfresh(t *testing.T) {
	type key struct{}
	fresh := 0
	b := New(Config{Fresh: func(ctx context.Context) context.Context {
		fresh++
		return context.WithValue(ctx, key{}, fresh)
	}}, slog.New(slog.DiscardHandler), nil)
	a := &Account{}
	ctx, finish := b.account(t.Context(), a)
	defer finish()
	q, err := b.Again(&telling{weight: weight{fails: errors.New("failed")}}).NewRangeQuery(ctx, nil, nil, "", time.Time{}, time.Time{}, 0)
	require.NoError(t, err)
	require.Error(t, q.Exec(ctx).Err)
	require.Equal(t, 1, fresh)
}
