// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"log/slog"
	"math"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// testLogger prints warnings, and all with PENSTOCK_TEST_LOG=1.
func testLogger() *slog.Logger {
	level := slog.LevelError + 1
	if os.Getenv("PENSTOCK_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

// testStore opens and replays a store; it is closed with the test if not before.
func testStore(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	if cfg.MinFreeBytes == 0 {
		cfg.MinFreeBytes = -1 // The machine's own disk is not what is tested.
	}
	if cfg.Retention == 0 {
		cfg.Retention = -1 // Samples of tests are of 1970.
	}
	s, err := Open(cfg, testLogger(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	require.NoError(t, s.Replay(t.Context()))
	return s
}

// write appends one sample for each of the series and commits.
func write(s *Store, tenant string, ts int64, value float64, series ...labels.Labels) error {
	app, err := s.AppenderV2(context.Background(), tenant)
	if err != nil {
		return err
	}
	for _, ls := range series {
		if _, err := app.Append(0, ls, 0, ts, value, nil, nil, storage.AOptions{}); err != nil {
			_ = app.Rollback() // The first error matters.
			return err
		}
	}
	return app.Commit()
}

func named(name string) labels.Labels { return labels.FromStrings(model.MetricNameLabel, name) }

// samples reads all float samples of a tenant by series and time.
func samples(t *testing.T, s *Store, tenant string) map[string]map[int64]float64 {
	t.Helper()
	q, err := s.Querier(tenant, math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	return readAll(t, q)
}

func readAll(t *testing.T, q storage.Querier) map[string]map[int64]float64 {
	t.Helper()
	found := make(map[string]map[int64]float64)
	set := q.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, model.MetricNameLabel, ".+"))
	for set.Next() {
		points := make(map[int64]float64)
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			ts, v := it.At()
			points[ts] = v
		}
		require.NoError(t, it.Err())
		found[set.At().Labels().String()] = points
	}
	require.NoError(t, set.Err())
	return found
}

// clock is a hand-set clock for Config.Now.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }
