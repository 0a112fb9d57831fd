// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
	"github.com/prometheus/prometheus/tsdb/tombstones"
)

// segmentBytes is what a file of chunks takes from the disk when it is opened, and gives back
// when it is shorter. The TSDB's own 512 MiB would be much for a node short of space.
const segmentBytes = 64 << 20

// blockWriter writes a block from series that come in order, with their chunks as they
// are. Chunks go to disk at once; labels and places of chunks stay in memory until
// finish, because the index begins with its symbols. meta.json is written last, so what
// a crash leaves is no block.
type blockWriter struct {
	dir    string
	meta   tsdb.BlockMeta
	chunks *chunks.Writer
	series []writtenSeries
	digest digester
	bytes  int64
}

type writtenSeries struct {
	lset   labels.Labels
	chunks []chunks.Meta
}

// newBlockWriter makes the block's directory in scratch.
func newBlockWriter(scratch string, now time.Time) (*blockWriter, error) {
	id, err := ulid.New(ulid.Timestamp(now), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make block id: %w", err)
	}
	w := &blockWriter{dir: filepath.Join(scratch, id.String())}
	w.meta = tsdb.BlockMeta{
		ULID: id, Version: 1, MinTime: math.MaxInt64, MaxTime: math.MinInt64,
		Compaction: tsdb.BlockMetaCompaction{Level: 1, Sources: []ulid.ULID{id}},
	}
	// Without it the TSDB would throw away its write log up to the end of this block.
	w.meta.Compaction.SetOutOfOrder()
	if err := os.MkdirAll(w.dir, 0o777); err != nil {
		return nil, fmt.Errorf("make block directory: %w", err)
	}
	if w.chunks, err = chunks.NewWriter(filepath.Join(w.dir, "chunks"), chunks.WithSegmentSize(segmentBytes)); err != nil {
		return nil, errors.Join(fmt.Errorf("write chunks: %w", err), os.RemoveAll(w.dir))
	}
	return w, nil
}

// add writes the chunks of a series, which must lie in [mint, maxt). A series without
// samples is left out. It returns how many bytes of chunks it wrote.
func (w *blockWriter) add(lset labels.Labels, it chunks.Iterator, mint, maxt int64) (int64, error) {
	s := writtenSeries{lset: lset}
	last := int64(math.MinInt64)
	before := w.bytes
	for it.Next() {
		c := it.At()
		if c.Chunk.NumSamples() == 0 {
			continue
		}
		if len(s.chunks) == 0 {
			w.digest.begin(lset)
		}
		e, err := w.digest.chunk(c.Chunk)
		if err != nil {
			return 0, fmt.Errorf("series %s: %w", lset, err)
		}
		if e.mint <= last || e.mint < mint || e.maxt >= maxt {
			return 0, fmt.Errorf("series %s: chunk from %d to %d is out of place in %d to %d after %d", lset, e.mint, e.maxt, mint, maxt, last)
		}
		last = e.maxt
		c.MinTime, c.MaxTime = e.mint, e.maxt
		w.bytes += int64(len(c.Chunk.Bytes()))
		one := []chunks.Meta{c}
		if err := w.chunks.WriteChunks(one...); err != nil {
			return 0, fmt.Errorf("write chunks: %w", err)
		}
		one[0].Chunk = nil // On disk now.
		s.chunks = append(s.chunks, one[0])
		w.count(e)
	}
	if err := it.Err(); err != nil {
		return 0, fmt.Errorf("series %s: %w", lset, err)
	}
	if len(s.chunks) > 0 {
		w.series = append(w.series, s)
	}
	return w.bytes - before, nil
}

func (w *blockWriter) count(e extent) {
	w.meta.MinTime = min(w.meta.MinTime, e.mint)
	w.meta.MaxTime = max(w.meta.MaxTime, e.maxt+1)
	stats := &w.meta.Stats
	stats.NumChunks++
	stats.NumSamples += e.samples
	stats.NumHistogramSamples += e.histograms
	stats.NumFloatSamples += e.samples - e.histograms
}

// finish makes a block of what was added. All of it is synced.
func (w *blockWriter) finish(ctx context.Context, logger *slog.Logger) error {
	err := w.chunks.Close()
	w.chunks = nil
	if err != nil {
		return fmt.Errorf("write chunks: %w", err)
	}
	if err := w.writeIndex(ctx); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	if _, err := tombstones.WriteFile(logger, w.dir, tombstones.NewMemTombstones()); err != nil {
		return fmt.Errorf("write tombstones: %w", err)
	}
	w.meta.Stats.NumSeries = uint64(len(w.series))
	raw, err := json.MarshalIndent(w.meta, "", "\t")
	if err != nil {
		return fmt.Errorf("encode meta: %w", err)
	}
	if err := replaceFile(filepath.Join(w.dir, "meta.json"), raw); err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}

func (w *blockWriter) writeIndex(ctx context.Context) (err error) {
	iw, err := index.NewWriter(ctx, filepath.Join(w.dir, "index"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, iw.Close()) }()
	symbols := map[string]struct{}{"": {}}
	for _, s := range w.series {
		s.lset.Range(func(l labels.Label) {
			symbols[l.Name] = struct{}{}
			symbols[l.Value] = struct{}{}
		})
	}
	for _, symbol := range slices.Sorted(maps.Keys(symbols)) {
		if err := iw.AddSymbol(symbol); err != nil {
			return err
		}
	}
	for i, s := range w.series {
		if err := iw.AddSeries(storage.SeriesRef(i), s.lset, s.chunks...); err != nil {
			return err
		}
	}
	return nil
}

// discard deletes what was written, unless it was taken away.
func (w *blockWriter) discard() error {
	var err error
	if w.chunks != nil {
		err = w.chunks.Close()
		w.chunks = nil
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}
