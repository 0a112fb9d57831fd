// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// exitFound is the exit code when something was found, to tell it from 1, when verify could not do its work.
const exitFound = 2

func addBucketVerify(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("verify", "Read blocks from the first byte to the last and say what is wrong with them. Exits with 0 when nothing is, 2 when something is, 1 when that could not be found out.")
	filter := addFilterFlags(cmd)
	data := cmd.Flag("data", "Read the blocks. --no-data looks at meta.json, marks and the list of objects only.").Default("true").Bool()
	repair := cmd.Flag("repair", "Do what is safe: mark for deletion what another, sound block has in full; take away deletion marks that would lose samples; keep damaged blocks out of compaction. Deletes nothing.").Bool()
	strict := cmd.Flag("strict", "Exit with 2 on notes too.").Bool()
	scratch := cmd.Flag("scratch-dir", "Directory with room for the largest block.").Default(os.TempDir()).String()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		f, err := filter.filter(cfg.now())
		if err != nil {
			return err
		}
		opts := buckettool.VerifyOptions{
			Filter: f, Data: *data, Repair: *repair, Scratch: *scratch,
			Rules: buckettool.CleanupRules{Now: cfg.now(), DeletionDelay: buckettool.DefaultDeletionDelay, PartialAge: buckettool.DefaultPartialAge},
		}
		var report buckettool.VerifyReport
		err = cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			var bar *progress
			opts.Started = func(_ int, total int64) { bar = newProgress("verify", total, humanBytes) }
			opts.Read = func(id ulid.ULID, n int64) { bar.add(n, id.String()) }
			var err error
			report, err = buckettool.Verify(ctx, blocks, opts)
			if bar != nil {
				bar.finish()
			}
			return err
		})
		// What was found before a failure is worth to be known.
		if err = errors.Join(err, cfg.printVerify(out, report)); err != nil {
			return err
		}
		switch worst := report.Worst(); {
		case worst == buckettool.Error, worst == buckettool.Warning, worst == buckettool.Note && *strict:
			return exitError{exitFound}
		}
		return nil
	}
}

func (c *bucketConfig) printVerify(out io.Writer, report buckettool.VerifyReport) error {
	if report.Findings == nil {
		report.Findings = []buckettool.Finding{}
	}
	if c.output == "json" {
		return printJSON(out, report)
	}
	if len(report.Findings) > 0 {
		w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
		fmt.Fprintln(w, "SEVERITY\tKIND\tBLOCK\tWHAT")
		last := ""
		for _, f := range report.Findings {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Severity, f.Kind, f.Blocks[0], oneLine(errors.New(f.Detail)))
			if len(f.Blocks) > 1 {
				fmt.Fprintf(w, "\t\t\twith: %s\n", joinIDs(f.Blocks[1:]))
			}
			if f.Repaired != "" {
				fmt.Fprintf(w, "\t\t\trepaired: %s\n", f.Repaired)
			} else if todo := f.Blocks[0].String() + f.Todo; f.Todo != "" && todo != last {
				fmt.Fprintf(w, "\t\t\tto do: %s\n", f.Todo)
				last = todo // Once is enough for all damage to a block.
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	count := map[buckettool.Severity]int{}
	for _, f := range report.Findings {
		count[f.Severity]++
	}
	_, err := fmt.Fprintf(out, "%d blocks, %d of them read (%s): %d errors, %d warnings, %d notes\n", report.Blocks, report.Read, humanBytes(report.Bytes),
		count[buckettool.Error], count[buckettool.Warning], count[buckettool.Note])
	return err
}

func joinIDs(ids []ulid.ULID) string {
	texts := make([]string, 0, len(ids))
	for _, id := range ids {
		texts = append(texts, id.String())
	}
	return strings.Join(texts, ", ")
}
