// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// Exemplars returns a view of q in which the series of HA replicas are one, with the exemplars of all of them. Nothing is
// chosen between: an exemplar points to a trace, and that another replica has others takes nothing from it. One that
// several replicas have with the same labels, value and time is there once. It is safe for concurrent use if q is.
func Exemplars(q storage.ExemplarQueryable, cfg Config) storage.ExemplarQueryable {
	return &exemplarQueryable{inner: q, names: slices.Clone(cfg.ReplicaLabels)}
}

type exemplarQueryable struct {
	inner storage.ExemplarQueryable
	names []string
}

// ExemplarQuerier implements storage.ExemplarQueryable.
func (q *exemplarQueryable) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	inner, err := q.inner.ExemplarQuerier(ctx)
	names := replicaLabels(ctx, q.names)
	if err != nil || len(names) == 0 {
		return inner, err
	}
	return &exemplarQuerier{inner, names}, nil
}

type exemplarQuerier struct {
	inner storage.ExemplarQuerier
	names []string
}

// Select implements storage.ExemplarQuerier.
func (q *exemplarQuerier) Select(start, end int64, matchers ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	results, err := q.inner.Select(start, end, matchers...)
	if err != nil {
		return nil, err
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	stripped := make([]exemplar.QueryResult, len(results))
	for i, r := range results {
		b.Reset(r.SeriesLabels)
		stripped[i] = exemplar.QueryResult{SeriesLabels: b.Del(q.names...).Labels(), Exemplars: r.Exemplars}
	}
	slices.SortStableFunc(stripped, func(a, b exemplar.QueryResult) int { return labels.Compare(a.SeriesLabels, b.SeriesLabels) })
	merged := stripped[:0:0]
	for _, r := range stripped {
		if n := len(merged); n > 0 && labels.Equal(merged[n-1].SeriesLabels, r.SeriesLabels) {
			merged[n-1].Exemplars = slices.Concat(merged[n-1].Exemplars, r.Exemplars)
			continue
		}
		merged = append(merged, r)
	}
	for i := range merged {
		all := slices.Clone(merged[i].Exemplars)
		slices.SortFunc(all, exemplar.Compare)
		merged[i].Exemplars = slices.CompactFunc(all, func(a, b exemplar.Exemplar) bool { return exemplar.Compare(a, b) == 0 })
	}
	return merged, nil
}
