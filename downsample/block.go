// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/index"
)

// tempSuffix ends the name of a directory that is not a whole block. Whoever owns the parent removes it after a crash.
const tempSuffix = ".tmp"

// result is what a downsampled block has.
type result struct {
	tsdb.BlockStats
	empty    uint64 // Series of which nothing was left.
	samples  uint64 // Read, of all series.
	maxChunk int    // Bytes of the largest chunk on disk.
}

// block downsamples the block in src to a block named id in dst. Nothing of that name is there until all of it is on disk.
func block(ctx context.Context, logger *slog.Logger, src, dst string, id ulid.ULID, resolution int64) (r result, err error) {
	m, err := readMeta(src)
	if err != nil {
		return result{}, err
	}
	from, err := m.resolution()
	if err != nil {
		return result{}, err
	}
	if from >= resolution || resolution%max(1, from) != 0 {
		return result{}, fmt.Errorf("a block of resolution %d ms cannot become one of %d ms", from, resolution)
	}
	in, err := tsdb.OpenBlock(logger, src, NewPool(), nil)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()

	temp := filepath.Join(dst, id.String()+tempSuffix)
	if err := os.RemoveAll(temp); err != nil {
		return result{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if r, err = writeFiles(ctx, in, temp, from, resolution); err != nil {
		return result{}, err
	}
	if r.NumSeries == 0 {
		return r, os.RemoveAll(temp)
	}
	m.ULID, m.Stats = id, r.BlockStats
	segments, err := segmentNames(temp)
	if err != nil {
		return result{}, err
	}
	if err := errors.Join(m.downsampled(resolution, segments, r.maxChunk), m.write(temp)); err != nil {
		return result{}, err
	}
	// This syncs the parent as well; the files were synced when they were closed.
	return r, fileutil.Rename(temp, filepath.Join(dst, id.String()))
}

func segmentNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, chunksName))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// writeFiles writes index and chunks.
func writeFiles(ctx context.Context, in *tsdb.Block, dir string, from, resolution int64) (r result, err error) {
	cw, err := chunks.NewWriter(filepath.Join(dir, chunksName))
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, cw.Close()) }()
	iw, err := index.NewWriter(ctx, filepath.Join(dir, indexName))
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, iw.Close()) }()
	ir, err := in.Index()
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, ir.Close()) }()
	cr, err := in.Chunks()
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, cr.Close()) }()
	return copySeries(ctx, ir, cr, iw, cw, from, resolution)
}

// copySeries goes through all series in order, one at a time.
func copySeries(
	ctx context.Context, ir tsdb.IndexReader, cr tsdb.ChunkReader, iw tsdb.IndexWriter, cw tsdb.ChunkWriter, from, resolution int64,
) (r result, err error) {
	symbols := ir.Symbols()
	for symbols.Next() {
		if err := iw.AddSymbol(symbols.At()); err != nil {
			return r, err
		}
	}
	if err := symbols.Err(); err != nil {
		return r, err
	}
	name, value := index.AllPostingsKey()
	all, err := ir.Postings(ctx, name, value)
	if err != nil {
		return r, err
	}
	w := newWriter(resolution)
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	for all = ir.SortedPostings(all); all.Next(); {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		if err := ir.Series(all.At(), &builder, &metas); err != nil {
			return r, fmt.Errorf("series %d: %w", all.At(), err)
		}
		lset := builder.Labels()
		if err := readChunks(cr, metas, &r); err != nil {
			return r, fmt.Errorf("series %s: %w", lset, err)
		}
		down := w.raw
		if from != Raw {
			down = func(c []chunks.Meta) ([]chunks.Meta, error) { return w.coarser(c, from) }
		}
		out, err := down(metas)
		if err != nil {
			return r, fmt.Errorf("series %s: %w", lset, err)
		}
		if len(out) == 0 {
			r.empty++
			continue
		}
		if err := errors.Join(cw.WriteChunks(out...), iw.AddSeries(storage.SeriesRef(r.NumSeries), lset, out...)); err != nil {
			return r, fmt.Errorf("write series %s: %w", lset, err)
		}
		r.add(out)
	}
	return r, all.Err()
}

// readChunks fills in the chunks of a series. They are over mapped memory.
func readChunks(cr tsdb.ChunkReader, metas []chunks.Meta, r *result) error {
	for i := range metas {
		c, iterable, err := cr.ChunkOrIterable(metas[i])
		if err != nil {
			return err
		}
		if iterable != nil {
			return fmt.Errorf("chunk %d has no bytes", metas[i].Ref) // Only a head has such.
		}
		metas[i].Chunk = c
		r.samples += uint64(c.NumSamples())
	}
	return nil
}

func (r *result) add(out []chunks.Meta) {
	r.NumSeries++
	r.NumChunks += uint64(len(out))
	for _, c := range out {
		r.NumSamples += uint64(c.Chunk.NumSamples())
		size := len(c.Chunk.Bytes())
		// Length, encoding, bytes, checksum.
		size += len(binary.AppendUvarint(nil, uint64(size))) + 1 + 4
		r.maxChunk = max(r.maxChunk, size)
	}
}
