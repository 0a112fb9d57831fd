// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// Series is one series of a block. It is valid until the function that it was given to returns.
type Series struct {
	Labels labels.Labels
	// Chunks reads its chunks, in order. What they hold is mapped from the file, and may not be changed.
	Chunks func() ([]chunks.Meta, error)
}

// EachSeries calls fn for the series of a block of raw samples, in the order of their labels.
func EachSeries(ctx context.Context, dir string, fn func(Series) error) (err error) {
	ir, err := index.NewFileReader(filepath.Join(dir, indexFile), index.DecodePostingsRaw)
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	defer func() { err = errors.Join(err, ir.Close()) }()
	cr, err := chunks.NewDirReader(filepath.Join(dir, chunksDir), chunkenc.NewPool())
	if err != nil {
		return fmt.Errorf("read chunks: %w", err)
	}
	defer func() { err = errors.Join(err, cr.Close()) }()
	name, value := index.AllPostingsKey()
	all, err := ir.Postings(ctx, name, value)
	if err != nil {
		return fmt.Errorf("read postings: %w", err)
	}
	var builder labels.ScratchBuilder
	var metas []chunks.Meta
	for all.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := ir.Series(all.At(), &builder, &metas); err != nil {
			return fmt.Errorf("read series %d: %w", all.At(), err)
		}
		s := Series{Labels: builder.Labels(), Chunks: func() ([]chunks.Meta, error) { return load(cr, metas) }}
		if err := fn(s); err != nil {
			return err
		}
	}
	return all.Err()
}

func load(cr *chunks.Reader, metas []chunks.Meta) ([]chunks.Meta, error) {
	for i := range metas {
		c, _, err := cr.ChunkOrIterable(metas[i])
		if err != nil {
			return nil, fmt.Errorf("read chunk: %w", err)
		}
		metas[i].Chunk = c
	}
	return metas, nil
}
