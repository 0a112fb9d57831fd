// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

type sample = buckettest.Sample

// fixture is a bucket that may fail, with a clock.
type fixture struct {
	t      testing.TB
	store  *bucket.Memory
	faulty *buckettest.Faulty
	blocks *bucket.Blocks
	now    time.Time
	regs   []*prometheus.Registry
}

// newFixture is at hour 0 of the blocks that it makes plus a while.
func newFixture(t testing.TB) *fixture {
	// Not the past: a bucket in memory stamps its objects with the time that it really is.
	start := time.Now().Truncate(48 * time.Hour).Add(14 * 24 * time.Hour)
	start = time.UnixMilli(alignDown(start.UnixMilli(), 336*hour))
	f := &fixture{t: t, store: bucket.NewMemory(), now: start}
	f.faulty = buckettest.NewFaulty(f.store)
	f.blocks = bucket.NewBlocks(f.store, func() time.Time { return f.now })
	return f
}

// origin is the beginning of the ranges in which blocks are made.
func (f *fixture) origin() int64 { return alignDown(f.now.UnixMilli(), 336*hour) }

// compactor is one member's.
func (f *fixture) compactor(change func(*Config)) *Compactor {
	f.t.Helper()
	now := func() time.Time { return f.now }
	blocks := bucket.NewBlocks(f.faulty, now)
	cfg := Config{
		Blocks: blocks, Index: bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Now: now, Reuse: 1}, nil),
		Dir: filepath.Join(f.t.TempDir(), "compact"), Member: "m", Now: now, Attempts: 1, RetryBackoff: 1,
		MergeChunks: querier.NewChunkMerger(prometheus.NewCounter(prometheus.CounterOpts{Name: "conflicts"})),
	}
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	f.regs = append(f.regs, reg)
	c, err := New(cfg, nil, reg)
	require.NoError(f.t, err)
	return c
}

// metric adds up the values of a metric over all compactors.
func (f *fixture) metric(name string) (sum float64) {
	f.t.Helper()
	for _, reg := range f.regs {
		families, err := reg.Gather()
		require.NoError(f.t, err)
		for _, family := range families {
			if family.GetName() != name {
				continue
			}
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// content is series by their labels as text.
type content map[string][]sample

// write makes a local block.
func (f *fixture) write(c content) (dir string) {
	f.t.Helper()
	var all []storage.Series
	for text, samples := range c {
		var list []chunks.Sample
		for _, s := range samples {
			list = append(list, s)
		}
		all = append(all, storage.NewListSeries(labels.FromStrings("__name__", "m", "i", text), list))
	}
	dir, _ = buckettest.WriteBlock(f.t, f.t.TempDir(), 0, all...)
	return dir
}

// add uploads a block.
func (f *fixture) add(external map[string]string, c content) ulid.ULID {
	f.t.Helper()
	dir := f.write(c)
	require.NoError(f.t, f.blocks.PutBlock(f.t.Context(), dir, external, bucket.SourceReceive))
	return ulid.MustParse(filepath.Base(dir))
}

func member(name string) map[string]string {
	return map[string]string{bucket.LabelTenant: "t", bucket.LabelReceiveReplica: name}
}

// minutely has n samples a minute apart from the given hour on, of the values from first up.
func (f *fixture) minutely(fromHour, n int64, first float64) []sample {
	var s []sample
	for i := range n {
		s = append(s, buckettest.Float(f.origin()+fromHour*hour+i*hour/60, first+float64(i)))
	}
	return s
}

// listing is what is in the bucket now.
func (f *fixture) listing() bucket.Listing {
	f.t.Helper()
	l, err := bucket.NewBlocks(f.store, func() time.Time { return f.now }).Metas(f.t.Context())
	require.NoError(f.t, err)
	return l
}

// live are the blocks that are there to stay.
func (f *fixture) live() []bucket.Listed {
	l := f.listing()
	covered := bucket.Covered(l.Blocks)
	return slices.DeleteFunc(l.Blocks, func(b bucket.Listed) bool {
		_, ok := covered[b.Meta.ULID]
		return ok || b.Marks.Deletion != nil
	})
}

// read returns what the blocks hold together. A sample that is held twice is in it twice.
func (f *fixture) read(blocks []bucket.Listed) content {
	f.t.Helper()
	found := content{}
	for _, b := range blocks {
		dir := filepath.Join(f.t.TempDir(), b.Meta.ULID.String())
		_, err := f.blocks.Download(f.t.Context(), b.Meta.ULID, dir)
		require.NoError(f.t, err)
		opened, err := tsdb.OpenBlock(nil, dir, downsample.NewPool(), nil)
		require.NoError(f.t, err)
		q, err := tsdb.NewBlockQuerier(opened, math.MinInt64, math.MaxInt64)
		require.NoError(f.t, err)
		set := q.Select(f.t.Context(), true, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "m"))
		for set.Next() {
			it := set.At().Iterator(nil)
			name := set.At().Labels().Get("i")
			for it.Next() != chunkenc.ValNone {
				ts, v := it.At()
				found[name] = append(found[name], buckettest.Float(ts, v))
			}
			require.NoError(f.t, it.Err())
		}
		require.NoError(f.t, set.Err())
		require.NoError(f.t, q.Close())
		require.NoError(f.t, opened.Close())
	}
	for _, s := range found {
		slices.SortFunc(s, func(a, b sample) int { return int(a.Time - b.Time) })
	}
	return found
}

// shape says what is in the bucket without the names of blocks: time, labels and samples of each, and marks.
func (f *fixture) shape() string {
	f.t.Helper()
	var lines []string
	l := f.listing()
	for _, b := range l.Blocks {
		lines = append(lines, fmt.Sprintf("%d-%d %v sources=%d marked=%t quarantined=%t %d", b.Meta.MinTime, b.Meta.MaxTime, b.Meta.Thanos.Labels,
			len(b.Meta.Compaction.Sources), b.Marks.Deletion != nil, b.Marks.NoCompact != nil, b.Meta.Stats.NumSamples))
	}
	slices.Sort(lines)
	for _, p := range l.Problems {
		lines = append(lines, "problem "+p.Error())
	}
	for _, p := range l.Partial {
		lines = append(lines, fmt.Sprintf("partial %d", p.Objects))
	}
	return strings.Join(lines, "\n")
}

// change replaces an object by what edit makes of it.
func (f *fixture) change(key string, edit func([]byte) []byte) {
	f.t.Helper()
	r, err := f.store.Get(f.t.Context(), key)
	require.NoError(f.t, err)
	old, err := io.ReadAll(r)
	require.NoError(f.t, err)
	changed := edit(bytes.Clone(old))
	require.NoError(f.t, f.store.Put(f.t.Context(), key, bytes.NewReader(changed), int64(len(changed))))
}

func requireEmptyDir(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
