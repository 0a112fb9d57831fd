// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// Options say what is checked, and against what.
type Options struct {
	Meta       tsdb.BlockMeta // What the block says of itself.
	Resolution int64          // ms; 0 for raw samples. Aggregates have another kind of chunk.
	IndexOnly  bool           // Only the index: chunks are not looked at, and need not be there.
	// Progress is called now and then with the series read so far. Nil is allowed.
	Progress func(series int)
}

// Report is what is in a block, as far as it can be read.
type Report struct {
	Series           uint64            `json:"series"`
	Chunks           uint64            `json:"chunks"`
	Samples          uint64            `json:"samples"` // Of aggregates the counts, not the samples that they stand for.
	HistogramSamples uint64            `json:"histogram_samples"`
	MinTime          int64             `json:"min_time"`            // Of the samples, ms. Both 0 when there are none.
	MaxTime          int64             `json:"max_time"`            // Inclusive.
	Encodings        map[string]uint64 `json:"encodings,omitempty"` // Chunks by encoding.
	Index            IndexStats        `json:"index"`
	Issues           []Issue           `json:"issues"`
}

// Has says whether there is an issue of one of the kinds.
func (r *Report) Has(kinds ...Kind) bool {
	for _, i := range r.Issues {
		for _, k := range kinds {
			if i.Kind == k {
				return true
			}
		}
	}
	return false
}

// progressEvery is after how many series Progress is called.
const progressEvery = 1000

// Check reads the block in dir. What is wrong with the block is in the report; an error is about this machine, or ctx. It
// needs memory for the label pairs of the block.
func Check(ctx context.Context, dir string, opts Options) (r Report, err error) {
	c := &checker{opts: opts, pairs: map[labels.Label]pairSum{}}
	c.report.MinTime, c.report.MaxTime = math.MaxInt64, math.MinInt64
	c.report.Encodings = map[string]uint64{}
	defer func() {
		// The readers trust tables whose checksum is right. Where one is not what it seems they may run out of a slice.
		if p := recover(); p != nil {
			c.issues.add(IndexUnreadable, "reading it fails: %v", p)
		}
		r = c.result()
	}()
	return r, c.run(ctx, dir)
}

// checker is the state of one check.
type checker struct {
	opts   Options
	report Report
	issues issues

	index  *index.Reader
	chunks *chunks.Reader
	pairs  map[labels.Label]pairSum
	chunk  chunkChecker

	builder labels.ScratchBuilder
	metas   []chunks.Meta
	last    labels.Labels
}

func (c *checker) result() Report {
	if c.report.Chunks == 0 {
		c.report.MinTime, c.report.MaxTime = 0, 0
	}
	c.report.Issues = c.issues
	return c.report
}

func (c *checker) run(ctx context.Context, dir string) (err error) {
	c.index, err = index.NewFileReader(filepath.Join(dir, indexFile), index.DecodePostingsRaw)
	switch {
	case isMachine(err):
		return fmt.Errorf("check block: %w", err)
	case err != nil:
		c.issues.add(IndexUnreadable, "%v", err)
		return nil
	}
	defer func() { err = errors.Join(err, c.index.Close()) }()
	if v := c.index.Version(); v != index.FormatV2 {
		c.issues.add(IndexUnreadable, "its format is version %d; only version %d is read everywhere", v, index.FormatV2)
	}
	if !c.opts.IndexOnly {
		c.chunks, err = chunks.NewDirReader(filepath.Join(dir, chunksDir), c.pool())
		switch {
		case isMachine(err):
			return fmt.Errorf("check block: %w", err)
		case err != nil:
			c.issues.add(FilesMissing, "chunks: %v", err)
			c.opts.IndexOnly = true
		default:
			defer func() { err = errors.Join(err, c.chunks.Close()) }()
		}
	}
	if err := c.allSeries(ctx); err != nil {
		return err
	}
	if err := c.allPostings(ctx); err != nil {
		return err
	}
	c.stats()
	return nil
}

// isMachine says that an error is about this machine and not about the block. A file that is not there is about the block.
func isMachine(err error) bool {
	var perr *os.PathError
	var serr *os.SyscallError
	return (errors.As(err, &perr) || errors.As(err, &serr)) && !errors.Is(err, os.ErrNotExist)
}

// allSeries reads every series and its chunks.
func (c *checker) allSeries(ctx context.Context) error {
	name, value := index.AllPostingsKey()
	all, err := c.index.Postings(ctx, name, value)
	if err != nil {
		c.issues.add(PostingsWrong, "the list of all series: %v", err)
		return ctx.Err()
	}
	listed, last := 0, storage.SeriesRef(0)
	for all.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if listed > 0 && all.At() <= last {
			c.issues.add(PostingsWrong, "the list of all series has %d after %d", all.At(), last)
			continue
		}
		listed, last = listed+1, all.At()
		c.series(last)
		if c.opts.Progress != nil && listed%progressEvery == 0 {
			c.opts.Progress(listed)
		}
	}
	if err := all.Err(); err != nil {
		c.issues.add(PostingsWrong, "the list of all series: %v", err)
	}
	return nil
}

func (c *checker) series(ref storage.SeriesRef) {
	if err := c.index.Series(ref, &c.builder, &c.metas); err != nil {
		c.issues.add(SeriesUnreadable, "series %d: %v", ref, err)
		return
	}
	lset := c.builder.Labels()
	if c.report.Series > 0 && labels.Compare(c.last, lset) >= 0 {
		c.issues.add(SeriesOrder, "%s comes after %s", lset, c.last)
	}
	c.last = lset
	c.report.Series++
	c.labels(ref, lset)
	end := int64(math.MinInt64)
	for i, m := range c.metas {
		c.report.Chunks++
		if m.MinTime > m.MaxTime {
			c.issues.add(ChunkOrder, "%s: a chunk from %d ends at %d", lset, m.MinTime, m.MaxTime)
		}
		if i > 0 && m.MinTime <= end {
			c.issues.add(ChunkOrder, "%s: a chunk from %d comes after one that ends at %d", lset, m.MinTime, end)
		}
		end = max(end, m.MaxTime)
		if m.MinTime < c.opts.Meta.MinTime || m.MaxTime >= c.opts.Meta.MaxTime {
			c.issues.add(OutsideOfRange, "%s: a chunk from %d to %d in a block from %d to %d",
				lset, m.MinTime, m.MaxTime, c.opts.Meta.MinTime, c.opts.Meta.MaxTime)
		}
		c.report.MinTime, c.report.MaxTime = min(c.report.MinTime, m.MinTime), max(c.report.MaxTime, m.MaxTime)
		if !c.opts.IndexOnly {
			c.content(lset, m)
		}
	}
}

func (c *checker) labels(ref storage.SeriesRef, lset labels.Labels) {
	last := ""
	lset.Range(func(l labels.Label) {
		if l.Name <= last {
			c.issues.add(LabelsInvalid, "%s: the name %q comes after %q", lset, l.Name, last)
		}
		if l.Value == "" {
			c.issues.add(LabelsInvalid, "%s: the value of %q is empty", lset, l.Name)
		}
		last = l.Name
		sum := c.pairs[l]
		sum.add(ref)
		c.pairs[l] = sum
	})
}

// stats compares the counts with those in meta.json, as far as damage does not explain why they differ. Writers agree on what
// a sample is for raw blocks only.
func (c *checker) stats() {
	said := c.opts.Meta.Stats
	r := Report{Issues: c.issues}
	if r.Has(PostingsWrong, SeriesUnreadable) {
		return
	}
	if c.report.Series != said.NumSeries {
		c.issues.add(StatsWrong, "it has %d series, and meta.json says %d", c.report.Series, said.NumSeries)
	}
	if c.report.Chunks != said.NumChunks {
		c.issues.add(StatsWrong, "it has %d chunks, and meta.json says %d", c.report.Chunks, said.NumChunks)
	}
	if c.opts.IndexOnly || c.opts.Resolution > 0 || r.Has(ChunkUnreadable, ChunkEncoding, SampleOrder) {
		return
	}
	if c.report.Samples != said.NumSamples {
		c.issues.add(StatsWrong, "it has %d samples, and meta.json says %d", c.report.Samples, said.NumSamples)
	}
}
