// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
)

// untrimmed is an engine that tells storage not to cut series to the range that it asks for. The engine looks for samples by their
// time, so that more of them make no difference to it, and to cut costs something for each sample. But timestamp() of a selector with both an
// offset and @ looks at the wrong time, where a Prometheus, which cuts, has nothing; so it is given what it asks for.
type untrimmed struct{ promql.QueryEngine }

// NewInstantQuery implements promql.QueryEngine.
func (e untrimmed) NewInstantQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, ts time.Time) (promql.Query, error) {
	return e.QueryEngine.NewInstantQuery(ctx, untrimmedStorage{q}, opts, qs, ts)
}

// NewRangeQuery implements promql.QueryEngine.
func (e untrimmed) NewRangeQuery(ctx context.Context, q storage.Queryable, opts promql.QueryOpts, qs string, start, end time.Time, interval time.Duration) (promql.Query, error) {
	return e.QueryEngine.NewRangeQuery(ctx, untrimmedStorage{q}, opts, qs, start, end, interval)
}

type untrimmedStorage struct{ storage.Queryable }

// Querier implements storage.Queryable.
func (s untrimmedStorage) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return untrimmedQuerier{q}, err
}

type untrimmedQuerier struct{ storage.Querier }

// Select implements storage.Querier.
func (q untrimmedQuerier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if hints != nil && hints.Func != "timestamp" {
		h := *hints
		h.DisableTrimming = true
		hints = &h
	}
	return q.Querier.Select(ctx, sortSeries, hints, ms...)
}
