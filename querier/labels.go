// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// stringsAnswer is what one source knows of label names or values.
type stringsAnswer struct {
	values   []string
	warnings annotations.Annotations
}

// LabelValues implements storage.LabelQuerier.
func (s *session) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return s.strings(ctx, hints, matchers,
		func(ctx context.Context, q storage.LabelQuerier, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
			return q.LabelValues(ctx, name, hints, ms...)
		},
		func(ctx context.Context, m Member, qu question) ([]string, said, error) {
			return s.q.peers.labelValues(ctx, m, name, qu)
		})
}

// LabelNames implements storage.LabelQuerier.
func (s *session) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return s.strings(ctx, hints, matchers,
		func(ctx context.Context, q storage.LabelQuerier, ms []*labels.Matcher) ([]string, annotations.Annotations, error) {
			return q.LabelNames(ctx, hints, ms...)
		},
		s.q.peers.labelNames)
}

// strings asks every source for strings and returns the union, sorted and cut to the limit.
func (s *session) strings(
	ctx context.Context, hints *storage.LabelHints, matchers []*labels.Matcher,
	read func(context.Context, storage.LabelQuerier, []*labels.Matcher) ([]string, annotations.Annotations, error),
	askPeer func(context.Context, Member, question) ([]string, said, error),
) ([]string, annotations.Annotations, error) {
	tenant, ok := TenantFrom(ctx)
	if !ok {
		return nil, nil, errNoTenant
	}
	limit := 0
	if hints != nil {
		limit = hints.Limit
	}
	open := func(ctx context.Context, q storage.LabelQuerier) (stringsAnswer, error) {
		s.onClose(q.Close) // Not earlier: the strings are the querier's.
		values, warnings, err := read(ctx, q, slices.Clone(matchers))
		return stringsAnswer{values, warnings}, err
	}
	ask := func(ctx context.Context, m Member) (stringsAnswer, said, error) {
		if !m.Self {
			qu := question{mint: s.span.mint, maxt: s.span.maxt, limit: limit}
			if len(matchers) > 0 {
				qu.matchers = [][]*labels.Matcher{matchers}
			}
			values, s, err := askPeer(ctx, m, qu)
			return stringsAnswer{values: values}, s, err
		}
		local := s.q.cfg.Local
		if !local.Ready() {
			return stringsAnswer{}, said{}, errLocalNotReady
		}
		q, err := local.Querier(tenant, s.span.mint, s.span.maxt)
		if err != nil {
			return stringsAnswer{}, said{}, err
		}
		answer, err := open(ctx, q)
		return answer, said{localStart: local.LocalStart(tenant)}, err
	}
	var bucket bucketAsker[stringsAnswer]
	if blocks := s.q.cfg.Blocks; blocks != nil {
		bucket = func(ctx context.Context, part span, _ int64) (stringsAnswer, error) {
			q, err := blocks.Querier(tenant, part.mint, part.maxt)
			if err != nil {
				return stringsAnswer{}, err
			}
			return open(ctx, q)
		}
	}
	answers, warnings, err := collect(ctx, s.q, s.span, ask, bucket)
	if err != nil {
		return nil, nil, err
	}
	return union(answers, limit, warnings)
}

// union merges answers. Each source has cut its sorted list to the limit; so no string of the
// first limit of all is lost.
func union(answers []stringsAnswer, limit int, warnings annotations.Annotations) ([]string, annotations.Annotations, error) {
	var all []string
	for _, a := range answers {
		all = append(all, a.values...)
		warnings.Merge(a.warnings)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, warnings, nil
}
