// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log" //nolint:depguard // Thanos takes no other logger.
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/thanos-io/objstore"
	"github.com/thanos-io/objstore/providers/filesystem"
	"github.com/thanos-io/thanos/pkg/block"
	"github.com/thanos-io/thanos/pkg/block/indexheader"
	"github.com/thanos-io/thanos/pkg/block/metadata"
	"github.com/thanos-io/thanos/pkg/compact"
	"github.com/thanos-io/thanos/pkg/compact/downsample"
)

const (
	// deletionDelay is that of Thanos' compactor.
	deletionDelay = 48 * time.Hour
	fetchersMax   = 8
	// maxIndexBytes is that of Thanos' compactor.
	maxIndexBytes = 64 << 30
)

// levels are the ranges of Thanos' compactor.
func levels(more ...time.Duration) (ms []int64) {
	for _, d := range append([]time.Duration{2 * time.Hour, 8 * time.Hour, 2 * day, 14 * day}, more...) {
		ms = append(ms, d.Milliseconds())
	}
	return ms
}

// thanosBucket is a bucket in a directory as Thanos sees it.
type thanosBucket struct {
	t   *testing.T
	bkt objstore.InstrumentedBucket
}

func openThanos(t *testing.T, dir string) *thanosBucket {
	t.Helper()
	bkt, err := filesystem.NewBucket(dir)
	noError(t, err)
	return &thanosBucket{t, objstore.WithNoopInstr(bkt)}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fetcher finds the blocks that Thanos uses a day after the last compaction: those that are not marked and whose samples no other
// one has. Until then its store reads the copies as well, because their labels are not those of what was made of them.
func (b *thanosBucket) fetcher(filters ...block.MetadataFilter) *block.MetaFetcher {
	b.t.Helper()
	filters = append([]block.MetadataFilter{block.NewIgnoreDeletionMarkFilter(nopLogger, b.bkt, 0, fetchersMax)}, filters...)
	f, err := block.NewMetaFetcher(nopLogger, fetchersMax, b.bkt, block.NewConcurrentLister(nopLogger, b.bkt), "", nil, filters)
	noError(b.t, err)
	return f
}

// blocks returns the blocks that Thanos uses.
func (b *thanosBucket) blocks() map[ulid.ULID]*metadata.Meta {
	b.t.Helper()
	metas, partial, err := b.fetcher(block.NewDeduplicateFilter(fetchersMax)).Fetch(b.t.Context())
	noError(b.t, err)
	if len(partial) > 0 {
		b.t.Fatalf("Thanos finds partial blocks: %v", partial)
	}
	return metas
}

// describe says of what resolution and time the blocks are.
func (b *thanosBucket) describe() string {
	var lines []string
	for _, m := range b.blocks() {
		lines = append(lines, fmt.Sprintf("%s of %s: %s", m.Thanos.ResolutionString(), time.UnixMilli(m.MinTime).UTC().Format(time.DateTime),
			time.Duration(m.MaxTime-m.MinTime)*time.Millisecond))
	}
	return strings.Join(lines, "\n")
}

// verify has Thanos look for faults in each block, and load its index header as its store does.
func (b *thanosBucket) verify() (blocks map[ulid.ULID]*metadata.Meta) {
	b.t.Helper()
	blocks = b.blocks()
	if len(blocks) == 0 {
		b.t.Fatal("there are no blocks")
	}
	headers := b.t.TempDir()
	for id, meta := range blocks {
		dir := b.download(meta)
		stats, err := block.GatherIndexHealthStats(b.t.Context(), nopLogger, filepath.Join(dir, block.IndexFilename), meta.MinTime, meta.MaxTime)
		if err := errors.Join(err, stats.AnyErr()); err != nil {
			b.t.Fatalf("%s: %v", id, err)
		}
		if stats.TotalSeries != int64(meta.Stats.NumSeries) {
			b.t.Errorf("%s: Thanos finds %d series, and meta.json says %d", id, stats.TotalSeries, meta.Stats.NumSeries)
		}
		r, err := indexheader.NewBinaryReader(b.t.Context(), nopLogger, b.bkt, headers, id, 32, indexheader.NewBinaryReaderMetrics(nil))
		noError(b.t, err)
		names, err := r.LabelNames()
		noError(b.t, err)
		if strings.Join(names, " ") != "__name__ instance job" {
			b.t.Errorf("%s: the index header has the labels %q", id, names)
		}
		noError(b.t, r.Close())
	}
	return blocks
}

func (b *thanosBucket) download(meta *metadata.Meta) (dir string) {
	b.t.Helper()
	dir = filepath.Join(b.t.TempDir(), meta.ULID.String())
	noError(b.t, block.Download(b.t.Context(), nopLogger, b.bkt, meta.ULID, dir))
	return dir
}

// compact has Thanos' compactor do all that there is to do. With replica labels it merges copies, sample by sample.
func (b *thanosBucket) compact(ranges []int64, replicaLabels ...string) {
	b.t.Helper()
	ctx, counter := b.t.Context(), prometheus.NewCounter(prometheus.CounterOpts{Name: "not_looked_at"})
	marked := block.NewIgnoreDeletionMarkFilter(nopLogger, b.bkt, deletionDelay/2, fetchersMax)
	duplicates := block.NewDeduplicateFilter(fetchersMax)
	noCompact := compact.NewGatherNoCompactionMarkFilter(nopLogger, b.bkt, fetchersMax)
	fetcher, err := block.NewMetaFetcher(nopLogger, fetchersMax, b.bkt, block.NewConcurrentLister(nopLogger, b.bkt), "", nil, []block.MetadataFilter{
		marked, block.NewReplicaLabelRemover(nopLogger, replicaLabels), duplicates, noCompact,
	})
	noError(b.t, err)
	syncer, err := compact.NewMetaSyncer(nopLogger, nil, b.bkt, fetcher, duplicates, marked, counter, counter, 0)
	noError(b.t, err)
	vertical := len(replicaLabels) > 0
	grouper := compact.NewDefaultGrouper(nopLogger, b.bkt, false, vertical, nil, counter, counter, counter, metadata.NoneFunc, fetchersMax, fetchersMax)
	sizes := compact.WithLargeTotalIndexSizeFilter(compact.NewPlanner(nopLogger, ranges, noCompact), b.bkt, maxIndexBytes, counter)
	var planner compact.Planner = sizes
	if vertical {
		planner = compact.WithVerticalCompactionDownsampleFilter(sizes, b.bkt, counter)
	}
	merge := storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge)
	leveled, err := tsdb.NewLeveledCompactor(ctx, nil, slog.New(slog.DiscardHandler), ranges, downsample.NewPool(), merge)
	noError(b.t, err)
	cleaner := compact.NewBlocksCleaner(nopLogger, b.bkt, marked, deletionDelay, counter, counter)
	c, err := compact.NewBucketCompactor(nopLogger, syncer, grouper, planner, leveled, filepath.Join(b.t.TempDir(), "compact"), b.bkt, 2, false, cleaner)
	noError(b.t, err)
	noError(b.t, c.Compact(ctx)) // Also what makes Thanos halt is an error.
}

// downsample makes 5m and then 1h blocks of those that are long enough and have samples that are in none yet, by Thanos' rules.
func (b *thanosBucket) downsample() {
	b.t.Helper()
	for _, step := range []struct{ from, to, least int64 }{
		{downsample.ResLevel0, downsample.ResLevel1, downsample.ResLevel1DownsampleRange},
		{downsample.ResLevel1, downsample.ResLevel2, downsample.ResLevel2DownsampleRange},
	} {
		blocks, there := b.blocks(), map[ulid.ULID]bool{}
		for _, meta := range blocks {
			for _, source := range meta.Compaction.Sources {
				there[source] = there[source] || meta.Thanos.Downsample.Resolution == step.to
			}
		}
		for _, meta := range blocks {
			isNew := slices.ContainsFunc(meta.Compaction.Sources, func(id ulid.ULID) bool { return !there[id] })
			if isNew && meta.Thanos.Downsample.Resolution == step.from && meta.MaxTime-meta.MinTime >= step.least {
				b.downsampleBlock(meta, step.to)
			}
		}
	}
}

func (b *thanosBucket) downsampleBlock(meta *metadata.Meta, resolution int64) {
	b.t.Helper()
	pool := downsample.NewPool()
	if meta.Thanos.Downsample.Resolution == 0 {
		pool = chunkenc.NewPool()
	}
	opened, err := tsdb.OpenBlock(nil, b.download(meta), pool, nil)
	noError(b.t, err)
	defer opened.Close()
	dir := b.t.TempDir()
	id, err := downsample.Downsample(b.t.Context(), nopLogger, meta, opened, dir, resolution)
	noError(b.t, err)
	noError(b.t, block.Upload(b.t.Context(), nopLogger, b.bkt, filepath.Join(dir, id.String()), metadata.NoneFunc))
}

// upload uploads a local block as a sidecar does.
func (b *thanosBucket) upload(dir string, external map[string]string) {
	b.t.Helper()
	_, err := metadata.InjectThanos(nopLogger, dir, metadata.Thanos{Version: metadata.ThanosVersion1, Labels: external, Source: metadata.SidecarSource}, nil)
	noError(b.t, err)
	noError(b.t, block.Upload(b.t.Context(), nopLogger, b.bkt, dir, metadata.NoneFunc))
}

var nopLogger = log.NewNopLogger()
