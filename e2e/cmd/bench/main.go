// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Bench measures what remote write costs: it builds Prometheus and Penstock, sends both the same load, one after the
// other, and prints the CPU time of the receivers per sample side by side.
//
//	for each protocol:  Prometheus, Penstock, Penstock of three nodes: start, cold load, warm load, stop
//	                    Penstock of five nodes, for the bytes between members: a quarter of the scrapes
//
// The load is encoded before the clock starts, by `penstock loadgen`, and is the same bytes for every receiver. In the
// cold one the series are created; the warm one goes on with them. It needs Linux, whose /proc has the CPU times.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// config is what the flags set.
type config struct {
	series, ticks, rounds int
	penstock, prometheus  string // programs
}

func main() {
	cfg := config{}
	flag.IntVar(&cfg.series, "series", 100_000, "series of the load")
	flag.IntVar(&cfg.ticks, "ticks", 40, "scrapes of each load")
	flag.IntVar(&cfg.rounds, "rounds", 1, "how often everything is measured; the least is told, as other work only adds to it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) error {
	var err error
	fmt.Println("building Prometheus (minutes, the first time) and Penstock ...")
	if cfg.prometheus, err = harness.BuildPrometheus(ctx); err != nil {
		return err
	}
	if cfg.penstock, err = harness.BuildPenstock(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "penstock-bench-")
	if err != nil {
		return fmt.Errorf("create the directory of the receivers: %w", err)
	}
	defer os.RemoveAll(dir)

	// One time for all, so that every receiver is sent the same bytes.
	b := bench{cfg: cfg, dir: dir, end: time.Now()}
	var results []result
	for round := range cfg.rounds {
		for _, c := range cases(cfg) {
			fmt.Printf("round %d of %d: %s ...\n", round+1, cfg.rounds, c)
			r, err := b.measure(ctx, c)
			if err != nil {
				return fmt.Errorf("measure %s: %w", c, err)
			}
			results = append(results, r)
		}
	}
	printTable(os.Stdout, cfg, results)
	return nil
}

// benchCase is one receiver under one protocol.
type benchCase struct {
	receiver string
	nodes    int
	protocol string
	ticks    int // scrapes of each load
}

const (
	prometheus = "Prometheus"
	penstock   = "Penstock"
)

func (c benchCase) String() string {
	return fmt.Sprintf("%s, remote write %s, %d node(s)", c.receiver, c.protocol, c.nodes)
}

// cases are in the order in which they run: what is compared is close together in time.
func cases(cfg config) []benchCase {
	var out []benchCase
	for _, protocol := range []string{"1.0", "2.0"} {
		out = append(out,
			benchCase{prometheus, 1, protocol, cfg.ticks},
			benchCase{penstock, 1, protocol, cfg.ticks},
			benchCase{penstock, 3, protocol, cfg.ticks},
			benchCase{penstock, 5, protocol, max(1, cfg.ticks/4)},
		)
	}
	return out
}
