// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/penstock-io/penstock/downsample"
)

// piecewise makes one set of what several blocks have of the times for which each answers, some of them downsampled. The
// chunks of raw blocks are merged as copies are; then each series is read as the hints ask for.
type piecewise struct {
	storage.ChunkSeriesSet
	reading  downsample.Reading
	mergeRaw storage.VerticalChunkSeriesMergeFunc
	warnings annotations.Annotations
}

// newPiecewise takes a sorted set for each need of the plan, in order.
func newPiecewise(
	p plan, sets []storage.ChunkSeriesSet, hints *storage.SelectHints, limit int, mergeRaw storage.VerticalChunkSeriesMergeFunc,
) *piecewise {
	spread := hints == nil || hints.Range == 0
	tagged := make([]storage.ChunkSeriesSet, len(sets))
	for i, set := range sets {
		resolution := p.needs[i].cover.Resolution
		tagged[i] = &taggedSet{set, blockPart{
			pieces: p.needs[i].pieces, resolution: resolution,
			spread: spread && resolution > max(p.limit.Max, downsample.FiveMinutes),
		}}
	}
	return &piecewise{
		ChunkSeriesSet: storage.NewMergeChunkSeriesSet(tagged, limit, joinParts), mergeRaw: mergeRaw,
		reading: downsample.ReadingFor(hints, p.mixed), warnings: p.warnings,
	}
}

// blockPart is what one block has of a series.
type blockPart struct {
	storage.ChunkSeries
	pieces     []downsample.Piece
	resolution int64
	spread     bool
}

// taggedSet says of each series which block it is of.
type taggedSet struct {
	storage.ChunkSeriesSet
	part blockPart
}

// At implements storage.ChunkSeriesSet.
func (s *taggedSet) At() storage.ChunkSeries {
	part := s.part
	part.ChunkSeries = s.ChunkSeriesSet.At()
	return joinedParts{part}
}

// joinedParts is what all blocks have of a series. It is a storage.ChunkSeries only to pass through the merge.
type joinedParts []blockPart

// Labels implements storage.ChunkSeries.
func (j joinedParts) Labels() labels.Labels { return j[0].Labels() }

// Iterator implements storage.ChunkSeries. It is not called.
func (j joinedParts) Iterator(it chunks.Iterator) chunks.Iterator { return j[0].Iterator(it) }

func joinParts(all ...storage.ChunkSeries) storage.ChunkSeries {
	var joined joinedParts
	for _, s := range all {
		joined = append(joined, s.(joinedParts)...)
	}
	return joined
}

// Warnings implements storage.ChunkSeriesSet.
func (s *piecewise) Warnings() annotations.Annotations {
	return merged(s.warnings, s.ChunkSeriesSet.Warnings())
}

// series returns the current series as samples.
func (s *piecewise) series() storage.Series {
	joined := s.ChunkSeriesSet.At().(joinedParts)
	return downsample.NewSeries(joined.Labels(), s.reading, func() ([]downsample.Part, error) { return joined.parts(s.mergeRaw) })
}

func (j joinedParts) parts(mergeRaw storage.VerticalChunkSeriesMergeFunc) ([]downsample.Part, error) {
	var parts []downsample.Part
	var raw []storage.ChunkSeries
	var rawPieces []downsample.Piece
	for _, p := range j {
		if p.resolution == downsample.Raw {
			raw, rawPieces = append(raw, p.ChunkSeries), append(rawPieces, p.pieces...)
			continue
		}
		metas, err := allChunks(p.ChunkSeries)
		if err != nil {
			return nil, err
		}
		parts = append(parts, downsample.Part{Chunks: metas, Pieces: p.pieces, Resolution: p.resolution, Spread: p.spread})
	}
	if len(raw) == 0 {
		return parts, nil
	}
	merged := raw[0]
	if len(raw) > 1 {
		merged = mergeRaw(raw...)
	}
	metas, err := allChunks(merged)
	return append(parts, downsample.Part{Chunks: metas, Pieces: downsample.Union(rawPieces)}), err
}

func allChunks(s storage.ChunkSeries) ([]chunks.Meta, error) {
	var metas []chunks.Meta
	it := s.Iterator(nil)
	for it.Next() {
		metas = append(metas, it.At())
	}
	return metas, it.Err()
}

// piecewiseSamples and piecewiseChunks are the two ways to look at the series.
type (
	piecewiseSamples struct{ *piecewise }
	piecewiseChunks  struct{ *piecewise }
)

// At implements storage.SeriesSet.
func (s piecewiseSamples) At() storage.Series { return s.series() }

// At implements storage.ChunkSeriesSet. Downsampled chunks do not leave this node: whoever gets the chunks can join them to
// any others.
func (s piecewiseChunks) At() storage.ChunkSeries { return storage.NewSeriesToChunkEncoder(s.series()) }

// warnedSamples and warnedChunks are sets with the warnings of their plan.
type (
	warnedSamples struct {
		storage.SeriesSet
		warnings annotations.Annotations
	}
	warnedChunks struct {
		storage.ChunkSeriesSet
		warnings annotations.Annotations
	}
)

// Warnings implements storage.SeriesSet.
func (s warnedSamples) Warnings() annotations.Annotations {
	return merged(s.warnings, s.SeriesSet.Warnings())
}

// Warnings implements storage.ChunkSeriesSet.
func (s warnedChunks) Warnings() annotations.Annotations {
	return merged(s.warnings, s.ChunkSeriesSet.Warnings())
}

func merged(a, b annotations.Annotations) annotations.Annotations {
	var all annotations.Annotations
	all.Merge(a)
	all.Merge(b)
	return all
}
