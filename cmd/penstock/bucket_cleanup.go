// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// cleanupReport is what `penstock bucket cleanup --output=json` prints.
type cleanupReport struct {
	DryRun   bool            `json:"dry_run"`
	Removals []removalReport `json:"removals"`
}

type removalReport struct {
	buckettool.Removal

	Deleted bool   `json:"deleted"`
	Error   string `json:"error,omitempty"`
}

func addBucketCleanup(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("cleanup", "Delete blocks that were marked for deletion long enough ago, and what uploads that were given up have left.")
	delay, age := model.Duration(buckettool.DefaultDeletionDelay), model.Duration(buckettool.DefaultPartialAge)
	cmd.Flag("delete-delay", "How long a block stays after it was marked. Readers use it for 24h.").Default(delay.String()).SetValue(&delay)
	cmd.Flag("partial-age", "How long what is not a block stays after it was last written to.").Default(age.String()).SetValue(&age)
	dryRun := cmd.Flag("dry-run", "Only say what would be deleted.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		if time.Duration(age) < time.Hour {
			return errors.New("--partial-age must be at least 1h: what is younger may be an upload that goes on")
		}
		rules := buckettool.CleanupRules{Now: cfg.now(), DeletionDelay: time.Duration(delay), PartialAge: time.Duration(age)}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			l, err := blocks.Metas(ctx)
			if err != nil {
				return err
			}
			report := cleanupReport{DryRun: *dryRun, Removals: []removalReport{}}
			plan := buckettool.PlanCleanup(l, rules)
			if *dryRun {
				for _, r := range plan {
					report.Removals = append(report.Removals, removalReport{Removal: r})
				}
			} else {
				err = cleanUp(ctx, blocks, plan, &report)
			}
			return errors.Join(err, cfg.printCleanup(out, report))
		})
	}
}

func cleanUp(ctx context.Context, blocks *bucket.Blocks, plan []buckettool.Removal, report *cleanupReport) error {
	for _, r := range plan {
		if r.Kept != "" {
			report.Removals = append(report.Removals, removalReport{Removal: r})
		}
	}
	bar := newProgress("delete", int64(len(plan)), func(n int64) string { return fmt.Sprint(n) })
	defer bar.finish()
	return buckettool.Cleanup(ctx, blocks, plan, func(r buckettool.Removal, err error) {
		bar.add(1, r.ID.String())
		one := removalReport{Removal: r, Deleted: err == nil}
		if err != nil {
			one.Error = err.Error()
		}
		report.Removals = append(report.Removals, one)
	})
}

func (c *bucketConfig) printCleanup(out io.Writer, report cleanupReport) error {
	if c.output == "json" {
		return printJSON(out, report)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ULID\tSIZE\tSINCE\tREASON\tRESULT")
	deleted, size := 0, int64(0)
	for _, r := range report.Removals {
		result := "deleted"
		switch {
		case r.Kept != "":
			result = "kept: " + r.Kept
		case r.Error != "":
			result = "failed: " + r.Error
		case report.DryRun:
			result = "would be deleted"
		}
		if r.Kept == "" && r.Error == "" {
			deleted++
			size += r.Bytes
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID, humanBytes(r.Bytes), r.Since.Format(time.RFC3339), r.Reason, result)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verb := "deleted"
	if report.DryRun {
		verb = "would be deleted"
	}
	_, err := fmt.Fprintf(out, "\n%d of %d %s, %s\n", deleted, len(report.Removals), verb, humanBytes(size))
	return err
}
