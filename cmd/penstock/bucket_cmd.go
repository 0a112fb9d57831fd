// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// command is what a subcommand does once the flags are parsed.
type command = func(ctx context.Context, out io.Writer) error

// bucketConfig is what the flags of all `penstock bucket` commands set.
type bucketConfig struct {
	objstore objstoreConfig
	output   string
	now      func() time.Time
}

// addBucket declares `penstock bucket` and returns its subcommands by name.
func addBucket(app *kingpin.Application) map[string]command {
	cfg := &bucketConfig{now: time.Now}
	cmd := app.Command("bucket", "Look at the blocks in object storage, check and change them.")
	addObjstoreFlags(cmd, "", "the bucket", &cfg.objstore)
	cmd.Flag("output", "Format of what is printed: table or json.").Default("table").EnumVar(&cfg.output, "table", "json")
	commands := map[string]command{}
	for _, add := range []func(*kingpin.CmdClause, *bucketConfig) (string, command){
		addBucketLs, addBucketInspect, addBucketVerify, addBucketMark, addBucketCleanup, addBucketRewrite, addBucketRetention,
	} {
		name, f := add(cmd, cfg)
		commands[name] = f
	}
	return commands
}

// withBlocks opens the bucket for the time of do.
func (c *bucketConfig) withBlocks(ctx context.Context, do func(*bucket.Blocks) error) error {
	blocks, closer, err := c.objstore.openBlocks("")
	if err != nil {
		return err
	}
	return stopped(ctx, closeAfter(do(blocks), closer))
}

// stopped makes a failure of being told to stop, which is none for a node: what the command was to do is not done.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		// As text: it must not be taken for context.Canceled.
		return fmt.Errorf("stopped before it was done: %s", oneLine(err))
	}
	return err
}

// printJSON writes v as --output=json does.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// exitError ends the process with a code of its own, and says nothing more: what there was to say was printed.
type exitError struct{ code int }

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// filterConfig is what the flags that choose blocks set.
type filterConfig struct {
	ids         []string
	selector    string
	tenants     []string
	resolutions []string
	from, until string
}

func addFilterFlags(cmd *kingpin.CmdClause) *filterConfig {
	f := &filterConfig{}
	cmd.Flag("id", "Only this block. Repeatable.").PlaceHolder("ULID").StringsVar(&f.ids)
	cmd.Flag("selector", `Only blocks whose external labels match, such as '{receive_replica="a"}'.`).PlaceHolder("SELECTOR").StringVar(&f.selector)
	cmd.Flag("tenant", "Only blocks of this tenant. Repeatable.").PlaceHolder("TENANT").StringsVar(&f.tenants)
	cmd.Flag("resolution", "Only blocks of this resolution: raw, 5m or 1h. Repeatable.").EnumsVar(&f.resolutions, "raw", "5m", "1h")
	cmd.Flag("from", "Only blocks with samples at or after this time: RFC 3339, or how long ago.").PlaceHolder("TIME").StringVar(&f.from)
	cmd.Flag("until", "Only blocks with samples before this time: RFC 3339, or how long ago.").PlaceHolder("TIME").StringVar(&f.until)
	return f
}

func (c *filterConfig) filter(now time.Time) (buckettool.Filter, error) {
	f := buckettool.Filter{Tenants: c.tenants, DefaultTenant: defaultTenant}
	var err error
	if f.IDs, err = parseIDs(c.ids); err != nil {
		return f, err
	}
	if c.selector != "" {
		if f.Matchers, err = parser.NewParser(parser.Options{}).ParseMetricSelector(c.selector); err != nil {
			return f, fmt.Errorf("--selector=%q: %w", c.selector, err)
		}
	}
	for _, r := range c.resolutions {
		f.Resolutions = append(f.Resolutions, map[string]int64{"raw": 0, "5m": 300_000, "1h": 3_600_000}[r])
	}
	if c.from != "" {
		if f.From, err = parseTime("--from", c.from, now); err != nil {
			return f, err
		}
	}
	if c.until != "" {
		if f.Until, err = parseTime("--until", c.until, now); err != nil {
			return f, err
		}
	}
	return f, nil
}

func parseIDs(texts []string) ([]ulid.ULID, error) {
	var ids []ulid.ULID
	for _, text := range texts {
		id, err := ulid.ParseStrict(text)
		if err != nil || id.String() != text {
			return nil, fmt.Errorf("--id=%q is not the name of a block: 26 letters and digits, upper case", text)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// someIDs is parseIDs for a command that needs at least one.
func someIDs(texts []string) ([]ulid.ULID, error) {
	if len(texts) == 0 {
		return nil, errors.New("--id is missing: it names the block")
	}
	return parseIDs(texts)
}
