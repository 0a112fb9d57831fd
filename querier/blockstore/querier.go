// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
)

// queriers keeps one querier of each block that is in use, until all are closed together.
type queriers[Q interface{ Close() error }] struct {
	*leases
	open func(b *tsdb.Block, mint, maxt int64) (Q, error)
	wrap func(q Q, external labels.Labels) Q

	mu      sync.Mutex
	byBlock map[ulid.ULID]Q
}

// of returns the queriers of all blocks that a selection needs.
func (s *queriers[Q]) of(ctx context.Context, hints *storage.SelectHints, ms []*labels.Matcher) ([]Q, error) {
	blocks, err := s.need(ctx, hints, ms)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := make([]Q, 0, len(blocks))
	for _, b := range blocks {
		q, ok := s.byBlock[b.id]
		if !ok {
			q, err = s.open(b.copy.block, s.mint, s.maxt)
			if err != nil {
				return nil, fmt.Errorf("query block %s: %w", b.id, err)
			}
			if !b.external.IsEmpty() {
				q = s.wrap(q, b.external)
			}
			s.byBlock[b.id] = q
		}
		found = append(found, q)
	}
	return found, nil
}

// Close ends the use of all blocks.
func (s *queriers[Q]) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, q := range s.byBlock {
		errs = append(errs, q.Close())
	}
	s.byBlock = nil
	s.close()
	return errors.Join(errs...)
}

// labelQuerier answers the questions that have no time range of their own.
func (s *queriers[Q]) labelQuerier(ctx context.Context, ms []*labels.Matcher, merge func([]Q) storage.LabelQuerier) (storage.LabelQuerier, error) {
	qs, err := s.of(ctx, nil, ms)
	if err != nil {
		return nil, err
	}
	return merge(qs), nil
}

// querier is the storage.Querier of one query.
type querier struct{ queriers[storage.Querier] }

func newQuerier(l *leases) *querier {
	return &querier{queriers[storage.Querier]{
		leases: l,
		open: func(b *tsdb.Block, mint, maxt int64) (storage.Querier, error) {
			return tsdb.NewBlockQuerier(b, mint, maxt)
		},
		wrap: func(q storage.Querier, external labels.Labels) storage.Querier {
			return newExternalQuerier(q, external, l.store.cfg.MergeSeries)
		},
		byBlock: map[ulid.ULID]storage.Querier{},
	}}
}

func (q *querier) merged(qs []storage.Querier) storage.Querier {
	return storage.NewMergeQuerier(qs, nil, q.store.cfg.MergeSeries)
}

// Select implements storage.Querier.
func (q *querier) Select(ctx context.Context, sort bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	qs, err := q.of(ctx, hints, ms)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	// TSDB sorts the matchers where they are, and the caller may share them with other queriers.
	return q.merged(qs).Select(ctx, sort, hints, slices.Clone(ms)...)
}

// LabelValues implements storage.LabelQuerier.
func (q *querier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	lq, err := q.labelQuerier(ctx, ms, func(qs []storage.Querier) storage.LabelQuerier { return q.merged(qs) })
	if err != nil {
		return nil, nil, err
	}
	return lq.LabelValues(ctx, name, hints, slices.Clone(ms)...)
}

// LabelNames implements storage.LabelQuerier.
func (q *querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	lq, err := q.labelQuerier(ctx, ms, func(qs []storage.Querier) storage.LabelQuerier { return q.merged(qs) })
	if err != nil {
		return nil, nil, err
	}
	return lq.LabelNames(ctx, hints, slices.Clone(ms)...)
}

// chunkQuerier is the storage.ChunkQuerier of one query.
type chunkQuerier struct {
	queriers[storage.ChunkQuerier]
}

func newChunkQuerier(l *leases) *chunkQuerier {
	return &chunkQuerier{queriers[storage.ChunkQuerier]{
		leases: l,
		open: func(b *tsdb.Block, mint, maxt int64) (storage.ChunkQuerier, error) {
			return tsdb.NewBlockChunkQuerier(b, mint, maxt)
		},
		wrap: func(q storage.ChunkQuerier, external labels.Labels) storage.ChunkQuerier {
			return newExternalChunkQuerier(q, external, l.store.cfg.MergeChunks)
		},
		byBlock: map[ulid.ULID]storage.ChunkQuerier{},
	}}
}

func (q *chunkQuerier) merged(qs []storage.ChunkQuerier) storage.ChunkQuerier {
	return storage.NewMergeChunkQuerier(qs, nil, q.store.cfg.MergeChunks)
}

// Select implements storage.ChunkQuerier.
func (q *chunkQuerier) Select(ctx context.Context, sort bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	qs, err := q.of(ctx, hints, ms)
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	return q.merged(qs).Select(ctx, sort, hints, slices.Clone(ms)...)
}

// LabelValues implements storage.LabelQuerier.
func (q *chunkQuerier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	lq, err := q.labelQuerier(ctx, ms, func(qs []storage.ChunkQuerier) storage.LabelQuerier { return q.merged(qs) })
	if err != nil {
		return nil, nil, err
	}
	return lq.LabelValues(ctx, name, hints, slices.Clone(ms)...)
}

// LabelNames implements storage.LabelQuerier.
func (q *chunkQuerier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	lq, err := q.labelQuerier(ctx, ms, func(qs []storage.ChunkQuerier) storage.LabelQuerier { return q.merged(qs) })
	if err != nil {
		return nil, nil, err
	}
	return lq.LabelNames(ctx, hints, slices.Clone(ms)...)
}
