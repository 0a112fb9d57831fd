// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// rewriteShown is how many deleted series of a block a table shows.
const rewriteShown = 10

// rewriteResult is what `penstock bucket rewrite --output=json` prints.
type rewriteResult struct {
	DryRun bool                       `json:"dry_run"`
	Blocks []buckettool.RewriteReport `json:"blocks"`
}

func addBucketRewrite(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("rewrite", "Replace blocks of raw samples by ones without some of their series.")
	ids := cmd.Flag("id", "Block to rewrite. Repeatable.").PlaceHolder("ULID").Strings()
	series := cmd.Flag("delete-series", `Series to delete, such as '{job="test"}'. Repeatable: a series that any of them matches goes.`).
		PlaceHolder("SELECTOR").Strings()
	dryRun := cmd.Flag("dry-run", "Only say what would be deleted.").Bool()
	scratch := cmd.Flag("scratch-dir", "Directory with room for the largest block twice.").Default(os.TempDir()).String()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		blockIDs, err := someIDs(*ids)
		if err != nil {
			return err
		}
		opts := buckettool.RewriteOptions{DryRun: *dryRun, Scratch: *scratch, Now: cfg.now()}
		if opts.Delete, err = parseSelectors("--delete-series", *series); err != nil {
			return err
		}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			result := rewriteResult{DryRun: *dryRun, Blocks: []buckettool.RewriteReport{}}
			bar := newProgress("rewrite", int64(len(blockIDs)), func(n int64) string { return fmt.Sprint(n) })
			var err error
			for _, id := range blockIDs {
				bar.add(0, id.String())
				var report buckettool.RewriteReport
				if report, err = buckettool.Rewrite(ctx, blocks, id, opts); err != nil {
					break
				}
				result.Blocks = append(result.Blocks, report)
				bar.add(1, "")
			}
			bar.finish()
			return errors.Join(err, cfg.printRewrite(out, result))
		})
	}
}

func parseSelectors(flag string, texts []string) ([][]*labels.Matcher, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s is missing", flag)
	}
	var out [][]*labels.Matcher
	for _, text := range texts {
		ms, err := parser.NewParser(parser.Options{}).ParseMetricSelector(text)
		if err != nil {
			return nil, fmt.Errorf("%s=%q: %w", flag, text, err)
		}
		out = append(out, ms)
	}
	return out, nil
}

func (c *bucketConfig) printRewrite(out io.Writer, result rewriteResult) error {
	if c.output == "json" {
		return printJSON(out, result)
	}
	verb := "deleted"
	if result.DryRun {
		verb = "would be deleted"
	}
	for _, r := range result.Blocks {
		fmt.Fprintf(out, "block %s: %d of %d series and %d of %d samples %s\n", r.ULID, r.DeletedSeries, r.Series, r.DeletedSamples, r.Samples, verb)
		for _, lset := range r.Deleted[:min(len(r.Deleted), rewriteShown)] {
			fmt.Fprintf(out, "  - %s\n", lset)
		}
		if more := int(r.DeletedSeries) - rewriteShown; more > 0 {
			fmt.Fprintf(out, "  and %d more\n", more)
		}
		switch {
		case r.New != nil:
			fmt.Fprintf(out, "  rewritten as %s; %s is marked for deletion\n", r.New, r.ULID)
		case r.Marked:
			fmt.Fprintf(out, "  nothing is left; %s is marked for deletion\n", r.ULID)
		case r.DeletedSeries == 0:
			fmt.Fprintln(out, "  no series matches; the block stays as it is")
		}
	}
	return nil
}
