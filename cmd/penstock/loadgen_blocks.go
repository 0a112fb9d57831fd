// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/common/model"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/cmd/penstock/internal/blockgen"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// loadgenBlocksConfig is what the flags of `penstock loadgen blocks` set.
type loadgenBlocksConfig struct {
	objstore    objstoreConfig
	dir         string
	scratch     string
	series      int
	from, until string
	interval    model.Duration
	ranges      model.Duration
	reset       model.Duration
	tenant      string
	labels      []string
	copies      []string
	concurrency int
}

// loadgenBlocksReport is the line that `penstock loadgen blocks` prints.
type loadgenBlocksReport struct {
	Blocks           int64   `json:"blocks"`
	Skipped          int64   `json:"skipped"` // Were there already.
	Series           int     `json:"series"`
	Samples          int64   `json:"samples"`
	Seconds          float64 `json:"seconds"`
	SamplesPerSecond float64 `json:"samples_per_second"`
	ClientCPUSeconds float64 `json:"client_cpu_s"`
}

// addLoadgenBlocks declares `penstock loadgen blocks`.
func addLoadgenBlocks(app *kingpin.Application) (string, func(context.Context, io.Writer) error) {
	cfg := &loadgenBlocksConfig{}
	cmd := app.GetCommand("loadgen").Command("blocks", "Write blocks whose samples follow from a formula, for up to years, into a directory or a bucket.")
	addObjstoreFlags(cmd, "", "the bucket that the blocks go to", &cfg.objstore)
	cmd.Flag("dir", "Directory that the blocks go to, in place of a bucket; Prometheus can be started on it.").PlaceHolder("DIR").StringVar(&cfg.dir)
	cmd.Flag("scratch-dir", "Directory for the blocks that are being made for a bucket.").Default(os.TempDir()).StringVar(&cfg.scratch)
	cmd.Flag("series", "Number of series: every second one a counter, the others gauges.").Default("1000").IntVar(&cfg.series)
	cmd.Flag("from", "Begin of the samples: RFC 3339, or how long ago.").Default("365d").StringVar(&cfg.from)
	cmd.Flag("until", "End of the samples, exclusive: RFC 3339, or how long ago.").Default("0s").StringVar(&cfg.until)
	cfg.interval, cfg.ranges, cfg.reset = model.Duration(15*time.Second), model.Duration(2*time.Hour), model.Duration(24*time.Hour)
	cmd.Flag("interval", "Time between two samples of a series.").Default("15s").SetValue(&cfg.interval)
	cmd.Flag("block-range", "Time range of a block: 2h, 8h, 2d and 14d are those that compaction makes.").Default("2h").SetValue(&cfg.ranges)
	cmd.Flag("counter-reset", "Time between two resets of the counters. 0s: none.").Default("24h").SetValue(&cfg.reset)
	cmd.Flag("tenant", "Tenant of the blocks in a bucket.").Default(defaultTenant).StringVar(&cfg.tenant)
	cmd.Flag("label", "External label of the blocks in a bucket, as name=value. Repeatable.").PlaceHolder("NAME=VALUE").StringsVar(&cfg.labels)
	cmd.Flag("copy", "Name of a member whose copy of all blocks goes to the bucket. Repeatable; without it there is one copy, as compaction leaves it.").
		PlaceHolder("MEMBER").StringsVar(&cfg.copies)
	cmd.Flag("concurrency", "Blocks that are made at once.").Default("1").IntVar(&cfg.concurrency)
	return cmd.FullCommand(), cfg.run
}

func (c *loadgenBlocksConfig) generator(now time.Time) (blockgen.Config, error) {
	from, err := parseTime("--from", c.from, now)
	if err != nil {
		return blockgen.Config{}, err
	}
	until, err := parseTime("--until", c.until, now)
	if err != nil {
		return blockgen.Config{}, err
	}
	g := blockgen.Config{
		Series: c.series, From: from.UnixMilli(), Until: until.UnixMilli(),
		Interval: time.Duration(c.interval).Milliseconds(),
		Range:    time.Duration(c.ranges).Milliseconds(),
		Reset:    time.Duration(c.reset).Milliseconds(),
	}
	switch {
	case c.concurrency <= 0:
		return g, errors.New("--concurrency must be above 0")
	case (c.dir == "") == !c.objstore.isSet():
		return g, errors.New("give either --dir or --objstore.config-file: where the blocks go to")
	case c.dir != "" && len(c.copies)+len(c.labels) > 0:
		return g, errors.New("--copy and --label are for a bucket: in a directory there are no external labels")
	case !tenantPattern.MatchString(c.tenant):
		return g, fmt.Errorf("--tenant=%q must match [A-Za-z0-9_-]{1,64}", c.tenant)
	}
	return g, g.Check()
}

func (c *loadgenBlocksConfig) run(ctx context.Context, out io.Writer) (err error) {
	g, err := c.generator(time.Now())
	if err != nil {
		return err
	}
	target := &blockTarget{dir: c.dir}
	if c.dir == "" {
		if target.labels, err = parseLabels("--label", c.labels); err != nil {
			return err
		}
		target.labels[bucket.LabelTenant] = c.tenant
		blocks, closer, err := c.objstore.openBlocks("")
		if err != nil {
			return err
		}
		defer func() { err = closeAfter(err, closer) }()
		target.blocks = blocks
		if target.dir, err = os.MkdirTemp(c.scratch, "penstock-loadgen-"); err != nil {
			return fmt.Errorf("--scratch-dir: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(target.dir)) }()
	}
	start := time.Now()
	cpu, err := ownCPU()
	if err != nil {
		return err
	}
	if err := c.make(ctx, g, target); err != nil {
		return stopped(ctx, err)
	}
	used, err := ownCPU()
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	return json.NewEncoder(out).Encode(loadgenBlocksReport{
		Blocks: target.made.Load(), Skipped: target.skipped.Load(), Series: c.series, Samples: target.samples.Load(),
		Seconds: seconds, SamplesPerSecond: float64(target.samples.Load()) / seconds, ClientCPUSeconds: (used - cpu).Seconds(),
	})
}

// make makes all blocks of all copies.
func (c *loadgenBlocksConfig) make(ctx context.Context, g blockgen.Config, target *blockTarget) error {
	copies := c.copies
	if len(copies) == 0 {
		copies = []string{""}
	}
	spans := g.Spans()
	perCopy := (g.Until - g.From) / g.Interval * int64(g.Series)
	bar := newProgress("make blocks", perCopy*int64(len(copies)), func(n int64) string { return humanCount(n) + " samples" })
	defer bar.finish()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.concurrency)
	for _, span := range spans {
		for _, name := range copies {
			g.Copy = name
			one := g
			group.Go(func() error { return target.put(ctx, one, span, bar) })
		}
	}
	return group.Wait()
}

// blockTarget is where blocks go: a directory, or a bucket by way of one.
type blockTarget struct {
	dir    string
	blocks *bucket.Blocks // Nil: the directory is all.
	labels map[string]string

	made, skipped, samples atomic.Int64
}

func (t *blockTarget) has(ctx context.Context, id ulid.ULID) (bool, error) {
	if t.blocks != nil {
		return t.blocks.Exists(ctx, id)
	}
	_, err := os.Stat(filepath.Join(t.dir, id.String(), "meta.json"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// put makes one block, unless it is there: a run that was cut off goes on where it was.
func (t *blockTarget) put(ctx context.Context, g blockgen.Config, s blockgen.Span, bar *progress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	meta := g.Meta(s)
	there, err := t.has(ctx, meta.ULID)
	if err != nil {
		return err
	}
	if there {
		t.skipped.Add(1)
		bar.add((s.Until-s.From)/g.Interval*int64(g.Series), "")
		return nil
	}
	what := time.UnixMilli(s.From).UTC().Format(time.DateOnly)
	dir, meta, err := g.Write(ctx, t.dir, s, func(n int64) { bar.add(n, what) })
	if err != nil {
		return err
	}
	if t.blocks != nil {
		labels := maps.Clone(t.labels)
		if g.Copy != "" {
			labels[bucket.LabelReceiveReplica] = g.Copy
		}
		if err := t.blocks.PutBlock(ctx, dir, labels, bucket.SourceReceive); err != nil {
			return err
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	t.made.Add(1)
	t.samples.Add(int64(meta.Stats.NumSamples))
	return nil
}
