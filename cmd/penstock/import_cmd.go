// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// importConfig is what the flags of `penstock import` set.
type importConfig struct {
	bucketConfig
	filter  *filterConfig
	source  objstoreConfig
	dir     string
	labels  []string
	tenant  string
	scratch string
	dryRun  bool
}

// importReport is what `penstock import --output=json` prints.
type importReport struct {
	DryRun   bool              `json:"dry_run"`
	Blocks   []buckettool.Step `json:"blocks"`
	Problems []string          `json:"problems"` // Of the source: what has the name of a block and is none.
}

func addImport(app *kingpin.Application) (string, command) {
	c := &importConfig{bucketConfig: bucketConfig{now: time.Now}}
	cmd := app.Command("import", "Bring the blocks of a Prometheus, or of another bucket, into the bucket. What was cut off goes on when it is started again.")
	addObjstoreFlags(cmd, "", "the bucket that the blocks go to", &c.objstore)
	cmd.Flag("source.dir", "Data directory of a Prometheus, or a snapshot of one: the directory that has the blocks in it.").PlaceHolder("DIR").StringVar(&c.dir)
	addObjstoreFlags(cmd, "source.", "the bucket that the blocks come from", &c.source)
	cmd.Flag("label", "External label that the blocks get, as name=value, in place of one of the same name. Repeatable. Queries add it to every series.").
		PlaceHolder("NAME=VALUE").StringsVar(&c.labels)
	c.filter = addFilterFlags(cmd)
	cmd.Flag("as-tenant", "Tenant that the blocks get. Default: what they have, or else "+defaultTenant+".").PlaceHolder("TENANT").StringVar(&c.tenant)
	cmd.Flag("scratch-dir", "Directory with room for the largest block, for blocks from another bucket.").Default(os.TempDir()).StringVar(&c.scratch)
	cmd.Flag("dry-run", "Only say what would be imported. Blocks are not read, so that damage is not seen.").BoolVar(&c.dryRun)
	cmd.Flag("output", "Format of what is printed: table or json.").Default("table").EnumVar(&c.output, "table", "json")
	return cmd.FullCommand(), c.run
}

func (c *importConfig) rules() (buckettool.ImportRules, error) {
	rules := buckettool.ImportRules{Tenant: c.tenant, DefaultTenant: defaultTenant}
	var err error
	if rules.Labels, err = parseLabels("--label", c.labels); err != nil {
		return rules, err
	}
	if rules.Filter, err = c.filter.filter(c.now()); err != nil {
		return rules, err
	}
	switch tenant, named := rules.Labels[bucket.LabelTenant]; {
	case named:
		return rules, fmt.Errorf("--label=%s=%s: use --as-tenant", bucket.LabelTenant, tenant)
	case c.tenant != "" && !tenantPattern.MatchString(c.tenant):
		return rules, fmt.Errorf("--as-tenant=%q must match [A-Za-z0-9_-]{1,64}", c.tenant)
	case (c.dir == "") == !c.source.isSet():
		return rules, errors.New("give either --source.dir or --source.objstore.config-file: where the blocks come from")
	}
	return rules, nil
}

func (c *importConfig) run(ctx context.Context, out io.Writer) error {
	rules, err := c.rules()
	if err != nil {
		return err
	}
	return c.withBlocks(ctx, func(to *bucket.Blocks) (err error) {
		importer := &buckettool.Importer{To: to, Scratch: c.scratch}
		if c.source.isSet() {
			from, closer, err := c.source.openBlocks("source.")
			if err != nil {
				return err
			}
			defer func() { err = closeAfter(err, closer) }()
			importer.From = from
		}
		steps, problems, err := c.plan(ctx, importer, rules)
		if err != nil {
			return err
		}
		if !c.dryRun {
			err = importAll(ctx, importer, steps)
		}
		report := importReport{DryRun: c.dryRun, Blocks: steps, Problems: []string{}}
		if report.Blocks == nil {
			report.Blocks = []buckettool.Step{}
		}
		for _, p := range problems {
			report.Problems = append(report.Problems, oneLine(p))
		}
		return errors.Join(err, c.print(out, report), refusals(report))
	})
}

func (c *importConfig) plan(ctx context.Context, importer *buckettool.Importer, rules buckettool.ImportRules) ([]buckettool.Step, []error, error) {
	there, err := importer.To.Metas(ctx)
	if err != nil {
		return nil, nil, err
	}
	if importer.From == nil {
		found, problems, err := buckettool.ScanDir(c.dir)
		return buckettool.PlanImport(found, there, rules), problems, err
	}
	l, err := importer.From.Metas(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, problems := buckettool.ScanBucket(l)
	return buckettool.PlanImport(found, there, rules), problems, nil
}

// importAll imports what is to be imported. A block that is refused does not keep the others back; a bucket that fails does.
func importAll(ctx context.Context, importer *buckettool.Importer, steps []buckettool.Step) error {
	total := int64(0)
	for _, s := range steps {
		if s.Action == buckettool.ActionImport {
			total += s.Bytes
		}
	}
	bar := newProgress("import", total, humanBytes)
	defer bar.finish()
	for i := range steps {
		s := &steps[i]
		if s.Action != buckettool.ActionImport {
			continue
		}
		bar.add(0, s.ULID.String())
		err := importer.Import(ctx, *s)
		var refused *buckettool.RefusedError
		switch {
		case errors.As(err, &refused):
			s.Action, s.Reason = buckettool.ActionRefuse, refused.Reason
		case err != nil:
			return fmt.Errorf("%w; start it again to go on", err)
		default:
			s.Done = true
		}
		bar.add(s.Bytes, "")
	}
	return nil
}

// refusals is the error of an import that left blocks out.
func refusals(r importReport) error {
	refused := len(r.Problems)
	for _, s := range r.Blocks {
		if s.Action == buckettool.ActionRefuse {
			refused++
		}
	}
	if refused == 0 {
		return nil
	}
	return fmt.Errorf("%d blocks cannot be imported", refused)
}

func (c *importConfig) print(out io.Writer, report importReport) error {
	if c.output == "json" {
		return printJSON(out, report)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ULID\tFROM\tUNTIL\tRANGE\tLEVEL\tRES\tLABELS\tSIZE\tSERIES\tSAMPLES\tRESULT")
	blocks, bytes := 0, int64(0)
	for _, s := range report.Blocks {
		result := string(s.Action) + ": " + s.Reason
		if s.Action == buckettool.ActionImport {
			result = "not yet"
			if s.Done {
				result = "imported"
			}
			if report.DryRun {
				result = "would be imported"
			}
			if s.Done || report.DryRun {
				blocks++
				bytes += s.Bytes
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ULID, tableTime(s.MinTime), tableTime(s.MaxTime), tableRange(s.MaxTime-s.MinTime),
			s.Level, resolutionName(s.Res), formatLabels(s.Labels), humanBytes(s.Bytes), humanCount(int64(s.Series)), humanCount(int64(s.Samples)), result)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range report.Problems {
		fmt.Fprintf(out, "refuse: %s\n", p)
	}
	verb := "imported"
	if report.DryRun {
		verb = "would be imported"
	}
	_, err := fmt.Fprintf(out, "\n%d of %d blocks %s, %s\n", blocks, len(report.Blocks), verb, humanBytes(bytes))
	return err
}
