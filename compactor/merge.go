// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/penstock-io/penstock/downsample"
)

const (
	// segmentMin is the least size of a file of chunks. TSDB takes the whole size from the disk when it begins a file, so that
	// small blocks get small files.
	segmentMin = 16 << 20
	dirMode    = 0o750
)

// merger makes one local block of several. Safe for concurrent use.
type merger struct {
	mergeRaw storage.VerticalChunkSeriesMergeFunc
	pool     chunkenc.Pool
	logger   *slog.Logger
	metrics  *tsdb.CompactorMetrics
}

func newMerger(mergeRaw storage.VerticalChunkSeriesMergeFunc, logger *slog.Logger) *merger {
	return &merger{mergeRaw: mergeRaw, pool: downsample.NewPool(), logger: logger, metrics: tsdb.NewCompactorMetrics(nil)}
}

// input is a local copy of a block that goes into a merge.
type input struct {
	dir   string
	meta  tsdb.BlockMeta
	bytes int64
}

// output is a block that a merge has made.
type output struct {
	id     ulid.ULID
	dir    string
	census census
}

// merge makes a block below dest of inputs in order of time, reads it back and compares it with them. It is false when there
// is not one sample in the inputs. When an input cannot be read the error is a *brokenInput.
func (m *merger) merge(ctx context.Context, dest string, resolution int64, inputs []input) (output, bool, error) {
	id, err := m.write(ctx, dest, resolution, inputs)
	if err != nil {
		return output{}, false, m.blame(ctx, inputs, err)
	}
	if id == (ulid.ULID{}) {
		return output{}, false, m.reallyEmpty(ctx, inputs)
	}
	out := output{id: id, dir: filepath.Join(dest, id.String())}
	if out.census, err = checkBlock(ctx, out.dir, m.pool, false, m.logger); err != nil {
		return output{}, false, m.blame(ctx, inputs, fmt.Errorf("check what was made: %w", err))
	}
	if err := compare(inputs, out); err != nil {
		return output{}, false, m.blame(ctx, inputs, err)
	}
	return out, true, nil
}

// write runs TSDB's compactor, which streams: of each input it holds one series at a time.
func (m *merger) write(ctx context.Context, dest string, resolution int64, inputs []input) (ulid.ULID, error) {
	if err := os.MkdirAll(dest, dirMode); err != nil {
		return ulid.ULID{}, err
	}
	var bytes int64
	dirs := make([]string, len(inputs))
	for i, in := range inputs {
		dirs[i] = in.dir
		bytes += in.bytes
	}
	mergeFunc := m.mergeRaw
	if resolution > 0 {
		mergeFunc = concatenate
	}
	c, err := tsdb.NewLeveledCompactorWithOptions(ctx, nil, m.logger, []int64{1}, m.pool, tsdb.LeveledCompactorOptions{
		MergeFunc:                   mergeFunc,
		Metrics:                     m.metrics,
		EnableOverlappingCompaction: true,
		MaxBlockChunkSegmentSize:    min(max(bytes, segmentMin), chunks.DefaultChunkSegmentSize),
	})
	if err != nil {
		return ulid.ULID{}, err
	}
	ids, err := c.Compact(dest, dirs, nil)
	if err != nil {
		return ulid.ULID{}, err
	}
	switch len(ids) {
	case 0:
		return ulid.ULID{}, nil
	case 1:
		return ids[0], nil
	default:
		return ulid.ULID{}, fmt.Errorf("one block was to be made, and there are %d", len(ids))
	}
}

// compare makes sure that nothing was lost or invented: copies become one, and what is no copy stays. How many of
// the samples are copies nobody knows beforehand where inputs overlap; where they do not, none is.
func compare(inputs []input, out output) error {
	var least, sum uint64
	overlap := false
	end := int64(math.MinInt64)
	for _, in := range inputs {
		least = max(least, in.meta.Stats.NumSamples)
		sum += in.meta.Stats.NumSamples
		overlap = overlap || in.meta.MinTime < end
		end = max(end, in.meta.MaxTime)
	}
	if !overlap {
		least = sum
	}
	if n := out.census.samples; n < least || n > sum {
		return fmt.Errorf("%d samples were made of blocks that have between %d and %d together", n, least, sum)
	}
	return nil
}

// brokenInput says which input cannot be read, and why.
type brokenInput struct {
	index int
	*brokenError
}

// blame finds the input that is the cause of err: each is read in full. Without one the error is what it was.
func (m *merger) blame(ctx context.Context, inputs []input, cause error) error {
	for i, in := range inputs {
		if ctx.Err() != nil {
			return cause
		}
		c, err := checkBlock(ctx, in.dir, m.pool, true, m.logger)
		var broken *brokenError
		if err == nil {
			err = wrongCount(in, c)
		}
		if errors.As(err, &broken) {
			return &brokenInput{i, broken}
		}
	}
	return cause
}

// reallyEmpty makes sure that inputs of which nothing came have nothing.
func (m *merger) reallyEmpty(ctx context.Context, inputs []input) error {
	for _, in := range inputs {
		if in.meta.Stats.NumSamples > 0 {
			return m.blame(ctx, inputs, errors.New("nothing was made of blocks that have samples"))
		}
	}
	return nil
}
