// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// chunkQuerier serves remote read by clients outside of the cluster. Deduplicated
// series are encoded anew; without dedup the stored chunks are passed through.
type chunkQuerier struct {
	querier

	chunks storage.ChunkQuerier
}

// Select implements storage.ChunkQuerier.
func (q *chunkQuerier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	if len(replicaLabels(ctx, q.q.names)) > 0 {
		return storage.NewSeriesSetToChunkSet(q.querier.Select(ctx, sortSeries, hints, matchers...))
	}
	chunks, err := q.openChunks()
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return chunks.Select(ctx, sortSeries, hints, matchers...)
}

func (q *chunkQuerier) openChunks() (storage.ChunkQuerier, error) {
	q.mtx.Lock()
	defer q.mtx.Unlock()
	var err error
	if q.chunks == nil {
		q.chunks, err = q.q.inner.ChunkQuerier(q.mint, q.maxt)
	}
	return q.chunks, err
}

// Close implements storage.LabelQuerier.
func (q *chunkQuerier) Close() error {
	err := q.querier.Close()
	if q.chunks != nil {
		err = errors.Join(err, q.chunks.Close())
		q.chunks = nil
	}
	return err
}
