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
	p, answers, err := ask(ctx, q.questions, hints, ms, func(qu question) (blockAnswer, error) {
		if qu.plan.coarse { // Downsampled samples are in no chunk of TSDB's.
			set, err := qu.byChunks(ctx, q.store.cfg.MergeChunks)
			return blockAnswer{chunks: set}, err
		}
		set, err := qu.bySamples(ctx, q.store.cfg.MergeSeries)
		return blockAnswer{samples: set}, err
	})
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if p.coarse {
		return piecewiseSamples{newPiecewise(*p, chunksOf(answers), hints, limitOf(hints), q.store.cfg.MergeChunks)}
	}
	sets := make([]storage.SeriesSet, len(answers))
	for i, a := range answers {
		sets[i] = a.samples
	}
	return warnedSamples{storage.NewMergeSeriesSet(sets, limitOf(hints), q.store.cfg.MergeSeries), p.warnings}
}

// chunkQuerier is the storage.ChunkQuerier of one query.
type chunkQuerier struct{ *questions }

// Select implements storage.ChunkQuerier. What it returns is in memory.
func (q *chunkQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	p, answers, err := ask(ctx, q.questions, hints, ms, func(qu question) (blockAnswer, error) {
		set, err := qu.byChunks(ctx, q.store.cfg.MergeChunks)
		return blockAnswer{chunks: set}, err
	})
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	sets := chunksOf(answers)
	if p.coarse {
		return piecewiseChunks{newPiecewise(*p, sets, hints, limitOf(hints), q.store.cfg.MergeChunks)}
	}
	return warnedChunks{storage.NewMergeChunkSeriesSet(sets, limitOf(hints), q.store.cfg.MergeChunks), p.warnings}
}

// blockAnswer is what one block has, as samples or as chunks.
type blockAnswer struct {
	samples storage.SeriesSet
	chunks  storage.ChunkSeriesSet
}

func chunksOf(answers []blockAnswer) []storage.ChunkSeriesSet {
	sets := make([]storage.ChunkSeriesSet, len(answers))
	for i, a := range answers {
		sets[i] = a.chunks
	}
	return sets
}

func (qu question) bySamples(ctx context.Context, merge storage.VerticalSeriesMergeFunc) (storage.SeriesSet, error) {
	inner, err := tsdb.NewBlockQuerier(qu.sel, qu.sel.mint, qu.sel.maxt)
	if err != nil {
		return nil, err
	}
	if !qu.block.external.IsEmpty() {
		inner = newExternalQuerier(inner, qu.block.external, merge)
	}
	// TSDB sorts the matchers where they are, and the caller may share them with other queriers.
	set := inner.Select(ctx, true, qu.hints, qu.matchers...)
	return set, set.Err()
}

func (qu question) byChunks(ctx context.Context, merge storage.VerticalChunkSeriesMergeFunc) (storage.ChunkSeriesSet, error) {
	inner, err := tsdb.NewBlockChunkQuerier(qu.sel, qu.sel.mint, qu.sel.maxt)
	if err != nil {
		return nil, err
	}
	if !qu.block.external.IsEmpty() {
		inner = newExternalChunkQuerier(inner, qu.block.external, merge)
	}
	set := inner.Select(ctx, true, qu.hints, qu.matchers...)
	return set, set.Err()
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
	_, answers, err := ask(ctx, q, nil, ms, func(qu question) ([]string, error) {
		inner, err := tsdb.NewBlockQuerier(qu.sel, q.mint, q.maxt)
		if err != nil {
			return nil, err
		}
		var lq storage.LabelQuerier = inner
		if !qu.block.external.IsEmpty() {
			lq = externalLabels{inner, qu.block.external}
		}
		found, _, err := read(lq, qu.matchers) // TSDB has no warnings about labels.
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
