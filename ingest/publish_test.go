// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// refsCached counts the series of the test tenant that have a reference in the cache.
func refsCached(c *SeriesCache) (n int) {
	t := c.tenant(testTenant)
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, e := range s.table {
			if e.ref != 0 {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// watchedStore calls a function before each commit.
type watchedStore struct {
	AppenderSource
	before func()
}

func (s watchedStore) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	app, err := s.AppenderSource.AppenderV2(ctx, tenant)
	return watchedAppender{app.(*testAppender), s.before}, err
}

type watchedAppender struct {
	*testAppender
	before func()
}

func (a watchedAppender) Commit() error {
	a.before()
	return a.testAppender.Commit()
}

// TestReferencesArePublishedAfterTheCommit: samples that another request would log under
// a reference before the series is in the write-ahead log are skipped by a replay.
func TestReferencesArePublishedAfterTheCommit(t *testing.T) {
	t.Parallel()
	cache := NewSeriesCache(CacheConfig{}, nil)
	commits, early := 0, 0
	store := watchedStore{openStore(t), func() { commits++; early += refsCached(cache) }}
	h := cachedNode(store, func(cfg *HandlerConfig) { cfg.Cache = cache })
	var req prompb.WriteRequest
	for _, name := range []string{"a", "b", "c"} {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: name}},
			Samples: []prompb.Sample{{Timestamp: time.Now().UnixMilli(), Value: 1}},
		})
	}
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, encodeV1(t, &req)).Code)
	require.Equal(t, 1, commits)
	require.Zero(t, early, "references in the cache before the commit")
	require.Equal(t, len(req.Timeseries), refsCached(cache))
}
