// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// Config says what to deduplicate by.
type Config struct {
	// ReplicaLabels are the labels that tell HA replicas apart, most significant first.
	// Replicas are preferred in the order of the labels' values. With none, queries are
	// deduplicated only if their context names some.
	ReplicaLabels []string
	// Margin is how far to either side of a sample the stitch rule looks, and so how much
	// more is read before and after each range. The longest scrape interval that is
	// stitched without doubling is 2/5 of it. Default 5 m; at least 1 m.
	Margin time.Duration
}

// Queryable returns a view of q in which the series of HA replicas are one. It is safe
// for concurrent use if q is; its queriers are not, like all.
func Queryable(q storage.SampleAndChunkQueryable, cfg Config) storage.SampleAndChunkQueryable {
	return &queryable{inner: q, names: slices.Clone(cfg.ReplicaLabels), rule: newRule(cfg.Margin)}
}

type queryable struct {
	inner storage.SampleAndChunkQueryable
	names []string
	rule  rule
}

// Querier implements storage.Queryable. It opens nothing yet: how much is to be read
// below depends on whether the first Select deduplicates.
func (q *queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	return &querier{q: q, mint: mint, maxt: maxt}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (q *queryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return &chunkQuerier{querier: querier{q: q, mint: mint, maxt: maxt}}, nil
}

// querier opens up to two queriers below: exact for [mint, maxt], and wide for that
// and the margin on both sides.
type querier struct {
	q          *queryable
	mint, maxt int64

	mtx         sync.Mutex
	exact, wide storage.Querier
}

func (q *querier) openExact() (storage.Querier, error) {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	var err error
	if q.exact == nil {
		q.exact, err = q.q.inner.Querier(q.mint, q.maxt)
	}
	return q.exact, err
}

func (q *querier) openWide() (storage.Querier, error) {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	var err error
	if q.wide == nil {
		margin := q.q.rule.margin
		q.wide, err = q.q.inner.Querier(minus(q.mint, margin), plus(q.maxt, margin))
	}
	return q.wide, err
}

// Select implements storage.Querier. Matchers are applied before replicas are told
// apart, so one on a replica label selects that replica's series.
func (q *querier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	names := replicaLabels(ctx, q.q.names)
	// Whoever wants no samples needs no margin, and must not see the series in it.
	open, margin := q.openWide, q.q.rule.margin
	if len(names) == 0 || hints != nil && hints.Func == "series" {
		open, margin = q.openExact, 0
	}
	inner, err := open()
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	if len(names) == 0 {
		return inner.Select(ctx, sortSeries, hints, matchers...)
	}
	set := &groupedSet{
		names: names, rule: q.q.rule, mint: q.mint, maxt: q.maxt, sorted: sortSeries,
	}
	if hints != nil {
		set.limit, set.shardIndex, set.shardCount = hints.Limit, hints.ShardIndex, hints.ShardCount
		if set.untrimmed = hints.DisableTrimming; !set.untrimmed {
			set.mint, set.maxt = max(q.mint, hints.Start), min(q.maxt, hints.End)
		}
	}
	set.inner = inner.Select(ctx, false, widen(hints, margin), matchers...)
	return set
}

// widen returns the hints for below: the range with its margin, and nothing that would
// cut or split label sets before they are grouped.
func widen(hints *storage.SelectHints, margin int64) *storage.SelectHints {
	if hints == nil {
		return nil
	}
	h := *hints
	h.Start, h.End = minus(h.Start, margin), plus(h.End, margin)
	h.Limit = 0
	h.ShardIndex, h.ShardCount = 0, 0
	h.ProjectionLabels, h.ProjectionInclude = nil, false
	return &h
}

// LabelNames implements storage.LabelQuerier. Replica labels are left out: no series
// of a deduplicated answer has them.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	inner, err := q.openExact()
	if err != nil {
		return nil, nil, err
	}
	dropped := replicaLabels(ctx, q.q.names)
	below := hints
	if hints != nil && hints.Limit > 0 && len(dropped) > 0 {
		below = &storage.LabelHints{Limit: hints.Limit + len(dropped)}
	}
	names, warnings, err := inner.LabelNames(ctx, below, matchers...)
	if err != nil || len(dropped) == 0 {
		return names, warnings, err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(dropped, name) })
	if hints != nil && hints.Limit > 0 && len(names) > hints.Limit {
		names = names[:hints.Limit]
	}
	return names, warnings, nil
}

// LabelValues implements storage.LabelQuerier. The values of a replica label can be
// asked for: they can be used in matchers.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	inner, err := q.openExact()
	if err != nil {
		return nil, nil, err
	}
	return inner.LabelValues(ctx, name, hints, matchers...)
}

// Close implements storage.LabelQuerier.
func (q *querier) Close() error {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	var errs []error
	for _, inner := range []storage.Querier{q.exact, q.wide} {
		if inner != nil {
			errs = append(errs, inner.Close())
		}
	}
	q.exact, q.wide = nil, nil
	return errors.Join(errs...)
}
