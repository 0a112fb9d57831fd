// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
)

// querier is the storage.Querier of one query.
type querier struct{ *questions }

// Select implements storage.Querier. What it returns is in memory.
func (q *querier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	sets, err := ask(ctx, q.questions, hints, ms, func(s *selection, b *block, ms []*labels.Matcher) (storage.SeriesSet, error) {
		inner, err := tsdb.NewBlockQuerier(s, q.mint, q.maxt)
		if err != nil {
			return nil, err
		}
		if !b.external.IsEmpty() {
			inner = newExternalQuerier(inner, b.external, q.store.cfg.MergeSeries)
		}
		// TSDB sorts the matchers where they are, and the caller may share them with other queriers.
		set := inner.Select(ctx, true, hints, ms...)
		return set, set.Err()
	})
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	return storage.NewMergeSeriesSet(sets, limitOf(hints), q.store.cfg.MergeSeries)
}

// chunkQuerier is the storage.ChunkQuerier of one query.
type chunkQuerier struct{ *questions }

// Select implements storage.ChunkQuerier. What it returns is in memory.
func (q *chunkQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	sets, err := ask(ctx, q.questions, hints, ms, func(s *selection, b *block, ms []*labels.Matcher) (storage.ChunkSeriesSet, error) {
		inner, err := tsdb.NewBlockChunkQuerier(s, q.mint, q.maxt)
		if err != nil {
			return nil, err
		}
		if !b.external.IsEmpty() {
			inner = newExternalChunkQuerier(inner, b.external, q.store.cfg.MergeChunks)
		}
		set := inner.Select(ctx, true, hints, ms...)
		return set, set.Err()
	})
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return storage.NewMergeChunkSeriesSet(sets, limitOf(hints), q.store.cfg.MergeChunks)
}

func limitOf(hints *storage.SelectHints) int {
	if hints == nil {
		return 0
	}
	return hints.Limit
}

// LabelValues implements storage.LabelQuerier.
func (q *questions) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.strings(ctx, hints, ms, func(lq storage.LabelQuerier, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return lq.LabelValues(ctx, name, hints, ms...)
	})
}

// LabelNames implements storage.LabelQuerier.
func (q *questions) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return q.strings(ctx, hints, ms, func(lq storage.LabelQuerier, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
		return lq.LabelNames(ctx, hints, ms...)
	})
}

// strings joins the sorted answers of all blocks.
func (q *questions) strings(
	ctx context.Context, hints *storage.LabelHints, ms []*labels.Matcher,
	read func(storage.LabelQuerier, []*labels.Matcher) ([]string, annotations.Annotations, error),
) ([]string, annotations.Annotations, error) {
	answers, err := ask(ctx, q, nil, ms, func(s *selection, b *block, ms []*labels.Matcher) ([]string, error) {
		inner, err := tsdb.NewBlockQuerier(s, q.mint, q.maxt)
		if err != nil {
			return nil, err
		}
		var lq storage.LabelQuerier = inner
		if !b.external.IsEmpty() {
			lq = externalLabels{inner, b.external}
		}
		found, _, err := read(lq, ms) // TSDB has no warnings about labels.
		return found, err
	})
	if err != nil {
		return nil, nil, err
	}
	all := slices.Concat(answers...)
	slices.Sort(all)
	all = slices.Compact(all)
	if hints != nil && hints.Limit > 0 && len(all) > hints.Limit {
		all = all[:hints.Limit]
	}
	return all, nil, nil
}
