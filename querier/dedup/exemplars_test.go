// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

type storedExemplars []exemplar.QueryResult

func (s storedExemplars) ExemplarQuerier(context.Context) (storage.ExemplarQuerier, error) {
	return s, nil
}

func (s storedExemplars) Select(int64, int64, ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	return s, nil
}

// TestExemplars: the replicas of a series are one, with what each of them has, and what both have once.
func TestExemplars(t *testing.T) {
	at := func(trace string, ts int64) exemplar.Exemplar {
		return exemplar.Exemplar{Labels: labels.FromStrings("trace", trace), Value: 1, Ts: ts, HasTs: true}
	}
	series := labels.FromStrings
	stored := storedExemplars{
		{SeriesLabels: series("__name__", "m", "replica", "a", "zone", "1"), Exemplars: []exemplar.Exemplar{at("x", 1), at("y", 3)}},
		{SeriesLabels: series("__name__", "m", "replica", "a", "zone", "2"), Exemplars: []exemplar.Exemplar{at("z", 1)}},
		{SeriesLabels: series("__name__", "m", "replica", "b", "zone", "1"), Exemplars: []exemplar.Exemplar{at("x", 1), at("w", 2)}},
	}
	ask := func(ctx context.Context) []exemplar.QueryResult {
		q, err := Exemplars(stored, Config{ReplicaLabels: []string{"replica"}}).ExemplarQuerier(ctx)
		require.NoError(t, err)
		results, err := q.Select(0, 10)
		require.NoError(t, err)
		return results
	}
	require.Equal(t, []exemplar.QueryResult{
		{SeriesLabels: series("__name__", "m", "zone", "1"), Exemplars: []exemplar.Exemplar{at("x", 1), at("w", 2), at("y", 3)}},
		{SeriesLabels: series("__name__", "m", "zone", "2"), Exemplars: []exemplar.Exemplar{at("z", 1)}},
	}, ask(t.Context()))
	require.Equal(t, []exemplar.QueryResult(stored), ask(WithEnabled(t.Context(), false)))
	require.Equal(t, "a", stored[0].SeriesLabels.Get("replica"), "what was stored is as it was")
}
