// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// indexReader is the index of a block to TSDB's querier. Strings that it returns are copies.
type indexReader struct{ s *selection }

var _ tsdb.IndexReader = indexReader{}

// Symbols implements tsdb.IndexReader. They are ready since the block was opened.
func (r indexReader) Symbols() index.StringIter { return r.s.block.reader.Symbols() }

// Postings implements tsdb.IndexReader.
func (r indexReader) Postings(ctx context.Context, name string, values ...string) (index.Postings, error) {
	var p index.Postings
	err := r.s.readPostings(func(ix *index.Reader) (err error) {
		p, err = ix.Postings(ctx, name, values...)
		return err
	})
	return p, err
}

// PostingsForLabelMatching implements tsdb.IndexReader.
func (r indexReader) PostingsForLabelMatching(ctx context.Context, name string, match func(string) bool) index.Postings {
	return r.postings(func(ix *index.Reader) index.Postings { return ix.PostingsForLabelMatching(ctx, name, match) })
}

// PostingsForAllLabelValues implements tsdb.IndexReader.
func (r indexReader) PostingsForAllLabelValues(ctx context.Context, name string) index.Postings {
	return r.postings(func(ix *index.Reader) index.Postings { return ix.PostingsForAllLabelValues(ctx, name) })
}

func (r indexReader) postings(ask func(*index.Reader) index.Postings) index.Postings {
	var p index.Postings
	err := r.s.readPostings(func(ix *index.Reader) error {
		p = ask(ix)
		return p.Err()
	})
	if err != nil {
		return index.ErrPostings(err)
	}
	return p
}

// SortedPostings implements tsdb.IndexReader. Series of a block are in the order of their labels. It is called once the
// querier knows what it will read, so that this is where that is fetched.
func (r indexReader) SortedPostings(p index.Postings) index.Postings {
	refs, err := r.s.prepare(p)
	if err != nil {
		return index.ErrPostings(err)
	}
	return index.NewListPostings(refs)
}

// ShardedPostings implements tsdb.IndexReader.
func (r indexReader) ShardedPostings(p index.Postings, shardIndex, shardCount uint64) index.Postings {
	refs, err := r.s.expand(p)
	if err == nil {
		err = r.s.loadSeries(refs, false)
	}
	if err != nil {
		return index.ErrPostings(err)
	}
	var mine []storage.SeriesRef
	for _, p := range r.s.series {
		if labels.StableHash(p.labels)%shardCount == shardIndex {
			mine = append(mine, p.ref)
		}
	}
	return index.NewListPostings(mine)
}

// Series implements tsdb.IndexReader.
func (r indexReader) Series(ref storage.SeriesRef, builder *labels.ScratchBuilder, chks *[]chunks.Meta) error {
	p, ok := r.s.find(ref)
	if !ok {
		return errors.New("the series was not selected")
	}
	builder.Assign(p.labels)
	if chks != nil {
		*chks = append((*chks)[:0], p.chunks...)
	}
	return nil
}

// LabelNames implements tsdb.IndexReader.
func (r indexReader) LabelNames(ctx context.Context, ms ...*labels.Matcher) ([]string, error) {
	if everySeries(ms) {
		var names []string
		err := r.s.read(kindSeries, func(ix *index.Reader) (err error) {
			names, err = ix.LabelNames(ctx)
			return err
		})
		return names, err
	}
	p, err := tsdb.PostingsForMatchers(ctx, r, ms...)
	if err != nil {
		return nil, err
	}
	return r.LabelNamesFor(ctx, p)
}

// LabelNamesFor implements tsdb.IndexReader.
func (r indexReader) LabelNamesFor(ctx context.Context, p index.Postings) ([]string, error) {
	refs, err := r.s.expand(p)
	if err != nil {
		return nil, err
	}
	if err := r.s.block.load(ctx, r.s.usage(kindSeries), r.s.block.pagesOfSeries(refs)); err != nil {
		return nil, err
	}
	var names []string
	err = r.s.read(kindSeries, func(ix *index.Reader) (err error) {
		names, err = ix.LabelNamesFor(ctx, index.NewListPostings(refs))
		return err
	})
	return names, err
}

// SortedLabelValues implements tsdb.IndexReader.
func (r indexReader) SortedLabelValues(
	ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher,
) ([]string, error) {
	values, err := r.LabelValues(ctx, name, hints, ms...)
	slices.Sort(values)
	return values, err
}

// LabelValues implements tsdb.IndexReader.
func (r indexReader) LabelValues(
	ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher,
) ([]string, error) {
	limit := 0
	if hints != nil {
		limit = hints.Limit
	}
	if everySeries(ms) {
		ms = nil
	}
	all, err := r.allValues(ctx, name)
	if err != nil {
		return nil, err
	}
	others := false
	for _, m := range ms {
		if m.Name != name {
			others = true
			continue
		}
		all = slices.DeleteFunc(all, func(v string) bool { return !m.Matches(v) })
	}
	if others && len(all) > 0 {
		if all, err = r.valuesOf(ctx, name, all, ms); err != nil {
			return nil, err
		}
	}
	if limit > 0 && len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}

// allValues needs nothing but the offset table, which is there.
func (r indexReader) allValues(ctx context.Context, name string) ([]string, error) {
	var values []string
	err := r.s.read(kindPostings, func(ix *index.Reader) error {
		found, err := ix.SortedLabelValues(ctx, name, nil)
		values = make([]string, len(found))
		for i, v := range found {
			values[i] = strings.Clone(v)
		}
		return err
	})
	return values, err
}

// valuesOf returns those of the candidates that a series which matches has. There are two ways to know: to read these
// series, and to intersect their postings with those of each value. It takes the one that reads fewer pages.
func (r indexReader) valuesOf(ctx context.Context, name string, candidates []string, ms []*labels.Matcher) ([]string, error) {
	p, err := tsdb.PostingsForMatchers(ctx, r, slices.Clone(ms)...)
	if err != nil {
		return nil, err
	}
	refs, err := r.s.expand(p)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, v := range candidates {
		wanted[v] = true
	}
	lists, err := r.s.lists(func(n, v string) bool { return n == name && wanted[v] })
	if err != nil {
		return nil, err
	}
	if lists.pages() < r.s.block.pagesOfSeries(refs).pages() {
		return r.valuesByPostings(ctx, name, candidates, refs, lists)
	}
	if err := r.s.loadSeries(refs, false); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, s := range r.s.series {
		seen[s.labels.Get(name)] = true
	}
	return slices.DeleteFunc(candidates, func(v string) bool { return !seen[v] }), nil
}

func (r indexReader) valuesByPostings(
	ctx context.Context, name string, candidates []string, refs []storage.SeriesRef, lists runs,
) ([]string, error) {
	if err := r.s.block.load(ctx, r.s.usage(kindPostings), lists); err != nil {
		return nil, err
	}
	var found []int
	err := r.s.read(kindPostings, func(ix *index.Reader) error {
		postings := make([]index.Postings, len(candidates))
		for i, v := range candidates {
			p, err := ix.Postings(ctx, name, v)
			if err != nil {
				return err
			}
			postings[i] = p
		}
		var err error
		found, err = index.FindIntersectingPostings(index.NewListPostings(refs), postings)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	values := make([]string, len(found))
	for i, at := range found {
		values[i] = candidates[at]
	}
	return values, nil
}

// everySeries says that the matchers leave nothing out: there are none, or the one that TSDB writes that down with.
func everySeries(ms []*labels.Matcher) bool {
	return len(ms) == 0 || len(ms) == 1 && ms[0].Name == "" && ms[0].Value == ""
}

// Close implements tsdb.IndexReader. Who made the selection releases the block.
func (indexReader) Close() error { return nil }
