// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

// clusterStorage writes to one TSDB and reads through the fan-out.
type clusterStorage struct {
	*teststorage.TestStorage
	q *Querier
}

func (s *clusterStorage) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := s.q.Querier(mint, maxt)
	return withTenant{q}, err
}

func (s *clusterStorage) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return s.q.ChunkQuerier(mint, maxt)
}

// withTenant gives selects the tenant, which the test language knows nothing of.
type withTenant struct{ storage.Querier }

func (q withTenant) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	return q.Querier.Select(WithTenant(ctx, testTenant), sortSeries, hints, ms...)
}

// TestBuiltinSuite runs Prometheus' own PromQL tests over one TSDB that is read through two peers, as if they were
// two copies: whatever an answer holds went over HTTP and through the merge.
func TestBuiltinSuite(t *testing.T) {
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(t, engine, func(t testing.TB) storage.Storage {
		db := teststorage.New(t, func(opt *tsdb.Options) { // As the suite's own storage is.
			opt.EnableSTStorage = true
			opt.FloatChunkEncoding = chunkenc.EncXOR2
			opt.EnableHistogramSTEncoding = true
			opt.StripeSize = 512
		})
		copied := &store{db: db.DB}
		return &clusterStorage{db, clusterOf(t, 3, []*store{{empty: true}, copied, copied}).Querier}
	})
}
