// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// slowStore is a store of series each of which takes a millisecond to be read; it counts how many are read at a time.
type slowStore struct {
	storage.SampleAndChunkQueryable
	reading, most atomic.Int64
}

const slowSeries = 50

func (s *slowStore) Querier(int64, int64) (storage.Querier, error) {
	return slowQuerier{storage.NoopQuerier(), s}, nil
}

func (s *slowStore) work() {
	s.most.Store(max(s.most.Load(), s.reading.Add(1)))
	time.Sleep(time.Millisecond)
	s.reading.Add(-1)
}

type slowQuerier struct {
	storage.Querier
	store *slowStore
}

func (q slowQuerier) Select(_ context.Context, _ bool, _ *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	return &slowSet{SeriesSet: storage.EmptySeriesSet(), store: q.store}
}

type slowSet struct {
	storage.SeriesSet
	store *slowStore
	n     int
}

func (s *slowSet) Next() bool {
	if s.n > 0 { // The first one is waiting for members.
		s.store.work()
	}
	s.n++
	return s.n <= slowSeries
}

func (s *slowSet) At() storage.Series {
	return storage.NewListSeries(labels.FromStrings("a", "b"), nil)
}

// answerSeries reads and encodes in the goroutine of the request, as Prometheus' handler of /series does.
func answerSeries(t *testing.T, b *Books, store *slowStore) http.Handler {
	q := Queryable(store)
	return b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		querier, err := q.Querier(0, 1)
		require.NoError(t, err)
		set := querier.Select(r.Context(), false, &storage.SelectHints{Func: "series"})
		text := ""
		for set.Next() {
			text += set.At().Labels().String()
		}
		require.NoError(t, set.Err())
		store.work()
		_, err = w.Write([]byte(text))
		require.NoError(t, err)
	}))
}

// slowClient takes a second for each piece of an answer.
type slowClient struct {
	*httptest.ResponseRecorder
	pieces int
}

func (c *slowClient) Write(p []byte) (int, error) {
	c.pieces++
	time.Sleep(time.Second)
	return c.ResponseRecorder.Write(p)
}

// TestAnswersAreMadeByTurns: what is computed in the goroutine of a request takes turns as engines do, and who reads slowly keeps nobody waiting.
func TestAnswersAreMadeByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Cores: 2, Tenant: func(*http.Request) (string, error) { return "a", nil }}, slog.New(slog.DiscardHandler), nil)
		store := &slowStore{}
		h := answerSeries(t, b, store)
		ask := func(n int) (took time.Duration, clients []*slowClient) {
			start := time.Now()
			var all sync.WaitGroup
			for range n {
				client := &slowClient{ResponseRecorder: httptest.NewRecorder()}
				clients = append(clients, client)
				all.Go(func() { h.ServeHTTP(client, httptest.NewRequest(http.MethodGet, "/api/v1/series?match[]=a", nil)) })
			}
			all.Wait()
			return time.Since(start), clients
		}
		_, clients := ask(4)
		require.EqualValues(t, 2, store.most.Load(), "both cores")
		for _, c := range clients {
			require.Equal(t, 1, c.pieces)
			require.Equal(t, strings.Repeat(`{a="b"}`, slowSeries), c.Body.String())
		}

		store.most.Store(0)
		b.Writing()
		took, _ := ask(4)
		require.EqualValues(t, 1, store.most.Load(), "one core is for writes")
		require.Less(t, took, 4*slowSeries*2*time.Millisecond+2*time.Second, "slow clients are waited for side by side")
		require.Zero(t, b.turns.running)
		require.Zero(t, b.turns.waiting.Load())
	})
}

// TestAnswerIsSentInPieces: a long answer is not kept until its end, and what is flushed is sent.
func TestAnswerIsSentInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Cores: 1}, slog.New(slog.DiscardHandler), nil)
		client := &slowClient{ResponseRecorder: httptest.NewRecorder()}
		own := &turn{turns: b.turns, ctx: t.Context()}
		w := newAnswer(client, &Account{}, own)
		require.NoError(t, own.begin())
		write := func(n int) {
			_, err := w.Write(make([]byte, n))
			require.NoError(t, err)
			require.True(t, own.held)
		}
		write(100)
		require.Zero(t, client.pieces)
		w.Flush()
		require.Equal(t, 1, client.pieces)
		require.True(t, client.Flushed)
		for range 10 {
			write(answerBuffer / 2)
		}
		require.Equal(t, 5, client.pieces)
		w.finish()
		require.Equal(t, 6, client.pieces)
		require.False(t, own.held)
		require.EqualValues(t, 100+5*answerBuffer, w.bytes)
		require.Equal(t, int(w.bytes), client.Body.Len())
	})
}
