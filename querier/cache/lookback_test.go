// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/stretchr/testify/require"
)

// TestLookbackTellsAnswersApart: one of less than a millisecond finds nothing, and what it found is nobody else's answer.
func TestLookbackTellsAnswersApart(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	points := func(lookback time.Duration) int {
		start := f.now.Add(-40*time.Hour + time.Second) // Between two samples.
		query, err := f.NewRangeQuery(ctx, f.db, promql.NewPrometheusQueryOpts(false, lookback), "m", start, start.Add(20*time.Hour), time.Hour)
		require.NoError(t, err)
		defer query.Close()
		res := query.Exec(ctx)
		require.NoError(t, res.Err)
		m, err := res.Matrix()
		require.NoError(t, err)
		return m.TotalSamples()
	}
	for range 2 {
		require.Zero(t, points(500*time.Microsecond))
		require.Equal(t, 21, points(0))
		require.Equal(t, 21, points(2*time.Second))
	}
}

// TestDefaultLookbackIsAsked: what came into the five minutes before midnight shows at midnight.
func TestDefaultLookbackIsAsked(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	var least int64
	f.cfg.LookbackDelta = 5 * time.Minute
	f.cfg.Version = func(_ context.Context, mint, _ int64) (string, bool) {
		least = mint
		return "", true
	}
	midnight := time.Unix(0, 0).Add(2 * day)
	query, err := f.NewRangeQuery(ctx, f.db, nil, "m", midnight, midnight.Add(time.Hour), time.Minute)
	require.NoError(t, err)
	defer query.Close()
	require.NoError(t, query.Exec(ctx).Err)
	require.Equal(t, midnight.Add(-5*time.Minute).UnixMilli(), least)
}
