// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// BlockSets selects from each of the tenant's blocks by itself, in the time of the hints: for whoever explains which block a
// sample is from. The sets are sorted and in memory; release has nothing to do. It returns none where downsampled blocks
// answer: what they say of a time depends on their neighbours. What it reads is counted as what a query reads is (see WithBudget).
func (s *Store) BlockSets(ctx context.Context, tenant string, hints *storage.SelectHints, ms ...*labels.Matcher) (
	sets map[string]storage.ChunkSeriesSet, release func() error, err error,
) {
	v, err := s.current()
	if err != nil {
		return nil, nil, err
	}
	q := s.newQuestions(v, tenant, hints.Start, hints.End)
	p, answers, err := ask(ctx, q, hints, ms, func(qu question) (storage.ChunkSeriesSet, error) {
		if qu.plan.coarse {
			return nil, nil
		}
		return qu.byChunks(ctx, s.cfg.MergeChunks)
	})
	if err != nil {
		return nil, nil, err
	}
	sets = map[string]storage.ChunkSeriesSet{}
	for i, n := range p.needs {
		if !p.coarse {
			sets[n.id.String()] = answers[i]
		}
	}
	return sets, q.Close, nil
}
