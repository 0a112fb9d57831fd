// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Where samples are from, for whoever has to explain an answer. Nothing of it is done for other queries: the names of holders
// are in series only if the context of the select asks for them.

// Names of sources. A local or bucket block is told by its ULID.
const (
	sourceHead        = "head"
	sourceBlock       = "block:"
	sourcePeer        = "peer:"
	sourceBucket      = "bucket" // Alone it means downsampled blocks, of which one answers for another.
	sourceBucketBlock = "bucket:"
)

type sourcesKey struct{}

// WithSources returns a context whose selects return series that know where their samples are from: they have the method
//
//	Sources() func(t int64) []string
//
// What that returns names, for a time in ms that never goes back, the sources that have a sample then: head, block:<ULID>,
// peer:<member>, bucket:<ULID>, or bucket. Such a select reads every block twice.
func WithSources(ctx context.Context) context.Context {
	return context.WithValue(ctx, sourcesKey{}, true)
}

func wantsSources(ctx context.Context) bool { return ctx.Value(sourcesKey{}) != nil }

// BlockLister tells the blocks of Local and of Blocks apart. Both have it, and do not just may: whatever stands before one of them would
// hide what it need not have.
type BlockLister interface {
	// BlockSets returns for each block, by its ULID, a sorted set of what the block has in the time of the hints. The sets
	// are valid until release, which is not nil, is called. It returns none when blocks do not answer for themselves.
	BlockSets(ctx context.Context, tenant string, hints *storage.SelectHints, matchers ...*labels.Matcher) (
		sets map[string]storage.ChunkSeriesSet, release func() error, err error)
}

// named gives the series of a set the name of their holder, if that is asked for.
func (sel *selection) named(name string, set storage.ChunkSeriesSet) storage.ChunkSeriesSet {
	if !sel.sources {
		return set
	}
	return namedSet{set, name}
}

// addBlocks has the blocks of a holder merged with everything else: the same samples once more, by the names of the blocks.
func (sel *selection) addBlocks(ctx context.Context, holder BlockLister, prefix string, part span) error {
	if !sel.sources {
		return nil
	}
	sets, release, err := holder.BlockSets(ctx, sel.tenant, sel.hintsFor(part), slices.Clone(sel.matchers)...)
	if err != nil {
		return err
	}
	sel.s.onClose(release)
	for _, id := range slices.Sorted(maps.Keys(sets)) {
		sel.blocks = append(sel.blocks, namedSet{sets[id], prefix + id})
	}
	return nil
}

type namedSet struct {
	storage.ChunkSeriesSet
	name string
}

// beside is besideSet for a set that may have a name, which it keeps.
func beside(set storage.ChunkSeriesSet, alone []span) storage.ChunkSeriesSet {
	if n, ok := set.(namedSet); ok {
		return namedSet{besideSet{n.ChunkSeriesSet, alone}, n.name}
	}
	return besideSet{set, alone}
}

// At implements storage.ChunkSeriesSet.
func (s namedSet) At() storage.ChunkSeries { return namedSeries{s.ChunkSeriesSet.At(), s.name} }

type namedSeries struct {
	storage.ChunkSeries
	name string
}

// Sources returns what names the sources of the sample at a time that never goes back.
func (s *sampleSeries) Sources() func(t int64) []string {
	var all []*sourceCursor
	env := &mergeEnv{trim: span{minTime, maxTime}, conflicts: prometheus.NewCounter(prometheus.CounterOpts{Name: "unused"})}
	for _, c := range s.copies {
		if named, ok := c.(namedSeries); ok {
			one := &series{lset: s.lset, copies: []storage.ChunkSeries{named}, env: env}
			all = append(all, &sourceCursor{name: named.name, it: one.samples(nil)})
		}
	}
	return func(t int64) []string {
		var names []string
		for _, c := range all {
			if c.has(t) {
				names = append(names, c.name)
			}
		}
		return withoutHolders(names)
	}
}

// sourceCursor walks the samples of one source.
type sourceCursor struct {
	name string
	it   chunkenc.Iterator
	done bool
}

func (c *sourceCursor) has(t int64) bool {
	if c.done {
		return false
	}
	c.done = c.it.Seek(t) == chunkenc.ValNone
	return !c.done && c.it.AtT() == t
}

// withoutHolders leaves out a holder of which a block is named.
func withoutHolders(names []string) []string {
	has := func(prefix string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, prefix) })
	}
	local, bucket := has(sourceBlock), has(sourceBucketBlock)
	return slices.DeleteFunc(names, func(n string) bool { return n == sourceHead && local || n == sourceBucket && bucket })
}
