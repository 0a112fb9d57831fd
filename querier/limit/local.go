// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// Store is this node's own store of TSDBs.
type Store interface {
	Querier(tenant string, mint, maxt int64) (storage.Querier, error)
	ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error)
	ExemplarQuerier(ctx context.Context, tenant string) (storage.ExemplarQuerier, error)
	LocalStart(tenant string) int64
	Newest(tenant string) int64
	BlockSets(ctx context.Context, tenant string, hints *storage.SelectHints, matchers ...*labels.Matcher) (
		sets map[string]storage.ChunkSeriesSet, release func() error, err error)
	Ready() bool
}

// Local is a Store that books the bytes of chunks that are read from it.
type Local struct {
	Store
	books *Books
}

// Local returns the view of s that the fan-out and the handler of peers read from. Safe for concurrent use if s is.
func (b *Books) Local(s Store) Local { return Local{s, b} }

// Querier returns a querier that answers alone when its samples are asked for: chunks are read only where members are.
func (l Local) Querier(tenant string, mint, maxt int64) (storage.Querier, error) {
	inner, err := l.Store.Querier(tenant, mint, maxt)
	if err != nil {
		return nil, err
	}
	return localQuerier{inner, l.books}, nil
}

// ChunkQuerier returns a querier of which each chunk is booked.
func (l Local) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	inner, err := l.Store.ChunkQuerier(tenant, mint, maxt)
	if err != nil {
		return nil, err
	}
	return localChunks{inner, l.books}, nil
}

// BlockSets returns sets of which each chunk is booked.
func (l Local) BlockSets(ctx context.Context, tenant string, hints *storage.SelectHints, matchers ...*labels.Matcher) (
	sets map[string]storage.ChunkSeriesSet, release func() error, err error,
) {
	sets, release, err = l.Store.BlockSets(ctx, tenant, hints, matchers...)
	if a := From(ctx); a != nil {
		for id, set := range sets {
			sets[id] = &localSet{ChunkSeriesSet: set, a: a}
		}
	}
	return sets, release, err
}

type localQuerier struct {
	storage.Querier
	books *Books
}

// enter waits for leave to compute for ctx, in a goroutine of the fan-out or in that which answers a peer.
func (b *Books) enter(ctx context.Context) (t *turn, leave func(), err error) {
	if s := servedFrom(ctx); s != nil {
		return s.turn, func() {}, s.turn.begin() // Given back when the peer is answered.
	}
	if From(ctx) == nil {
		return nil, func() {}, nil
	}
	leave, err = b.Turn(ctx)
	return nil, leave, err
}

// Select implements storage.Querier.
func (q localQuerier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	a := From(ctx)
	if a != nil && servedFrom(ctx) == nil && !onlyLabels(hints) {
		a.alone.Store(true) // And under the turn of the engine.
		return q.Querier.Select(ctx, sortSeries, hints, matchers...)
	}
	t, leave, err := q.books.enter(ctx)
	if err != nil {
		return storage.ErrSeriesSet(err)
	}
	defer leave()
	set := q.Querier.Select(ctx, sortSeries, hints, matchers...)
	if t == nil {
		return set
	}
	return &seriesSet{inner: set, a: a, begun: true, turn: t}
}

// LabelValues implements storage.LabelQuerier.
func (q localQuerier) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	_, leave, err := q.books.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	return q.Querier.LabelValues(ctx, name, hints, matchers...)
}

// LabelNames implements storage.LabelQuerier.
func (q localQuerier) LabelNames(ctx context.Context, hints *storage.LabelHints, matchers ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	_, leave, err := q.books.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	return q.Querier.LabelNames(ctx, hints, matchers...)
}

type localChunks struct {
	storage.ChunkQuerier
	books *Books
}

// Select implements storage.ChunkQuerier.
func (q localChunks) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	a := From(ctx)
	if a == nil {
		return q.ChunkQuerier.Select(ctx, sortSeries, hints, matchers...)
	}
	t, leave, err := q.books.enter(ctx)
	if err != nil {
		return storage.ErrChunkSeriesSet(err)
	}
	defer leave()
	return &localSet{ChunkSeriesSet: q.ChunkQuerier.Select(ctx, sortSeries, hints, matchers...), a: a, turn: t}
}

// localSet books the chunks of the series of a set.
type localSet struct {
	storage.ChunkSeriesSet
	a    *Account
	turn *turn // Of a peer's question; nil for those of our own, which are read under the turn of an engine.
	slab []localSeries
	err  error
}

// Next implements storage.ChunkSeriesSet.
func (s *localSet) Next() bool {
	if s.turn != nil && s.err == nil { // A query of our own counts its series once, after they are merged.
		if s.err = s.turn.yield(); s.err == nil {
			s.err = s.a.touch(1, 0)
		}
	}
	return s.err == nil && s.ChunkSeriesSet.Next()
}

// At implements storage.ChunkSeriesSet.
func (s *localSet) At() storage.ChunkSeries {
	if len(s.slab) == cap(s.slab) {
		s.slab = make([]localSeries, 0, slabSeries)
	}
	s.slab = append(s.slab, localSeries{s.ChunkSeriesSet.At(), s.a})
	return &s.slab[len(s.slab)-1]
}

// Err implements storage.ChunkSeriesSet.
func (s *localSet) Err() error {
	if s.err != nil {
		return s.a.explain(s.err)
	}
	return s.ChunkSeriesSet.Err()
}

type localSeries struct {
	storage.ChunkSeries
	a *Account
}

// Iterator implements storage.ChunkSeries.
func (s *localSeries) Iterator(reuse chunks.Iterator) chunks.Iterator {
	it, ok := reuse.(*bookedChunks)
	if !ok {
		it = &bookedChunks{}
	}
	it.Iterator, it.a, it.err = s.ChunkSeries.Iterator(it.Iterator), s.a, nil
	return it
}

// bookedChunks books each chunk.
type bookedChunks struct {
	chunks.Iterator
	a   *Account
	err error
}

// Next implements chunks.Iterator.
func (c *bookedChunks) Next() bool {
	if c.err != nil || !c.Iterator.Next() {
		return false
	}
	if chunk := c.Iterator.At().Chunk; chunk != nil {
		c.err = c.a.read(&c.a.localBytes, int64(len(chunk.Bytes())))
	}
	return c.err == nil
}

// Err implements chunks.Iterator.
func (c *bookedChunks) Err() error {
	if c.err != nil {
		return c.err
	}
	return c.Iterator.Err()
}
