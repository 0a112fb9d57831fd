// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// printTable prints the least that each query came to in each way, and the ratios that there are goals for.
func printTable(w io.Writer, cfg config, results []result) {
	fmt.Fprintf(w, "\nCPU milliseconds per query, all processes of a receiver summed: %d series each of a counter and of histogram buckets, every 15 s,\n", cfg.series)
	fmt.Fprintln(w, "two hours in a block and two in the head. Least of", cfg.rounds, "rounds.")
	fmt.Fprintln(w, "one/P: one node to Prometheus. three/P: three processes with three copies to Prometheus. pair/all: both replicas deduplicated")
	fmt.Fprintln(w, "to the same query with dedup=false, whose answer has both. pair/one: to the same query about one of the replicas.")
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "query\t")
	for _, c := range ways() {
		fmt.Fprint(tw, c.name, "\t")
	}
	fmt.Fprintln(tw, "one/P\tthree/P\tpair/all\tpair/one\t")
	seen := map[string]bool{}
	for _, r := range results {
		if seen[r.query] {
			continue
		}
		seen[r.query] = true
		fmt.Fprint(tw, r.query, "\t")
		var cpu []time.Duration
		for _, c := range ways() {
			d := least(results, r.query, c.name)
			cpu = append(cpu, d)
			fmt.Fprintf(tw, "%.1f\t", float64(d)/float64(time.Millisecond))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t\n", ratio(cpu[1], cpu[0]), ratio(cpu[2], cpu[0]), ratio(cpu[3], cpu[4]), ratio(cpu[3], cpu[5]))
	}
	tw.Flush()
}

func least(results []result, query, way string) time.Duration {
	var out time.Duration
	for _, r := range results {
		if r.query == query && r.way == way && (out == 0 || r.cpu < out) {
			out = r.cpu
		}
	}
	return out
}

func ratio(a, b time.Duration) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a)/float64(b))
}
