// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"context"
	"math"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/blockstore"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// halfInBucket: the older half of the range is in blocks in a bucket and nowhere else, the younger half in a member's head.
func halfInBucket(t testing.TB) storage.Storage {
	driver, err := bucket.NewFilesystem(t.TempDir())
	require.NoError(t, err)
	s := &laidOut{t: t}
	b := &bucketLayout{t: t, laidOut: s, blocks: bucket.NewBlocks(driver, nil), old: s.newTSDB(), young: s.newTSDB()}
	b.gateway, err = blockstore.New(blockstore.Config{
		Blocks: b.blocks, Dir: filepath.Join(t.TempDir(), "cache"),
		MergeChunks: querier.NewChunkMerger(prometheus.NewCounter(prometheus.CounterOpts{Name: "conflicts"})),
	}, nil, nil)
	require.NoError(t, err)
	s.closers = append(s.closers, func() { require.NoError(t, b.gateway.Close()) })
	s.appendTo = func(context.Context) storage.AppenderV2 { return &waiting{to: b} }
	s.view = b.ask
	return s
}

// bucketLayout divides the samples when they are first asked for: then it is known what half of the range is.
type bucketLayout struct {
	t          testing.TB
	laidOut    *laidOut
	blocks     *bucket.Blocks
	gateway    *blockstore.Store
	old, young *tsdb.DB

	committed []appended // And not divided yet.
	border    int64
	fanout    *querier.Querier // Nil before the first question.
}

type appended struct {
	lset  labels.Labels
	st, t int64
	v     float64
	h     *histogram.Histogram
	fh    *histogram.FloatHistogram
	opts  storage.AOptions
}

// ask stores what came since it was last asked. Blocks are written of all that is old, so that later ones overlap with those before.
func (b *bucketLayout) ask() (storage.SampleAndChunkQueryable, error) {
	if b.fanout == nil {
		mint, maxt := int64(math.MaxInt64), int64(math.MinInt64)
		for _, s := range b.committed {
			mint, maxt = min(mint, s.t), max(maxt, s.t)
		}
		if len(b.committed) > 0 {
			b.border = mint + (maxt-mint+1)/2
		}
		require.NoError(b.t, b.gateway.Sync(b.t.Context()))
		b.fanout = b.laidOut.newFanout(b.gateway, member{DB: b.young, start: b.border})
	}
	if len(b.committed) == 0 {
		return b.fanout, nil
	}
	old, young := b.old.AppenderV2(b.t.Context()), b.young.AppenderV2(b.t.Context())
	fresh := false
	for _, s := range b.committed {
		app := young
		if s.t < b.border {
			app, fresh = old, true
		}
		if _, err := app.Append(0, s.lset, s.st, s.t, s.v, s.h, s.fh, s.opts); err != nil {
			return nil, err
		}
	}
	b.committed = nil
	require.NoError(b.t, old.Commit())
	require.NoError(b.t, young.Commit())
	if fresh {
		b.upload()
	}
	return b.fanout, nil
}

func (b *bucketLayout) upload() {
	head, dir := b.old.Head(), b.t.TempDir()
	compactor, err := tsdb.NewLeveledCompactor(b.t.Context(), nil, quiet(), []int64{math.MaxInt64 / 4}, nil, nil)
	require.NoError(b.t, err)
	ids, err := compactor.Write(dir, tsdb.NewRangeHead(head, head.MinTime(), head.MaxTime()), head.MinTime(), head.MaxTime()+1, nil)
	require.NoError(b.t, err)
	for _, id := range ids {
		external := map[string]string{bucket.LabelTenant: tenant, bucket.LabelReceiveReplica: "0"}
		require.NoError(b.t, b.blocks.PutBlock(b.t.Context(), filepath.Join(dir, id.String()), external, bucket.SourceReceive))
	}
	require.NoError(b.t, b.gateway.Sync(b.t.Context()))
}

// waiting is an appender whose samples are stored when they are asked for.
type waiting struct {
	to      *bucketLayout
	samples []appended
}

func (w *waiting) Append(_ storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if h != nil {
		h = h.Copy()
	}
	if fh != nil {
		fh = fh.Copy()
	}
	w.samples = append(w.samples, appended{ls, st, t, v, h, fh, opts})
	return 0, nil
}

func (w *waiting) Commit() error {
	w.to.committed = append(w.to.committed, w.samples...)
	return nil
}

func (*waiting) Rollback() error { return nil }
