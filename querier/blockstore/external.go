// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// A block of a foreign bucket has external labels that belong to each of its series without being in it. They win over a
// label of the series of the same name, as they do in Thanos.

// matchExternal takes the matchers on external labels out of ms. It is false when one of them rules the whole block out.
// The matchers that it returns are the caller's to keep.
func matchExternal(external labels.Labels, ms []*labels.Matcher) ([]*labels.Matcher, bool) {
	rest := make([]*labels.Matcher, 0, len(ms))
	for _, m := range ms {
		if !external.Has(m.Name) {
			rest = append(rest, m)
		} else if !m.Matches(external.Get(m.Name)) {
			return nil, false
		}
	}
	if len(ms) > 0 && len(rest) == 0 {
		// Nothing is left to choose by: all series. This is how TSDB writes that down.
		rest = append(rest, labels.MustNewMatcher(labels.MatchEqual, "", ""))
	}
	return rest, true
}

// withExternal returns the labels of a series with the external ones.
func withExternal(series, external labels.Labels) labels.Labels {
	b := labels.NewBuilder(series)
	external.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	return b.Labels()
}

// externalLabels answers label questions about a block with external labels.
type externalLabels struct {
	storage.LabelQuerier
	external labels.Labels
}

// LabelValues implements storage.LabelQuerier.
func (q externalLabels) LabelValues(
	ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	rest, match := matchExternal(q.external, ms)
	if !match {
		return nil, nil, nil
	}
	if !q.external.Has(name) {
		return q.LabelQuerier.LabelValues(ctx, name, hints, rest...)
	}
	some, warnings, err := q.anySeries(ctx, rest)
	if err != nil || !some {
		return nil, warnings, err
	}
	return []string{q.external.Get(name)}, warnings, nil
}

// LabelNames implements storage.LabelQuerier.
func (q externalLabels) LabelNames(
	ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher,
) ([]string, annotations.Annotations, error) {
	rest, match := matchExternal(q.external, ms)
	if !match {
		return nil, nil, nil
	}
	names, warnings, err := q.LabelQuerier.LabelNames(ctx, nil, rest...)
	if err != nil || len(names) == 0 {
		return nil, warnings, err
	}
	names = slices.Clone(names)
	q.external.Range(func(l labels.Label) { names = append(names, l.Name) })
	slices.Sort(names)
	names = slices.Compact(names)
	if hints != nil && hints.Limit > 0 && len(names) > hints.Limit {
		names = names[:hints.Limit]
	}
	return names, warnings, nil
}

// anySeries says whether any series of the block matches: one that does has a name.
func (q externalLabels) anySeries(ctx context.Context, ms []*labels.Matcher) (bool, annotations.Annotations, error) {
	names, warnings, err := q.LabelQuerier.LabelNames(ctx, nil, ms...)
	return len(names) > 0, warnings, err
}

// externalQuerier adds external labels to the series of one block.
type externalQuerier struct {
	externalLabels
	inner storage.Querier
	merge storage.VerticalSeriesMergeFunc
}

func newExternalQuerier(q storage.Querier, external labels.Labels, merge storage.VerticalSeriesMergeFunc) storage.Querier {
	return externalQuerier{externalLabels{q, external}, q, merge}
}

// Select implements storage.Querier. It is always sorted.
func (q externalQuerier) Select(
	ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher,
) storage.SeriesSet {
	rest, match := matchExternal(q.external, ms)
	if !match {
		return storage.EmptySeriesSet()
	}
	set := q.inner.Select(ctx, true, hints, rest...)
	var all []storage.Series
	for set.Next() {
		s := set.At()
		all = append(all, relabelledSeries{s, withExternal(s.Labels(), q.external)})
	}
	if err := set.Err(); err != nil {
		return storage.ErrSeriesSet(err)
	}
	return &seriesSlice[storage.Series]{series: sortAndMerge(all, q.merge), warnings: set.Warnings()}
}

// externalChunkQuerier is externalQuerier for chunks.
type externalChunkQuerier struct {
	externalLabels
	inner storage.ChunkQuerier
	merge storage.VerticalChunkSeriesMergeFunc
}

func newExternalChunkQuerier(
	q storage.ChunkQuerier, external labels.Labels, merge storage.VerticalChunkSeriesMergeFunc,
) storage.ChunkQuerier {
	return externalChunkQuerier{externalLabels{q, external}, q, merge}
}

// Select implements storage.ChunkQuerier. It is always sorted.
func (q externalChunkQuerier) Select(
	ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher,
) storage.ChunkSeriesSet {
	rest, match := matchExternal(q.external, ms)
	if !match {
		return storage.EmptyChunkSeriesSet()
	}
	set := q.inner.Select(ctx, true, hints, rest...)
	var all []storage.ChunkSeries
	for set.Next() {
		s := set.At()
		all = append(all, relabelledChunkSeries{s, withExternal(s.Labels(), q.external)})
	}
	if err := set.Err(); err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return &seriesSlice[storage.ChunkSeries]{series: sortAndMerge(all, q.merge), warnings: set.Warnings()}
}

type relabelledSeries struct {
	storage.Series
	labels labels.Labels
}

func (s relabelledSeries) Labels() labels.Labels { return s.labels }

type relabelledChunkSeries struct {
	storage.ChunkSeries
	labels labels.Labels
}

func (s relabelledChunkSeries) Labels() labels.Labels { return s.labels }

// sortAndMerge brings series into the order of their new labels, which is another one than that of the old: {a, b} sorts
// after {a}, but {a, b, x} before {a, x}. Series that an external label made equal become one.
func sortAndMerge[S storage.Labels](all []S, merge func(...S) S) []S {
	slices.SortStableFunc(all, func(a, b S) int { return labels.Compare(a.Labels(), b.Labels()) })
	merged := all[:0]
	for i := 0; i < len(all); {
		end := i + 1
		for end < len(all) && labels.Equal(all[i].Labels(), all[end].Labels()) {
			end++
		}
		if end == i+1 {
			merged = append(merged, all[i])
		} else {
			merged = append(merged, merge(slices.Clone(all[i:end])...))
		}
		i = end
	}
	return merged
}

// seriesSlice is a set of series that are all known. It implements storage.SeriesSet and storage.ChunkSeriesSet.
type seriesSlice[S any] struct {
	series   []S
	next     int
	warnings annotations.Annotations
}

func (s *seriesSlice[S]) Next() bool {
	s.next++
	return s.next <= len(s.series)
}

func (s *seriesSlice[S]) At() S                             { return s.series[s.next-1] }
func (*seriesSlice[S]) Err() error                          { return nil }
func (s *seriesSlice[S]) Warnings() annotations.Annotations { return s.warnings }
