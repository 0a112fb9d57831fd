// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/stats"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/querier/cache"
	"github.com/penstock-io/penstock/querier/limit"
)

// Queries that share runs and pieces with each other make room as others do: whoever waits holds nothing that one who goes on waits for. If it did,
// some would end by their timeout.
func TestQueriesThatShareRunsMakeRoom(t *testing.T) {
	const gib = 1 << 30
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		var collections atomic.Uint64
		books := limit.New(limit.Config{
			LimitsOf: func(string) limit.Limits { return limit.Limits{Timeout: 2 * time.Minute} },
			Tenant:   func(*http.Request) (string, error) { return "t", nil },
			Cores:    2,
			Memory: func() limit.Usage {
				held := int64(gaugeOf(t, reg, "penstock_queries_memory_bytes"))
				return limit.Usage{Bytes: gib + held, Limit: 4 * gib, Collections: collections.Add(1)}
			},
		}, slog.New(slog.DiscardHandler), reg)
		ctx, stop := context.WithCancel(t.Context())
		watched := make(chan error, 1)
		go func() { watched <- books.Run(ctx) }()
		engine := books.Again(cache.New(cache.Config{
			Engine: books.Engine(func(int64) promql.QueryEngine { return heavyEngine{} }), Parser: newParser(), MaxBytes: 1 << 20,
			Scope:   func(context.Context) (cache.Scope, bool) { return cache.Scope{}, true },
			Settled: func() int64 { return 0 },
		}, nil))
		h := books.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var q promql.Query
			var err error
			if r.URL.Path == "/api/v1/query" {
				q, err = engine.NewInstantQuery(r.Context(), nil, nil, r.FormValue("query"), time.Unix(0, 0))
			} else {
				q, err = engine.NewRangeQuery(r.Context(), nil, nil, r.FormValue("query"), time.Unix(0, 0), time.Unix(1e6, 0), time.Minute)
			}
			require.NoError(t, err)
			defer q.Close()
			res := q.Exec(r.Context())
			require.NoError(t, res.Err)
			time.Sleep(100 * time.Millisecond) // To send the answer.
		}))
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				time.Sleep(time.Duration(i%7) * 50 * time.Millisecond)
				path := [...]string{"query", "query_range"}[i%2]
				form := url.Values{"query": {fmt.Sprint("m", i%3)}}
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/"+path+"?"+form.Encode(), nil))
			})
		}
		all.Wait()
		stop()
		require.NoError(t, <-watched)
		require.Zero(t, gaugeOf(t, reg, "penstock_queries_memory_bytes"))
		require.Zero(t, gaugeOf(t, reg, "penstock_queries_waiting_for_memory"))
		require.Positive(t, gaugeOf(t, reg, "penstock_query_restarts_total"))
		require.Zero(t, gaugeOf(t, reg, "penstock_query_refused_total"))
	})
}

// gaugeOf is the sum of a family of metrics.
func gaugeOf(t *testing.T, reg *prometheus.Registry, name string) (sum float64) {
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// heavyEngine has queries that come to hold a gigabyte in a second; of a range, an eighth of it for each piece.
type heavyEngine struct{}

func (heavyEngine) NewInstantQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time) (promql.Query, error) {
	return heavyQuery{promql.Vector{}, 16 << 20}, nil
}

func (heavyEngine) NewRangeQuery(context.Context, storage.Queryable, promql.QueryOpts, string, time.Time, time.Time, time.Duration) (promql.Query, error) {
	return heavyQuery{promql.Matrix{}, 2 << 20}, nil
}

type heavyQuery struct {
	value parser.Value
	bytes int64 // That come at a time: what is received is taken to hold twice as much.
}

func (q heavyQuery) Exec(ctx context.Context) *promql.Result {
	const pieces = 32
	for range pieces {
		time.Sleep(time.Second / pieces)
		if err := limit.From(ctx).Received(q.bytes); err != nil {
			return &promql.Result{Err: err}
		}
		if ctx.Err() != nil {
			return &promql.Result{Err: promql.ErrQueryCanceled("expression evaluation")}
		}
	}
	return &promql.Result{Value: q.value}
}

func (heavyQuery) Close()                      {}
func (heavyQuery) Statement() parser.Statement { return nil }
func (heavyQuery) Stats() *stats.Statistics    { return nil }
func (heavyQuery) Cancel()                     {}
func (heavyQuery) String() string              { return "" }
