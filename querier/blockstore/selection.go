// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

// funcSeries is the hint of a query that wants labels and no samples.
const funcSeries = "series"

// checkContextEvery is after how many series the context is looked at.
const checkContextEvery = 512

// selection is one question to one block, in the form in which TSDB's own block querier asks it. What the answer needs is
// fetched in three steps, each with few requests at the same time: postings, when the first of them is missing; series, when
// it is known which; chunks, when the series have said where they are. After that everything is in memory: the answer reads
// neither the bucket nor the local file, and the block may go.
//
// It belongs to one goroutine.
type selection struct {
	ctx        context.Context // Of the question: an IndexReader is given none in most of its methods.
	block      *openBlock
	budget     *budget
	pool       chunkenc.Pool
	matchers   []*labels.Matcher
	mint, maxt int64 // Of the chunks that are needed.
	noChunks   bool

	planned bool // The postings of the matchers have been fetched.
	series  []parsedSeries
	next    int // The entry of series that is likely asked for next.
	chunks  chunkSet
}

// parsedSeries is an entry of the index, parsed once and handed on once.
type parsedSeries struct {
	ref    storage.SeriesRef
	labels labels.Labels
	chunks []chunks.Meta
}

var _ tsdb.BlockReader = (*selection)(nil)

// Index implements tsdb.BlockReader.
func (s *selection) Index() (tsdb.IndexReader, error) { return indexReader{s}, nil }

// Chunks implements tsdb.BlockReader.
func (s *selection) Chunks() (tsdb.ChunkReader, error) { return chunkReader{s}, nil }

// Tombstones implements tsdb.BlockReader. Blocks in a bucket have none.
func (*selection) Tombstones() (tombstones.Reader, error) { return tombstones.NewMemTombstones(), nil }

// Meta implements tsdb.BlockReader.
func (s *selection) Meta() tsdb.BlockMeta { return tsdb.BlockMeta{ULID: s.block.id} }

// Size implements tsdb.BlockReader.
func (s *selection) Size() int64 { return int64(s.block.file.layout.pages) * pageBytes }

func (s *selection) usage(k kind) *usage { return &usage{s.budget, k} }

// read calls fn, which uses the index reader for what k says.
func (s *selection) read(k kind, fn func(r *index.Reader) error) error {
	return s.block.read(s.ctx, s.usage(k), func() error { return fn(s.block.reader) })
}

// expand returns the series of postings.
func (s *selection) expand(p index.Postings) ([]storage.SeriesRef, error) {
	const posting = 4 // Bytes.
	var refs []storage.SeriesRef
	err := s.read(kindPostings, func(*index.Reader) (err error) {
		refs, err = index.ExpandPostings(p)
		return err
	})
	if err == nil {
		err = s.usage(kindPostings).spend(int64(len(refs)) * posting)
	}
	return refs, err
}

// prepare makes everything that the answer needs ready, for the series that p has.
func (s *selection) prepare(p index.Postings) ([]storage.SeriesRef, error) {
	refs, err := s.expand(p)
	if err != nil {
		return nil, err
	}
	if err := s.loadSeries(refs, true); err != nil {
		return nil, err
	}
	if s.noChunks {
		return refs, nil
	}
	return refs, s.loadChunks()
}

// loadSeries fetches and parses series.
func (s *selection) loadSeries(refs []storage.SeriesRef, withChunks bool) error {
	if err := s.block.load(s.ctx, s.usage(kindSeries), s.block.pagesOfSeries(refs)); err != nil {
		return err
	}
	s.series, s.next = make([]parsedSeries, 0, len(refs)), 0
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	into := &metas
	if !withChunks {
		into = nil
	}
	return s.read(kindSeries, func(r *index.Reader) error {
		for len(s.series) < len(refs) {
			i := len(s.series)
			if i%checkContextEvery == 0 && s.ctx.Err() != nil {
				return s.ctx.Err()
			}
			if err := r.Series(refs[i], &builder, into); err != nil {
				return err
			}
			s.series = append(s.series, parsedSeries{refs[i], builder.Labels(), slices.Clone(metas)})
		}
		return nil
	})
}

// pagesOfSeries returns where series are, as far as that is known without looking. Refs of postings ascend.
func (b *openBlock) pagesOfSeries(refs []storage.SeriesRef) runs {
	o := b.file.layout.index()
	var want runs
	for _, ref := range refs {
		if off := b.seriesAt(ref); off < o.size {
			want = want.add(o.pagesOf(off, b.cache.cfg.guesses.series))
		}
	}
	return want
}

// seriesAt returns the offset of a series in the index.
func (b *openBlock) seriesAt(ref storage.SeriesRef) int64 {
	const align = 16 // References count in these since version 2.
	if b.reader.Version() == index.FormatV1 {
		return int64(ref)
	}
	return int64(ref) * align
}

// find returns a series that was parsed.
func (s *selection) find(ref storage.SeriesRef) (*parsedSeries, bool) {
	if s.next < len(s.series) && s.series[s.next].ref == ref {
		s.next++
		return &s.series[s.next-1], true
	}
	i, ok := slices.BinarySearchFunc(s.series, ref, func(p parsedSeries, ref storage.SeriesRef) int { return cmp.Compare(p.ref, ref) })
	if !ok {
		return nil, false
	}
	s.next = i + 1
	return &s.series[i], true
}
