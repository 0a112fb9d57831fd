// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/schema"
	"github.com/prometheus/prometheus/storage"
)

// sorted is a storage whose series come in the order of their labels, for pieces: floats are added in the order in which series
// come, the last bits of a sum depend on it, and without being asked for one a TSDB has another order for its head than for
// blocks.
type sorted struct {
	storage.Queryable
	// reserved is set when a series has labels beside the name that the engine takes away with it.
	reserved *atomic.Bool
}

// Querier implements storage.Queryable.
func (s sorted) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.Queryable.Querier(mint, maxt)
	return sortedQuerier{q, s.reserved}, err
}

type sortedQuerier struct {
	storage.Querier
	reserved *atomic.Bool
}

// Select implements storage.Querier.
func (q sortedQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	return watchedSet{q.Querier.Select(ctx, true, hints, ms...), q.reserved}
}

type watchedSet struct {
	storage.SeriesSet
	reserved *atomic.Bool
}

// At implements storage.SeriesSet.
func (s watchedSet) At() storage.Series {
	series := s.SeriesSet.At()
	series.Labels().Range(func(l labels.Label) {
		if l.Name != model.MetricNameLabel && schema.IsMetadataLabel(l.Name) {
			s.reserved.Store(true)
		}
	})
	return series
}
