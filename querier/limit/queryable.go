// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Queryable returns a view of q that books what is read on the account of the context, and ends the query when that is too much.
// Without an account it is q. Safe for concurrent use if q is.
func Queryable(q storage.SampleAndChunkQueryable) storage.SampleAndChunkQueryable {
	return queryable{q}
}

type queryable struct {
	inner storage.SampleAndChunkQueryable
}

// Querier implements storage.Queryable.
func (q queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	inner, err := q.inner.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return querier{inner}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (q queryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	inner, err := q.inner.ChunkQuerier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return chunkQuerier{inner}, nil
}

type querier struct{ storage.Querier }

// Select implements storage.Querier.
func (q querier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	a := From(ctx)
	if a == nil {
		return q.Querier.Select(ctx, sortSeries, hints, matchers...)
	}
	if err := a.checkMatchers(matchers); err != nil {
		return storage.ErrSeriesSet(err)
	}
	set := &seriesSet{a: a, turn: turnFrom(ctx)}
	set.points, set.all = pointsOf(hints)
	// A member that is alone finds the series here. Where nobody wants their samples it waits for leave itself.
	if onlyLabels(hints) {
		var back func()
		ctx, back = lend(ctx)
		defer back()
	} else if err := set.turn.begin(); err != nil {
		return storage.ErrSeriesSet(a.explain(err))
	}
	set.inner = q.Querier.Select(ctx, sortSeries, hints, matchers...)
	return set
}

// onlyLabels tells whether nobody wants the samples of what is selected.
func onlyLabels(hints *storage.SelectHints) bool { return hints != nil && hints.Func == "series" }

// LabelValues implements storage.LabelQuerier.
func (q querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	a := From(ctx)
	if err := a.checkMatchers(matchers); err != nil {
		return nil, nil, err
	}
	ctx, back := lend(ctx)
	defer back()
	values, warnings, err := q.Querier.LabelValues(ctx, name, hints, matchers...)
	return a.strings(values, warnings, err)
}

// LabelNames implements storage.LabelQuerier.
func (q querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	a := From(ctx)
	if err := a.checkMatchers(matchers); err != nil {
		return nil, nil, err
	}
	ctx, back := lend(ctx)
	defer back()
	found, warnings, err := q.Querier.LabelNames(ctx, hints, matchers...)
	return a.strings(found, warnings, err)
}

func (a *Account) strings(found []string, warnings annotations.Annotations, err error) ([]string, annotations.Annotations, error) {
	if a == nil {
		return found, warnings, err
	}
	const header = 16 // Of a string.
	size := 0
	for _, s := range found {
		size += len(s) + header
	}
	a.grow(int64(size))
	a.warned(warnings)
	if reason := a.reason(); reason != nil {
		return nil, nil, reason
	}
	return found, warnings, err
}

// checkMatchers is for those that did not come as text: of a remote read, or of something of ours.
func (a *Account) checkMatchers(matchers []*labels.Matcher) error {
	if a == nil {
		return nil
	}
	if n := int64(len(matchers)); over(n, a.limits.MaxMatchers) {
		return a.end(refuse(Matchers, "the query has %d label matchers, and the limit is %d (%s)", n, a.limits.MaxMatchers, Matchers))
	}
	for _, m := range matchers {
		if m.Type != labels.MatchRegexp && m.Type != labels.MatchNotRegexp {
			continue
		}
		if n := regexSize(m.Value); over(n, a.limits.MaxRegexBytes) {
			return a.end(tooLongRegex(n, a.limits.MaxRegexBytes))
		}
	}
	return a.reason()
}

// pointsOf is how many points the engine makes of a series; all says that it keeps every sample instead.
func pointsOf(hints *storage.SelectHints) (points int64, all bool) {
	switch {
	case hints == nil:
		return 0, true
	case hints.Step > 0:
		return max(hints.End-hints.Start-hints.Range, 0)/hints.Step + 1, false
	case hints.Range > 0 && hints.Func == "":
		return 0, true
	}
	return 1, false
}

type chunkQuerier struct{ storage.ChunkQuerier }

// Select implements storage.ChunkQuerier.
func (q chunkQuerier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	a := From(ctx)
	if a == nil {
		return q.ChunkQuerier.Select(ctx, sortSeries, hints, matchers...)
	}
	if err := a.checkMatchers(matchers); err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return &chunkSet{ChunkSeriesSet: q.ChunkQuerier.Select(ctx, sortSeries, hints, matchers...), a: a, turn: turnFrom(ctx)}
}

// Exemplars is Queryable for exemplars.
func Exemplars(q storage.ExemplarQueryable) storage.ExemplarQueryable { return exemplars{q} }

type exemplars struct{ inner storage.ExemplarQueryable }

// ExemplarQuerier implements storage.ExemplarQueryable.
func (e exemplars) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	inner, err := e.inner.ExemplarQuerier(ctx)
	if a := From(ctx); a != nil && err == nil {
		return exemplarQuerier{inner, a, turnFrom(ctx)}, nil
	}
	return inner, err
}

type exemplarQuerier struct {
	storage.ExemplarQuerier
	a    *Account
	turn *turn
}

// Select implements storage.ExemplarQuerier.
func (e exemplarQuerier) Select(start, end int64, matchers ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	e.turn.stop()
	found, err := e.ExemplarQuerier.Select(start, end, matchers...)
	if err != nil {
		return nil, e.a.explain(err)
	}
	if err := e.turn.begin(); err != nil {
		return nil, e.a.explain(err)
	}
	const exemplarMemory = 512
	for _, r := range found {
		if err := e.a.touch(1, int64(r.SeriesLabels.ByteSize())+exemplarMemory*int64(len(r.Exemplars))); err != nil {
			return nil, err
		}
	}
	return found, nil
}
