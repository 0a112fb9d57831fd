// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockgen

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/penstock-io/penstock/uploader/blockdir"
)

// samplesPerChunk is TSDB's.
const samplesPerChunk = 120

// Write makes the block of a span below parent. It holds one series at a time. Progress is told of samples, and may be nil.
func (c Config) Write(ctx context.Context, parent string, s Span, progress func(samples int64)) (_ string, _ tsdb.BlockMeta, err error) {
	meta := c.Meta(s)
	dir := filepath.Join(parent, meta.ULID.String())
	w, err := blockdir.NewWriter(ctx, dir, c.symbols())
	if err != nil {
		return "", meta, err
	}
	fail := func(err error) (string, tsdb.BlockMeta, error) { return "", meta, errors.Join(err, w.Abort()) }
	var metas []chunks.Meta
	for kind := range 2 { // Counters come before gauges in the order of labels.
		for i := kind; i < c.Series; i += 2 {
			if err := ctx.Err(); err != nil {
				return fail(err)
			}
			n := int64(0)
			if metas, n, err = c.chunks(metas[:0], i, s); err != nil {
				return fail(err)
			}
			if err := w.Add(c.Labels(i), metas); err != nil {
				return fail(err)
			}
			if progress != nil {
				progress(n)
			}
		}
	}
	meta, err = w.Commit(meta)
	return dir, meta, err
}

// chunks appends the chunks of one series and returns how many samples are in them.
func (c Config) chunks(metas []chunks.Meta, i int, s Span) ([]chunks.Meta, int64, error) {
	var app chunkenc.Appender
	n := int64(0)
	for t := c.first(s); t < s.Until; t += c.Interval {
		if n%samplesPerChunk == 0 {
			chunk := chunkenc.NewXORChunk()
			var err error
			if app, err = chunk.Appender(); err != nil {
				return nil, 0, err
			}
			metas = append(metas, chunks.Meta{Chunk: chunk, MinTime: t})
		}
		app.Append(0, t, c.Value(i, t))
		metas[len(metas)-1].MaxTime = t
		n++
	}
	return metas, n, nil
}

func (c Config) symbols() []string {
	symbols := map[string]struct{}{}
	for i := range c.Series {
		c.Labels(i).Range(func(l labels.Label) {
			symbols[l.Name] = struct{}{}
			symbols[l.Value] = struct{}{}
		})
	}
	return slices.Sorted(maps.Keys(symbols))
}
