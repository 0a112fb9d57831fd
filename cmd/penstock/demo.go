// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/model"
)

const (
	// A head is cut when it spans one and a half blocks and looked at four times a
	// block, so that blocks of two minutes are uploaded after about four: short
	// enough to wait for, and long enough that a chunk, of 24 samples, is one.
	demoBlockDuration = 2 * time.Minute

	// Prometheus scrapes every 15 s or more; a demo should move.
	demoScrapeInterval = 5 * time.Second

	// Time to see what a cluster with a dead node looks like.
	demoRestartDelay = 15 * time.Second

	// More nodes than this are no demo, and each costs two processes' memory.
	demoNodesMax = 9

	// 250,000 series on every node is what a laptop can take.
	demoTargetsMax = 1000
)

// demoConfig is what the flags of `penstock demo` set.
type demoConfig struct {
	nodes    int
	targets  int
	duration model.Duration

	// command makes the process of a node from its flags. Tests put a stand-in
	// for this program here, and shorter times.
	command        func(args ...string) (*exec.Cmd, error)
	restartDelay   time.Duration
	scrapeInterval time.Duration
}

// addDemo declares `penstock demo`: a cluster and an HA pair on this machine,
// to look at and to break.
//
//	penstock demo ─┬─ penstock (node-1) ◀─┐
//	               ├─ penstock (node-2) ◀─┼─ round robin, retries ─┬─ replica a (remote write 1.0)
//	               ├─ penstock (node-3) ◀─┘                        └─ replica b (remote write 2.0)
//	               └─ summary, from the nodes' /metrics and ring status
//
// The nodes are processes, so that they can be killed; the pair runs in the
// process of the demo. Everything lies in one temporary directory.
func addDemo(app *kingpin.Application) (name string, run func(ctx context.Context, out io.Writer) error) {
	cfg := &demoConfig{command: ownCommand, restartDelay: demoRestartDelay, scrapeInterval: demoScrapeInterval}
	cmd := app.Command("demo", "Run a cluster and a simulated HA pair of Prometheus servers on this machine until Ctrl-C.")
	cmd.Flag("nodes", "Nodes of the cluster.").Default("3").IntVar(&cfg.nodes)
	cmd.Flag("targets", "Synthetic targets that the pair scrapes, of about 260 series each.").Default("8").IntVar(&cfg.targets)
	cmd.Flag("duration", "End after this time. 0: run until Ctrl-C.").Default("0s").SetValue(&cfg.duration)
	return cmd.FullCommand(), cfg.run
}

// ownCommand runs this very program.
func ownCommand(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program to start nodes from: %w", err)
	}
	return exec.Command(self, args...), nil
}

func (c *demoConfig) check() error {
	if c.nodes < 1 || c.nodes > demoNodesMax {
		return fmt.Errorf("--nodes=%d must be between 1 and %d", c.nodes, demoNodesMax)
	}
	if c.targets < 1 || c.targets > demoTargetsMax {
		return fmt.Errorf("--targets=%d must be between 1 and %d", c.targets, demoTargetsMax)
	}
	return nil
}

// run returns after everything that it started has ended and everything that
// it wrote is removed, whatever the reason of the end.
func (c *demoConfig) run(ctx context.Context, out io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	running, patient, release := demoSignals(ctx)
	defer release()
	if c.duration > 0 {
		var cancel context.CancelFunc
		running, cancel = context.WithTimeout(running, time.Duration(c.duration))
		defer cancel()
	}
	return c.runOn(running, patient, newDemoScreen(out))
}

func (c *demoConfig) runOn(ctx, patient context.Context, screen *demoScreen) error {
	dir, err := newDemoDir(os.TempDir())
	if err != nil {
		return err
	}
	layout, err := newDemoLayout(dir.path, c.nodes)
	if err == nil {
		err = newDemo(c, layout, screen).run(ctx, patient)
	}
	if err := errors.Join(err, dir.remove()); err != nil {
		return err
	}
	screen.print("Stopped. Nothing is left behind.")
	return nil
}
