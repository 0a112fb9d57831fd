// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Command penstock runs one member of a Penstock cluster: it receives
// Prometheus remote write, keeps it on the members that own it, ships finished
// blocks to object storage and answers PromQL over all of it.
//
//	penstock                 run a node (every flag has a default)
//	penstock demo            three nodes and a simulated HA pair on this machine
//	penstock loadgen         pre-encoded remote-write load against a receiver
//	penstock loadgen blocks  blocks of a formula, for a year or more
//	penstock ring            the members and slots of a running cluster
//	penstock senders         what each sender delivered and what became of it
//	penstock drain           take a member out of the cluster for good
//	penstock bucket          list, verify, change and clean up blocks in object storage
//	penstock import          bring blocks of a Prometheus or of another bucket into the bucket
//	penstock check config    read the flags and files of a node and say what is wrong
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

func main() {
	// The first signal stops in order; a second one, with the default handler
	// back in place, ends the process at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	var exit exitError
	if errors.As(err, &exit) {
		os.Exit(exit.code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "penstock: error: %s\n", oneLine(err))
		os.Exit(1)
	}
}

// oneLine is the text of an error on one line: YAML parsers and joined errors use several.
func oneLine(err error) string {
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, " ")
}

// run parses args and runs the chosen subcommand until it is done or ctx ends.
func run(ctx context.Context, args []string, out io.Writer) error {
	app := kingpin.New("penstock", "Prometheus remote-write receiver and ingest cluster.")
	app.Version(version.Print("penstock"))
	app.HelpFlag.Short('h')
	app.UsageWriter(out)
	// The flags of a node belong to a command that nobody types; the short help leaves them out.
	app.UsageTemplate(kingpin.LongHelpTemplate)

	commands := map[string]func(context.Context, io.Writer) error{}
	for _, add := range []func(*kingpin.Application) (string, func(context.Context, io.Writer) error){
		addRun, addDemo, addLoadgen, addLoadgenBlocks, addRing, addSenders, addDrain, addCheck, addImport,
	} {
		name, f := add(app)
		commands[name] = f
	}
	maps.Copy(commands, addBucket(app))

	name, err := app.Parse(args)
	if err != nil {
		return fmt.Errorf("%w; `penstock --help` lists commands and flags", nameFlag(app, args, err))
	}
	if err := commands[name](ctx, out); !errors.Is(err, context.Canceled) || ctx.Err() == nil {
		return err
	}
	return nil // Being told to stop is no failure.
}

// nameFlag adds to the error of a value the flag that it was given to, which
// kingpin leaves out.
func nameFlag(app *kingpin.Application, args []string, err error) error {
	parsed, parseErr := app.ParseContext(args)
	if parseErr != nil {
		return err // It names the flag itself.
	}
	for _, element := range parsed.Elements {
		flag, ok := element.Clause.(*kingpin.FlagClause)
		if !ok || element.Value == nil {
			continue
		}
		if setErr := flag.Model().Value.Set(*element.Value); setErr != nil && setErr.Error() == err.Error() {
			return fmt.Errorf("--%s=%q: %w", flag.Model().Name, *element.Value, err)
		}
	}
	return err
}
