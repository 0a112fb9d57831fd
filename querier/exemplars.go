// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
)

// exemplarQuerier is the storage.ExemplarQuerier of the cluster. Exemplars are in heads only, never in blocks.
type exemplarQuerier struct {
	q   *Querier
	ctx context.Context //nolint:containedctx // storage.ExemplarQuerier hands it over this way.
}

// Select implements storage.ExemplarQuerier. The interface has no place for a warning, so an answer that is allowed to be
// partial does not say that it is.
func (e *exemplarQuerier) Select(start, end int64, matchers ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	tenant, ok := TenantFrom(e.ctx)
	if !ok {
		return nil, errNoTenant
	}
	ask := func(ctx context.Context, m Member) ([]exemplar.QueryResult, said, error) {
		if !m.Self {
			return e.q.peers.exemplars(ctx, m, question{mint: start, maxt: end, matchers: matchers})
		}
		local := e.q.cfg.Local
		if !local.Ready() {
			return nil, said{}, errLocalNotReady
		}
		q, err := local.ExemplarQuerier(ctx, tenant)
		if err != nil {
			return nil, said{}, err
		}
		results, err := q.Select(start, end, matchers...)
		return results, said{localStart: local.LocalStart(tenant)}, err
	}
	answers, _, err := collect(e.ctx, e.q, span{start, end}, ask, nil)
	if err != nil {
		return nil, err
	}
	return mergeExemplars(answers), nil
}

// mergeExemplars brings the exemplars of a series together, each once: by time, value and labels.
func mergeExemplars(answers [][]exemplar.QueryResult) []exemplar.QueryResult {
	all := slices.Concat(answers...)
	slices.SortStableFunc(all, func(a, b exemplar.QueryResult) int {
		return labels.Compare(a.SeriesLabels, b.SeriesLabels)
	})
	merged := []exemplar.QueryResult{}
	for _, r := range all {
		if n := len(merged); n > 0 && labels.Equal(merged[n-1].SeriesLabels, r.SeriesLabels) {
			merged[n-1].Exemplars = append(merged[n-1].Exemplars, r.Exemplars...)
			continue
		}
		r.Exemplars = slices.Clone(r.Exemplars)
		merged = append(merged, r)
	}
	for i := range merged {
		slices.SortFunc(merged[i].Exemplars, exemplar.Compare)
		merged[i].Exemplars = slices.CompactFunc(merged[i].Exemplars, func(a, b exemplar.Exemplar) bool {
			return exemplar.Compare(a, b) == 0
		})
	}
	return merged
}
