// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/teststorage"
)

// pairLabel sorts in the middle of most label sets, so that the series of one pair are
// far apart in what storage returns.
const pairLabel = "m_replica"

func newEngine(t testing.TB) *promql.Engine {
	return promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
}

// dedupStorage is a TSDB that is read through dedup.
type dedupStorage struct {
	storage.Storage
	view storage.SampleAndChunkQueryable
}

func newDedupStorage(t testing.TB, cfg Config) *dedupStorage {
	db := teststorage.New(t, func(o *tsdb.Options) {
		o.EnableSTStorage = true
		o.FloatChunkEncoding = chunkenc.EncXOR2
		o.EnableHistogramSTEncoding = true
	})
	return &dedupStorage{Storage: db, view: Queryable(db, cfg)}
}

func (s *dedupStorage) Querier(mint, maxt int64) (storage.Querier, error) {
	return s.view.Querier(mint, maxt)
}

func (s *dedupStorage) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return s.view.ChunkQuerier(mint, maxt)
}

// pairStorage stores every sample twice, as two replicas that see exactly the same.
type pairStorage struct{ *dedupStorage }

func newPairStorage(t testing.TB, cfg Config) storage.Storage {
	return &pairStorage{newDedupStorage(t, cfg)}
}

func (s *pairStorage) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &pairAppender{AppenderV2: s.Storage.AppenderV2(ctx)}
}

type pairAppender struct{ storage.AppenderV2 }

func (a *pairAppender) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	for _, replica := range []string{"a", "b"} {
		l := labels.NewBuilder(ls).Set(pairLabel, replica).Labels()
		if h != nil {
			h = h.Copy()
		}
		if fh != nil {
			fh = fh.Copy()
		}
		opts.Exemplars = append([]exemplar.Exemplar(nil), opts.Exemplars...)
		if _, err := a.AppenderV2.Append(0, l, st, t, v, h, fh, opts); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
