// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

func addBucketLs(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("ls", "List blocks.")
	filter := addFilterFlags(cmd)
	sort := cmd.Flag("sort", "Order: times, labels and ULIDs ascending, size, series and samples descending.").Default("from").Enum(buckettool.Orders()...)
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		f, err := filter.filter(cfg.now())
		if err != nil {
			return err
		}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			l, err := blocks.Metas(ctx)
			if err != nil {
				return err
			}
			if err := f.CheckIDs(l); err != nil {
				return err
			}
			chosen := f.Select(l.Blocks)
			buckettool.Sort(chosen, *sort)
			rows := make([]buckettool.Row, 0, len(chosen))
			for _, b := range chosen {
				rows = append(rows, buckettool.RowOf(b, defaultTenant))
			}
			if n := len(l.Partial); n > 0 {
				fmt.Fprintf(os.Stderr, "penstock bucket: %d more are not blocks, or not yet; `penstock bucket verify --no-data` names them\n", n)
			}
			if cfg.output == "json" {
				return printJSON(out, rows)
			}
			return printRows(out, rows)
		})
	}
}

func printRows(out io.Writer, rows []buckettool.Row) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ULID\tFROM\tUNTIL\tRANGE\tLEVEL\tRES\tTENANT\tLABELS\tSIZE\tSERIES\tSAMPLES\tMARKS")
	var size int64
	var samples uint64
	for _, r := range rows {
		other := maps.Clone(r.Labels)
		delete(other, bucket.LabelTenant)
		var marks []string
		for _, m := range r.Marks {
			marks = append(marks, string(m.Kind))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ULID, tableTime(r.MinTime), tableTime(r.MaxTime),
			tableRange(r.MaxTime-r.MinTime), r.Level, resolutionName(r.Resolution), r.Tenant, formatLabels(other), humanBytes(r.Bytes),
			humanCount(int64(r.Series)), humanCount(int64(r.Samples)), orDash(strings.Join(marks, ",")))
		size += r.Bytes
		samples += r.Samples
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%d blocks, %s, %s samples\n", len(rows), humanBytes(size), humanCount(int64(samples)))
	return err
}

func tableTime(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05Z") }

// tableRange is a time range in whole seconds: blocks of out-of-order samples end anywhere.
func tableRange(ms int64) string {
	return model.Duration((time.Duration(ms) * time.Millisecond).Round(time.Second)).String()
}

func resolutionName(ms int64) string {
	if ms == 0 {
		return "raw"
	}
	return tableRange(ms)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
