// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/penstock-io/penstock/uploader/blockdir"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// sourceRewrite is what Thanos calls the writer of such blocks.
	sourceRewrite = "bucket.rewrite"
	// deletedSeriesMax bounds the deleted series that a report lists; the counts are of all.
	deletedSeriesMax = 1000
)

// RewriteOptions say what is deleted.
type RewriteOptions struct {
	Delete  [][]*labels.Matcher // Series that all matchers of any of these match.
	DryRun  bool
	Scratch string // Directory with room for the block twice.
	Now     time.Time
}

// RewriteReport is what a rewrite did, or would do. Its JSON is stable.
type RewriteReport struct {
	ULID           ulid.ULID       `json:"ulid"`
	New            *ulid.ULID      `json:"new,omitempty"` // Nil when nothing was written.
	Series         uint64          `json:"series"`        // Of the block as it was.
	Samples        uint64          `json:"samples"`
	DeletedSeries  uint64          `json:"deleted_series"`
	DeletedSamples uint64          `json:"deleted_samples"`
	Deleted        []labels.Labels `json:"deleted"` // The first thousand.
	Marked         bool            `json:"marked"`  // The block was marked for deletion.
}

// Rewrite makes a block without some of its series, and marks the one that it was made of for deletion. Nothing is written
// when nothing matches; when everything does, there is only the mark.
//
// The new block has the sources of the old one and one more, its own name: so it covers the old one from the moment at
// which it is visible, for every reader and compactor, whatever has become of the mark. It can be cut off anywhere.
func Rewrite(ctx context.Context, blocks *bucket.Blocks, id ulid.ULID, opts RewriteOptions) (_ RewriteReport, err error) {
	r := RewriteReport{ULID: id, Deleted: []labels.Labels{}}
	meta, err := rewritable(ctx, blocks, id)
	if err != nil {
		return r, err
	}
	scratch, err := os.MkdirTemp(opts.Scratch, scratchPattern)
	if err != nil {
		return r, fmt.Errorf("make scratch directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	dir := filepath.Join(scratch, id.String())
	if _, err := blocks.Download(ctx, id, dir); err != nil {
		return r, err
	}
	if err := mustBeSound(ctx, dir, meta.BlockMeta); err != nil {
		return r, fmt.Errorf("block %s: %w", id, err)
	}
	r.Series, r.Samples = meta.Stats.NumSeries, meta.Stats.NumSamples
	w := &rewriter{opts: opts, report: &r}
	if err := w.survey(ctx, dir); err != nil {
		return r, fmt.Errorf("block %s: %w", id, err)
	}
	if opts.DryRun || r.DeletedSeries == 0 {
		return r, nil
	}
	details := "all series deleted"
	if r.DeletedSeries < r.Series {
		made, err := w.write(ctx, blocks, dir, meta)
		if err != nil {
			return r, fmt.Errorf("block %s: %w", id, err)
		}
		r.New = &made
		details = "rewritten as " + made.String()
	}
	err = blocks.Mark(ctx, bucket.NewDeletionMark(id, opts.Now, details))
	r.Marked = err == nil
	return r, err
}

// rewritable returns the description of a block, if it can be rewritten.
func rewritable(ctx context.Context, blocks *bucket.Blocks, id ulid.ULID) (bucket.Meta, error) {
	l, err := blocks.Metas(ctx)
	if err != nil {
		return bucket.Meta{}, err
	}
	i := slices.IndexFunc(l.Blocks, func(b bucket.Listed) bool { return b.Meta.ULID == id })
	if i < 0 {
		return bucket.Meta{}, fmt.Errorf("block %s: %w", id, bucket.ErrNotFound)
	}
	b := l.Blocks[i]
	by, covered := bucket.Covered(l.Blocks)[id]
	switch {
	case b.Meta.Thanos.Downsample.Resolution != 0:
		return b.Meta, fmt.Errorf("block %s holds aggregates: rewrite the raw block, and mark this one for deletion", id)
	case b.Marks.Deletion != nil:
		return b.Meta, fmt.Errorf("block %s is marked for deletion: %s", id, orNone(b.Marks.Deletion.Details))
	case covered:
		return b.Meta, fmt.Errorf("block %s is superfluous: block %s has its samples; rewrite that one", id, by)
	}
	return b.Meta, nil
}

func orNone(s string) string {
	if s == "" {
		return "no details"
	}
	return s
}

// mustBeSound fails with all that is wrong with a block on disk.
func mustBeSound(ctx context.Context, dir string, meta tsdb.BlockMeta) error {
	report, err := blockdir.Check(ctx, dir, blockdir.Options{Meta: meta})
	if err != nil {
		return err
	}
	return issuesError(report)
}

// issuesError is all issues of a report as one error.
func issuesError(report blockdir.Report) error {
	if len(report.Issues) == 0 {
		return nil
	}
	text := "it is damaged"
	for _, issue := range report.Issues {
		text += "; " + issue.String()
	}
	return errors.New(text)
}

// rewriter is the state of one rewrite.
type rewriter struct {
	opts    RewriteOptions
	report  *RewriteReport
	symbols []string // Of what stays.
}

func (w *rewriter) deletes(lset labels.Labels) bool {
	return slices.ContainsFunc(w.opts.Delete, func(ms []*labels.Matcher) bool {
		return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(lset.Get(m.Name)) })
	})
}

// survey counts what goes, and gathers the symbols of what stays.
func (w *rewriter) survey(ctx context.Context, dir string) error {
	symbols := map[string]struct{}{}
	err := blockdir.EachSeries(ctx, dir, func(s blockdir.Series) error {
		if !w.deletes(s.Labels) {
			s.Labels.Range(func(l labels.Label) { symbols[l.Name], symbols[l.Value] = struct{}{}, struct{}{} })
			return nil
		}
		chks, err := s.Chunks()
		if err != nil {
			return err
		}
		for _, c := range chks {
			w.report.DeletedSamples += uint64(c.Chunk.NumSamples())
		}
		w.report.DeletedSeries++
		if len(w.report.Deleted) < deletedSeriesMax {
			w.report.Deleted = append(w.report.Deleted, s.Labels.Copy())
		}
		return nil
	})
	for s := range symbols {
		w.symbols = append(w.symbols, s)
	}
	slices.Sort(w.symbols)
	return err
}

// write makes the new block, reads it back and uploads it.
func (w *rewriter) write(ctx context.Context, blocks *bucket.Blocks, from string, old bucket.Meta) (ulid.ULID, error) {
	id := ulid.MustNew(ulid.Timestamp(w.opts.Now), ulid.DefaultEntropy())
	dir := filepath.Join(filepath.Dir(from), id.String())
	out, err := blockdir.NewWriter(ctx, dir, w.symbols)
	if err != nil {
		return id, err
	}
	err = blockdir.EachSeries(ctx, from, func(s blockdir.Series) error {
		if w.deletes(s.Labels) {
			return nil
		}
		chks, err := s.Chunks()
		if err != nil {
			return err
		}
		return out.Add(s.Labels, chks)
	})
	if err != nil {
		return id, errors.Join(err, out.Abort())
	}
	meta := tsdb.BlockMeta{ULID: id, MinTime: old.MinTime, MaxTime: old.MaxTime, Compaction: old.Compaction}
	meta.Compaction.Sources = append(slices.Clone(bucket.SourcesOf(old)), id)
	meta.Compaction.Parents = []tsdb.BlockDesc{{ULID: old.ULID, MinTime: old.MinTime, MaxTime: old.MaxTime}}
	if meta, err = out.Commit(meta); err != nil {
		return id, err
	}
	if err := mustBeSound(ctx, dir, meta); err != nil {
		return id, err
	}
	if got := meta.Stats.NumSamples + w.report.DeletedSamples; got != w.report.Samples {
		return id, fmt.Errorf("the new block and what was deleted have %d samples, and there were %d", got, w.report.Samples)
	}
	section := old.Thanos
	section.Source = sourceRewrite
	if section.Rewrites, err = w.rewrites(old); err != nil {
		return id, err
	}
	return id, blocks.PutBlockAs(ctx, dir, section)
}

// rewrites adds this one to the history of a block, in Thanos' form.
func (w *rewriter) rewrites(old bucket.Meta) (json.RawMessage, error) {
	type deletion struct {
		Matchers []*labels.Matcher `json:"matchers"`
	}
	type rewrite struct {
		Sources   []ulid.ULID `json:"sources,omitempty"`
		Deletions []deletion  `json:"deletions_applied,omitempty"`
	}
	var history []json.RawMessage
	if len(old.Thanos.Rewrites) > 0 {
		if err := json.Unmarshal(old.Thanos.Rewrites, &history); err != nil {
			return nil, fmt.Errorf("rewrites in meta.json: %w", err)
		}
	}
	this := rewrite{Sources: bucket.SourcesOf(old)}
	for _, ms := range w.opts.Delete {
		this.Deletions = append(this.Deletions, deletion{ms})
	}
	raw, err := json.Marshal(this)
	if err != nil {
		return nil, err
	}
	return json.Marshal(append(history, raw))
}
