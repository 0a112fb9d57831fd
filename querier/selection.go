// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// funcSeries is the hint of a select that wants label sets and no samples, as Prometheus' API gives it.
const funcSeries = "series"

var errLocalNotReady = errors.New("still opening its TSDBs")

// fetch asks the cluster for the series that match and returns them merged.
func (s *session) fetch(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers []*labels.Matcher) (seriesSource, annotations.Annotations, error) {
	tenant, ok := TenantFrom(ctx)
	if !ok {
		return nil, nil, errNoTenant
	}
	if hints == nil {
		hints = &storage.SelectHints{Start: s.span.mint, End: s.span.maxt}
	}
	sel := &selection{
		s: s, tenant: tenant, hints: *hints, matchers: matchers,
		span: span{max(s.span.mint, hints.Start), min(s.span.maxt, hints.End)}, sources: wantsSources(ctx),
		sorted: sorted || hints.Limit > 0, // A limit is on the first.
	}
	if hints.Func == funcSeries {
		return sel.labelSets(ctx)
	}
	return sel.copies(ctx)
}

// selection is one select with what it needs of its session.
type selection struct {
	s        *session
	tenant   string
	span     span
	sorted   bool
	hints    storage.SelectHints
	matchers []*labels.Matcher
	alone    []span // For which the bucket alone answers; known when it was asked.

	sources bool                     // Series are to know where their samples are from.
	blocks  []storage.ChunkSeriesSet // If so, what blocks have.
}

// hintsFor returns hints for a part of the range. The chunks that come back are not cut to it: copies with
// equal bytes stay equal, and the merged series is cut instead.
func (sel *selection) hintsFor(part span) *storage.SelectHints {
	h := sel.hints
	h.Start, h.End = part.mint, part.maxt
	h.DisableTrimming = true
	return &h
}

// unsharded is hintsFor for a store that is asked for all series, of which a part is taken then.
func (sel *selection) unsharded(part span) *storage.SelectHints {
	h := sel.hintsFor(part)
	if h.ShardCount > 1 {
		h.Limit = 0 // It is on the part.
	}
	h.ShardIndex, h.ShardCount = 0, 0
	return h
}

// copies asks for chunks.
func (sel *selection) copies(ctx context.Context) (seriesSource, annotations.Annotations, error) {
	q := sel.s.q
	ask := func(peerCtx context.Context, m Member) (storage.ChunkSeriesSet, said, error) {
		if m.Self {
			return sel.localCopies(ctx) // Not peerCtx, which ends before the set is read.
		}
		set, said, err := q.peers.read(peerCtx, m, sel.span, sel.sorted, sel.hintsFor(sel.span), slices.Clone(sel.matchers))
		if buffered, ok := set.(*bufferedSet); ok {
			sel.s.onClose(buffered.release)
		}
		return sel.named(sourcePeer+m.Name, set), said, err
	}
	var bucket bucketAsker[storage.ChunkSeriesSet]
	if q.cfg.Blocks != nil {
		bucket = sel.bucketCopies
	}
	sets, warnings, err := collect(ctx, q, sel.span, ask, bucket)
	if err != nil {
		return nil, nil, err
	}
	sets = append(sel.blocks, sets...)
	if len(sel.alone) > 0 { // The bucket's set is the last.
		for i := range sets[:len(sets)-1] {
			sets[i] = beside(sets[i], sel.alone)
		}
	}
	trim := span{minTime, maxTime}
	if !sel.hints.DisableTrimming {
		trim = sel.span
	}
	env := &mergeEnv{trim: trim, conflicts: q.metrics.conflicts}
	if !sel.sorted {
		return newUnorderedSet(sets, env), warnings, nil
	}
	return newCopySet(sets, env, sel.hints.Limit), warnings, nil
}

func (sel *selection) localCopies(ctx context.Context) (storage.ChunkSeriesSet, said, error) {
	local := sel.s.q.cfg.Local
	if !local.Ready() {
		return nil, said{}, errLocalNotReady
	}
	accepts := sel.s.q.cfg.AcceptsFrom.of(sel.tenant) // Before it is read.
	cq, err := local.ChunkQuerier(sel.tenant, sel.span.mint, sel.span.maxt)
	if err != nil {
		return nil, said{}, err
	}
	sel.s.onClose(cq.Close)
	set := newShardSet(cq.Select(ctx, sel.sorted, sel.unsharded(sel.span), slices.Clone(sel.matchers)...), &sel.hints)
	if err := sel.addBlocks(ctx, local, sourceBlock, sel.span); err != nil {
		return nil, said{}, err
	}
	// After the querier is open: a block deleted in between is still in the one or already in the other.
	if newest := local.Newest(sel.tenant); newest < maxTime {
		set = boundedChunks{set, newest}
	}
	return sel.named(sourceHead, set), said{localStart: local.LocalStart(sel.tenant), accepts: accepts}, nil
}

func (sel *selection) bucketCopies(ctx context.Context, part span, earliest int64) (storage.ChunkSeriesSet, error) {
	cq, err := sel.s.q.cfg.Blocks.ChunkQuerier(sel.tenant, part.mint, part.maxt)
	if err != nil {
		return nil, err
	}
	sel.s.onClose(cq.Close)
	alone := func() [][2]int64 { return nil }
	if joined := sel.s.q.cfg.Joined; joined != nil {
		ctx, alone = joined(ctx, earliest)
	}
	set := cq.Select(ctx, true, sel.unsharded(part), slices.Clone(sel.matchers)...)
	for _, times := range alone() {
		sel.alone = append(sel.alone, span{times[0], times[1]})
	}
	peeked, err := peek(newShardSet(set, &sel.hints))
	if err != nil {
		return nil, err
	}
	return sel.named(sourceBucket, peeked), sel.addBlocks(ctx, sel.s.q.cfg.Blocks, sourceBucketBlock, part)
}

// labelSets asks for series without their samples.
func (sel *selection) labelSets(ctx context.Context) (seriesSource, annotations.Annotations, error) {
	q := sel.s.q
	ask := func(peerCtx context.Context, m Member) ([]labels.Labels, said, error) {
		if m.Self {
			return sel.localLabelSets(ctx)
		}
		return q.peers.series(peerCtx, m, question{
			mint: sel.span.mint, maxt: sel.span.maxt, limit: sel.hints.Limit, matchers: [][]*labels.Matcher{sel.matchers},
		})
	}
	var bucket bucketAsker[[]labels.Labels]
	if q.cfg.Blocks != nil {
		bucket = func(ctx context.Context, part span, _ int64) ([]labels.Labels, error) {
			querier, err := q.cfg.Blocks.Querier(sel.tenant, part.mint, part.maxt)
			if err != nil {
				return nil, err
			}
			sel.s.onClose(querier.Close)
			return readLabelSets(querier.Select(ctx, true, sel.hintsFor(part), slices.Clone(sel.matchers)...), sel.hints.Limit)
		}
	}
	lists, warnings, err := collect(ctx, q, sel.span, ask, bucket)
	if err != nil {
		return nil, nil, err
	}
	return newLabelSet(lists, sel.hints.Limit), warnings, nil
}

func (sel *selection) localLabelSets(ctx context.Context) ([]labels.Labels, said, error) {
	local := sel.s.q.cfg.Local
	if !local.Ready() {
		return nil, said{}, errLocalNotReady
	}
	querier, err := local.Querier(sel.tenant, sel.span.mint, sel.span.maxt)
	if err != nil {
		return nil, said{}, err
	}
	sel.s.onClose(querier.Close)
	sets, err := readLabelSets(querier.Select(ctx, true, sel.hintsFor(sel.span), slices.Clone(sel.matchers)...), sel.hints.Limit)
	return sets, said{localStart: local.LocalStart(sel.tenant)}, err
}

// readLabelSets reads the labels of a set's series, at most limit of them if that is not 0.
func readLabelSets(set storage.SeriesSet, limit int) ([]labels.Labels, error) {
	var out []labels.Labels
	for set.Next() {
		out = append(out, set.At().Labels())
		if limit > 0 && len(out) >= limit {
			break
		}
	}
	return out, set.Err()
}
