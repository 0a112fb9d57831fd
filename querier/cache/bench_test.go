// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// BenchmarkWeek asks for a week of the rate of 50 series, a step of five minutes: of the engine, in pieces of which none is known, and as a panel that
// is refreshed, of which the last hours are not settled.
func BenchmarkWeek(b *testing.B) {
	db := newStorage(b)
	app := db.AppenderV2(b.Context())
	begin := time.Unix(0, 0).Add(20 * day)
	now := begin.Add(7*day + 6*time.Hour)
	for i := range 50 {
		l := labels.FromStrings("__name__", "m_total", "job", fmt.Sprint(i%5), "instance", fmt.Sprint(i))
		for t := begin.UnixMilli(); t < now.UnixMilli(); t += 60_000 {
			_, err := app.Append(0, l, 0, t, math.Trunc(float64(t)/7000), nil, nil, storage.AOptions{})
			require.NoError(b, err)
		}
	}
	require.NoError(b, app.Commit())
	plain := newEngine(b, 50_000_000)
	cached := New(Config{
		Engine: plain, Parser: parser.NewParser(parser.Options{}), MaxBytes: DefaultMaxBytes,
		Scope: oneScope, Settled: func() int64 { return now.Add(-settle).UnixMilli() },
	}, nil)
	week := func(b *testing.B, e promql.QueryEngine, before func()) {
		b.ReportAllocs()
		for b.Loop() {
			before()
			q, err := e.NewRangeQuery(b.Context(), db, nil, "sum by (job) (rate(m_total[5m]))", begin, now, 5*time.Minute)
			require.NoError(b, err)
			require.NoError(b, q.Exec(b.Context()).Err)
			q.Close()
		}
	}
	b.Run("engine", func(b *testing.B) { week(b, plain, func() {}) })
	b.Run("nothing-known", func(b *testing.B) {
		week(b, cached, func() { cached.store = newStore(DefaultMaxBytes, cached.metrics) })
	})
	b.Run("refreshed", func(b *testing.B) { week(b, cached, func() {}) })
}
