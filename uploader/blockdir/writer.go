// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/fileutil"
	"github.com/prometheus/prometheus/tsdb/index"
)

const (
	// tmpSuffix marks a directory that is not a block yet. It is TSDB's own, which removes such directories when it opens.
	tmpSuffix = ".tmp-for-creation"
	// segmentBytes is what a file of chunks takes from the disk while it is written. TSDB's own 512 MiB is much for a
	// scratch directory; readers take any size.
	segmentBytes = 128 << 20

	metaFile  = "meta.json"
	indexFile = "index"
	chunksDir = "chunks"
)

// Writer writes one block, series by series. Chunks and index entries go to disk as they come; in memory are the symbols and
// what the index writer keeps of postings. It is for one goroutine.
type Writer struct {
	dir, tmp string
	chunks   *chunks.Writer
	index    *index.Writer
	ref      storage.SeriesRef
	stats    tsdb.BlockStats
}

// NewWriter begins a block that will be dir, whose base must be the block's ULID. The symbols are all names and values of
// labels that will be added, in order and each once: an index begins with them.
func NewWriter(ctx context.Context, dir string, symbols []string) (_ *Writer, err error) {
	w := &Writer{dir: dir, tmp: dir + tmpSuffix}
	if err := os.RemoveAll(w.tmp); err != nil {
		return nil, fmt.Errorf("write block: %w", err)
	}
	if err := os.MkdirAll(w.tmp, 0o777); err != nil {
		return nil, fmt.Errorf("write block: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write block: %w", err), w.Abort())
		}
	}()
	if w.chunks, err = chunks.NewWriter(filepath.Join(w.tmp, chunksDir), chunks.WithSegmentSize(segmentBytes)); err != nil {
		return nil, err
	}
	if w.index, err = index.NewWriter(ctx, filepath.Join(w.tmp, indexFile)); err != nil {
		return nil, err
	}
	for _, s := range symbols {
		if err := w.index.AddSymbol(s); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Add writes a series. Series come in the order of their labels, chunks in the order of time, with their content and their
// first and last time. The references in metas are overwritten. Nothing of it is kept.
func (w *Writer) Add(lset labels.Labels, metas []chunks.Meta) error {
	if err := w.chunks.WriteChunks(metas...); err != nil {
		return fmt.Errorf("write chunks of %s: %w", lset, err)
	}
	if err := w.index.AddSeries(w.ref, lset, metas...); err != nil {
		return fmt.Errorf("write index of %s: %w", lset, err)
	}
	w.ref++
	w.stats.NumSeries++
	w.stats.NumChunks += uint64(len(metas))
	for _, m := range metas {
		n := uint64(m.Chunk.NumSamples())
		w.stats.NumSamples += n
		switch m.Chunk.Encoding() {
		case chunkenc.EncHistogram, chunkenc.EncFloatHistogram, chunkenc.EncHistogramST, chunkenc.EncFloatHistogramST:
			w.stats.NumHistogramSamples += n
		default:
			w.stats.NumFloatSamples += n
		}
	}
	return nil
}

// Commit makes the block: it fills the stats into meta, writes meta.json and renames the directory into place. All of it is on
// disk then. A block of that name that is already there is replaced.
func (w *Writer) Commit(meta tsdb.BlockMeta) (_ tsdb.BlockMeta, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write block: %w", err), w.Abort())
		}
	}()
	meta.Version, meta.Stats = 1, w.stats
	if err := w.closeFiles(); err != nil {
		return meta, err
	}
	raw, err := json.MarshalIndent(meta, "", "\t")
	if err != nil {
		return meta, err
	}
	if err := writeSynced(filepath.Join(w.tmp, metaFile), raw); err != nil {
		return meta, err
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return meta, err
	}
	return meta, fileutil.Replace(w.tmp, w.dir)
}

// Abort removes what was written. It does nothing after a Commit that succeeded.
func (w *Writer) Abort() error {
	return errors.Join(w.closeFiles(), os.RemoveAll(w.tmp))
}

func (w *Writer) closeFiles() error {
	var errs []error
	if w.chunks != nil {
		errs = append(errs, w.chunks.Close())
		w.chunks = nil
	}
	if w.index != nil {
		errs = append(errs, w.index.Close())
		w.index = nil
	}
	return errors.Join(errs...)
}

func writeSynced(name string, content []byte) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}
