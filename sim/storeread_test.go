// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// chunkSamples is how many samples a TSDB puts into one chunk.
const chunkSamples = 120

// cachedChunks are the chunks of a series as long as it does not change.
type cachedChunks struct {
	version, blocked int
	metas            []chunks.Meta
}

// series returns everything the store has, head and blocks, sorted by labels.
func (s *store) series() (out []storedSeries) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	if s.head == nil {
		return nil
	}
	keys := map[string]labels.Labels{}
	for key, b := range s.disk.blocks {
		keys[key] = b.lset
	}
	for key, h := range s.head.series {
		keys[key] = h.lset
	}
	for key := range maps.Keys(keys) {
		out = append(out, storedSeries{lset: keys[key], metas: s.chunksOf(key)})
	}
	slices.SortFunc(out, func(a, b storedSeries) int { return labels.Compare(a.lset, b.lset) })
	return out
}

// chunksOf returns the samples of a series; both locks are held.
func (s *store) chunksOf(key string) []chunks.Meta {
	var blocked []point
	if b := s.disk.blocks[key]; b != nil {
		blocked = b.list
	}
	version := 0
	h := s.head.series[key]
	if h != nil {
		version = h.version
	}
	if c, ok := s.cache[key]; ok && c.version == version && c.blocked == len(blocked) {
		return c.metas
	}
	var list []point
	if h != nil {
		list = h.points()
	}
	metas := encode(mergePoints(list, blocked))
	s.cache[key] = cachedChunks{version, len(blocked), metas}
	return metas
}

// points returns what the store has of a series, for the checker's last look.
func (s *store) points(key string) []point {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	var list []point
	if h := s.head.series[key]; h != nil {
		list = h.points()
	}
	if b := s.disk.blocks[key]; b != nil {
		list = mergePoints(list, b.list)
	}
	return list
}

func encode(list []point) (metas []chunks.Meta) {
	for part := range slices.Chunk(list, chunkSamples) {
		c := chunkenc.NewXORChunk()
		app, err := c.Appender()
		if err != nil {
			panic(err)
		}
		for _, p := range part {
			app.Append(0, p.t, p.v)
		}
		metas = append(metas, chunks.Meta{Chunk: c, MinTime: part[0].t, MaxTime: part[len(part)-1].t})
	}
	return metas
}

// storedSeries is a storage.ChunkSeries.
type storedSeries struct {
	lset  labels.Labels
	metas []chunks.Meta
}

func (s storedSeries) Labels() labels.Labels { return s.lset }

func (s storedSeries) Iterator(chunks.Iterator) chunks.Iterator {
	return storage.NewListChunkSeriesIterator(s.metas...)
}

// ChunkQuerier implements querier.Local.
func (s *store) ChunkQuerier(_ string, mint, maxt int64) (storage.ChunkQuerier, error) {
	if !s.Ready() {
		return nil, errNotReady
	}
	return &chunkReader{store: s, mint: mint, maxt: maxt}, nil
}

// Querier implements querier.Local. Only a cluster of one and label queries use it.
func (s *store) Querier(_ string, _, _ int64) (storage.Querier, error) {
	return nil, errors.New("not in the model")
}

// ExemplarQuerier implements querier.Local.
func (s *store) ExemplarQuerier(context.Context, string) (storage.ExemplarQuerier, error) {
	return nil, errors.New("not in the model")
}

type chunkReader struct {
	storage.LabelQuerier // Nil: not in the model.
	store                *store
	mint, maxt           int64
}

func (r *chunkReader) Close() error { return nil }

// Select implements storage.ChunkQuerier: whole chunks that overlap the range.
func (r *chunkReader) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	set := &storedSet{next: -1}
	for _, s := range r.store.series() {
		if !matches(s.lset, matchers) {
			continue
		}
		metas := slices.Clone(s.metas)
		metas = slices.DeleteFunc(metas, func(m chunks.Meta) bool { return m.MaxTime < r.mint || m.MinTime > r.maxt })
		if len(metas) > 0 {
			set.list = append(set.list, storedSeries{s.lset, metas})
		}
	}
	return set
}

func matches(lset labels.Labels, matchers []*labels.Matcher) bool {
	for _, m := range matchers {
		if !m.Matches(lset.Get(m.Name)) {
			return false
		}
	}
	return true
}

type storedSet struct {
	list []storedSeries
	next int
}

func (s *storedSet) Next() bool {
	s.next++
	return s.next < len(s.list)
}

func (s *storedSet) At() storage.ChunkSeries         { return s.list[s.next] }
func (*storedSet) Err() error                        { return nil }
func (*storedSet) Warnings() annotations.Annotations { return nil }
