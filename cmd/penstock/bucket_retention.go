// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/model"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
	"github.com/penstock-io/penstock/compactor"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// retentionReport is what `penstock bucket retention --output=json` prints.
type retentionReport struct {
	DryRun  bool            `json:"dry_run"`
	Expired []expiredReport `json:"expired"`
}

type expiredReport struct {
	ULID       ulid.ULID      `json:"ulid"`
	Tenant     string         `json:"tenant"`
	Resolution int64          `json:"resolution"` // ms, 0 for raw samples.
	MaxTime    int64          `json:"max_time"`   // ms, exclusive.
	Retention  model.Duration `json:"retention"`
	Bytes      int64          `json:"bytes"`
	Samples    uint64         `json:"samples"`
	Marked     bool           `json:"marked"`
}

// addBucketRetention declares what members do by themselves, by the same function, for those who want to see it first.
func addBucketRetention(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("retention", "Mark the blocks that are past retention for deletion, as members do by themselves. Give it the flags and the limits file of the nodes.")
	c := &config{}
	cmd.Flag("retention.raw", "How long raw samples stay in the bucket. 0: for ever.").Default("0").SetValue(&c.compact.retentionRaw)
	cmd.Flag("retention.5m", "How long samples downsampled to 5m stay in the bucket. 0: for ever.").Default("0").SetValue(&c.compact.retention5m)
	cmd.Flag("retention.1h", "How long samples downsampled to 1h stay in the bucket. 0: for ever.").Default("0").SetValue(&c.compact.retention1h)
	cmd.Flag("limits.config-file", "File with the retention of single tenants.").PlaceHolder("FILE").StringVar(&c.limits.configFile)
	cmd.Flag("compact.foreign", "Expire blocks with external labels that Penstock does not write, too.").BoolVar(&c.compact.foreign)
	dryRun := cmd.Flag("dry-run", "Only say what would be marked.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		set, err := limits.Open(limitsFile(c), slog.New(slog.DiscardHandler), nil)
		if err != nil {
			return err
		}
		rules := compactor.RetentionRules{
			Now: cfg.now(), DefaultTenant: defaultTenant, Foreign: c.compact.foreign,
			Of: func(tenant string) compactor.Retention { return retentionOf(set.Current(), &c.compact, tenant) },
		}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			l, err := blocks.Metas(ctx)
			if err != nil {
				return err
			}
			report := retentionReport{DryRun: *dryRun, Expired: []expiredReport{}}
			for _, e := range compactor.Expired(l.Blocks, rules) {
				m := e.Block.Meta
				one := expiredReport{
					ULID: m.ULID, Tenant: e.Tenant, Resolution: m.Thanos.Downsample.Resolution, MaxTime: m.MaxTime,
					Retention: model.Duration(e.Retention), Bytes: e.Block.Bytes, Samples: m.Stats.NumSamples,
				}
				if !*dryRun {
					if err = blocks.Mark(ctx, bucket.NewDeletionMark(m.ULID, cfg.now(), e.Details())); err != nil {
						break
					}
					one.Marked = true
				}
				report.Expired = append(report.Expired, one)
			}
			return errors.Join(err, cfg.printRetention(out, report))
		})
	}
}

func (c *bucketConfig) printRetention(out io.Writer, report retentionReport) error {
	if c.output == "json" {
		return printJSON(out, report)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ULID\tTENANT\tRES\tUNTIL\tPAST\tSIZE\tSAMPLES")
	bytes := int64(0)
	for _, e := range report.Expired {
		bytes += e.Bytes
		past := model.Duration(c.now().Sub(time.UnixMilli(e.MaxTime)).Truncate(time.Hour))
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s of %s\t%s\t%s\n", e.ULID, e.Tenant, resolutionName(e.Resolution), tableTime(e.MaxTime),
			past, e.Retention, humanBytes(e.Bytes), humanCount(int64(e.Samples)))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verb := "marked for deletion"
	if report.DryRun {
		verb = "would be marked for deletion"
	}
	_, err := fmt.Fprintf(out, "\n%d blocks %s, %s\n", len(report.Expired), verb, humanBytes(bytes))
	return err
}
