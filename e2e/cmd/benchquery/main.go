// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Benchquery measures what queries cost: it builds Prometheus and Penstock, gives both the same data, and prints the CPU
// time of the servers per query side by side.
//
//	data:     a block of two hours, the same files for everybody, and two hours in the heads, by remote write
//	servers:  Prometheus                what the others are compared with
//	          one node                  the same data
//	          three nodes, RF=3         the same data three times; the CPU of all three is summed
//	          one node with a pair      each series twice, as two Prometheus servers sent it
//	rounds:   every query to each of them, in turn
//
// Every query is asked with Cache-Control: no-store, so that it is evaluated; at the end ranges are asked that may be cached.
// It needs Linux, whose /proc has the CPU times.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

// config is what the flags set.
type config struct {
	series, rounds       int
	penstock, prometheus string // programs
	wait                 bool
	only                 string
}

func main() {
	cfg := config{}
	flag.IntVar(&cfg.series, "series", 20_000, "series of the counter, and as many buckets of a histogram")
	flag.IntVar(&cfg.rounds, "rounds", 3, "how often everything is measured; the least is told, as other work only adds to it")
	flag.StringVar(&cfg.penstock, "penstock", "", "program to measure in place of the one of the tree")
	flag.StringVar(&cfg.prometheus, "prometheus", "", "program to compare with in place of the one of the module")
	flag.StringVar(&cfg.only, "only", "", "measure only queries whose names contain this")
	flag.BoolVar(&cfg.wait, "wait", false, "wait for Enter before the servers are stopped, to look at them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, cfg)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchquery: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) (err error) {
	if cfg.prometheus == "" {
		fmt.Println("building Prometheus (minutes, the first time) ...")
		if cfg.prometheus, err = harness.BuildPrometheus(ctx); err != nil {
			return err
		}
	}
	if cfg.penstock == "" {
		fmt.Println("building Penstock ...")
		if cfg.penstock, err = harness.BuildPenstock(ctx); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "penstock-bench-query-")
	if err != nil {
		return fmt.Errorf("create the directory of the servers: %w", err)
	}
	defer os.RemoveAll(dir)
	// An even hour, where blocks end. Nothing depends on it being now.
	b := &bench{cfg: cfg, dir: dir, data: data{series: cfg.series, end: time.Now().Truncate(blockRange)}}
	defer func() { err = b.stop(err) }()
	if err := b.start(ctx); err != nil {
		return err
	}
	var results []result
	for round := range cfg.rounds {
		for _, q := range queries(b.data.end) {
			if !strings.Contains(q.name, cfg.only) {
				continue
			}
			fmt.Printf("round %d of %d: %s ...\n", round+1, cfg.rounds, q.name)
			r, err := b.measure(ctx, q)
			if err != nil {
				return err
			}
			results = append(results, r...)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("no query has %q in its name", cfg.only)
	}
	printTable(os.Stdout, cfg, results)
	if cfg.wait {
		fmt.Println("\npress Enter to stop the servers")
		_, _ = fmt.Scanln()
	}
	return nil
}
