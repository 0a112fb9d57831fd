// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

const (
	// What a table of one block shows of long lists; JSON has all.
	inspectLabels  = 10
	inspectSources = 4
)

func addBucketInspect(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("inspect", "Show one block: what meta.json says, its files, sources and marks, and what its index is made of.")
	id := cmd.Flag("id", "The block.").Required().PlaceHolder("ULID").String()
	readIndex := cmd.Flag("index", "Fetch the index and count what is in it.").Default("true").Bool()
	scratch := cmd.Flag("scratch-dir", "Directory with room for the index.").Default(os.TempDir()).String()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		ids, err := parseIDs([]string{*id})
		if err != nil {
			return err
		}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			in, err := buckettool.Inspect(ctx, blocks, ids[0], defaultTenant, *scratch, *readIndex)
			if err != nil {
				return err
			}
			if cfg.output == "json" {
				return printJSON(out, in)
			}
			return printInspection(out, in)
		})
	}
}

func printInspection(out io.Writer, in buckettool.Inspection) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	b := in.Block
	line := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("block", "%s", b.ULID)
	line("time", "%s to %s (%s)", tableTime(b.MinTime), tableTime(b.MaxTime), tableRange(b.MaxTime-b.MinTime))
	line("level", "%d, resolution %s", b.Level, resolutionName(b.Resolution))
	line("tenant", "%s", b.Tenant)
	line("external labels", "%s", formatLabels(b.Labels))
	line("written by", "%s", b.Source)
	if b.Uploaded != nil {
		line("uploaded", "%s", b.Uploaded.Format(time.RFC3339))
	}
	line("holds", "%d series, %d chunks, %d samples, %s", b.Series, b.Chunks, b.Samples, humanBytes(b.Bytes))
	sources := make([]string, 0, inspectSources)
	for _, id := range in.Sources[:min(len(in.Sources), inspectSources)] {
		sources = append(sources, id.String())
	}
	if more := len(in.Sources) - len(sources); more > 0 {
		sources = append(sources, fmt.Sprintf("and %d more", more))
	}
	line("sources", "%s", strings.Join(sources, ", "))
	if in.CoveredBy != nil {
		line("superfluous", "block %s has all its sources", in.CoveredBy)
	}
	for _, m := range b.Marks {
		line("mark", "%s", strings.TrimSpace(fmt.Sprintf("%s since %s %s %s", m.Kind, m.Time.Format(time.RFC3339), m.Reason, m.Details)))
	}
	for _, issue := range in.Issues {
		line("DAMAGED", "%s", issue)
	}
	fmt.Fprintln(w, "\nFILE\tSIZE\tMODIFIED\tSHA-256")
	for _, o := range in.Objects {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.Path, humanBytes(o.Bytes), o.Modified.Format(time.RFC3339), orDash(o.SHA256))
	}
	if x := in.Index; x != nil {
		fmt.Fprintf(w, "\nindex version %d: %d label names, %d label pairs, %d postings\n", x.Version, x.LabelNames, x.LabelPairs, x.Postings)
		fmt.Fprintln(w, "\nLABEL\tVALUES\tSERIES")
		for _, l := range x.Labels[:min(len(x.Labels), inspectLabels)] {
			fmt.Fprintf(w, "%s\t%d\t%d\n", l.Name, l.Values, l.Series)
		}
		if more := len(x.Labels) - inspectLabels; more > 0 {
			fmt.Fprintf(w, "and %d more\n", more)
		}
	}
	return w.Flush()
}
