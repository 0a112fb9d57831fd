// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
	"github.com/stretchr/testify/require"
)

// TestUntrimmedEngine: all of Prometheus' own tests hold where storage shows whole chunks.
func TestUntrimmedEngine(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(t, untrimmed{engine}, func(t testing.TB) storage.Storage {
		return teststorage.New(t, func(opt *tsdb.Options) { // As the suite's own storage is.
			opt.EnableSTStorage = true
			opt.FloatChunkEncoding = chunkenc.EncXOR2
			opt.EnableHistogramSTEncoding = true
			opt.StripeSize = 512
		})
	})
}

// TestUntrimmedTimestamp: where the engine looks at another time than it asks for, it finds what it finds in series that are cut.
func TestUntrimmedTimestamp(t *testing.T) {
	db := teststorage.New(t)
	app := db.AppenderV2(t.Context())
	for at := range int64(60) {
		_, err := app.Append(0, labels.FromStrings("__name__", "m"), 0, at*60_000, 1, nil, nil, storage.AOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, app.Commit())
	plain := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	ask := func(engine promql.QueryEngine, text string) string {
		query, err := engine.NewInstantQuery(t.Context(), db, nil, text, time.Unix(30*60, 0))
		require.NoError(t, err)
		defer query.Close()
		res := query.Exec(t.Context())
		require.NoError(t, res.Err)
		return res.String()
	}
	for _, text := range []string{"timestamp(m)", "timestamp(m offset 10m)", "timestamp(m offset 10m @ start())", "timestamp(m @ 600)", "timestamp(m offset 5m @ 1200)"} {
		require.Equal(t, ask(plain, text), ask(untrimmed{plain}, text), text)
	}
}
