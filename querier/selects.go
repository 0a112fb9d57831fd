// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
)

// sampleQuerier is the storage.Querier of the cluster.
type sampleQuerier struct{ *session }

// Select implements storage.Querier. It returns at once; the set waits. A cluster of one leaves all of it to its TSDB.
func (s *sampleQuerier) Select(ctx context.Context, sortSeries bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	if local := s.direct(ctx); local != nil {
		return boundedSet{local.Select(ctx, sortSeries, hints, matchers...), local.newest}
	}
	return &sampleSet{s.start(ctx, sortSeries, hints, matchers)}
}

// direct returns the local querier if it alone has the whole answer, so that a cluster of one pays nothing
// for being one; else nil.
func (s *session) direct(ctx context.Context) *directQuerier {
	cfg := &s.q.cfg
	ms := cfg.Members()
	tenant, ok := TenantFrom(ctx)
	if !ok || wantsSources(ctx) || !ms.alone() || ms.Members[0].absent() != "" || !complete(ms.Members, ms.RF, []bool{false}) || !cfg.Local.Ready() {
		return nil
	}
	accepted(ctx, cfg.AcceptsFrom.of(tenant)) // Before it is read.
	local, err := cfg.Local.Querier(tenant, s.span.mint, s.span.maxt)
	if err != nil {
		return nil // The long way says what it means that this member cannot answer.
	}
	s.onClose(local.Close)
	// Asked after the querier is open: see localCopies.
	if start := cfg.Local.LocalStart(tenant); s.span.mint < start && !s.q.noBlocks(tenant, s.span.mint, min(s.span.maxt, start-1)) {
		return nil
	}
	s.q.metrics.fanouts.WithLabelValues(resultComplete).Inc()
	return &directQuerier{local, cfg.Local.Newest(tenant)}
}

// directQuerier is the local querier, with a time after which it has no samples.
type directQuerier struct {
	storage.Querier
	newest int64
}

// noBlocks tells whether the bucket is known to have nothing of a time.
func (q *Querier) noBlocks(tenant string, mint, maxt int64) bool {
	return q.cfg.Blocks == nil || q.cfg.Blocks.Empty(tenant, mint, maxt)
}

// chunkQuerier is the storage.ChunkQuerier of the cluster.
type chunkQuerier struct{ *session }

// Select implements storage.ChunkQuerier. It returns at once; the set waits. Series are always sorted.
func (c *chunkQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.ChunkSeriesSet {
	return &chunkSet{c.start(ctx, true, hints, matchers)}
}

// sampleSet and chunkSet are the two ways to look at merged series.
type (
	sampleSet struct{ *future }
	chunkSet  struct{ *future }
)

func (s *sampleSet) At() storage.Series     { return (*sampleSeries)(s.set.At()) }
func (s *chunkSet) At() storage.ChunkSeries { return (*chunkSeries)(s.set.At()) }

type (
	sampleSeries series
	chunkSeries  series
)

// Labels returns the labels of the series.
func (s *sampleSeries) Labels() labels.Labels { return s.lset }

// Iterator returns the samples of all copies, each timestamp once.
func (s *sampleSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	return (*series)(s).samples(it)
}

// Labels returns the labels of the series.
func (s *chunkSeries) Labels() labels.Labels { return s.lset }

// Iterator returns chunks that do not overlap and hold the samples of all copies.
func (s *chunkSeries) Iterator(it chunks.Iterator) chunks.Iterator { return (*series)(s).chunks(it) }
