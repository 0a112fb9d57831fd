// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/penstock-io/penstock/e2e/lab"
)

// printTable prints the least that each case came to, and how many times that of Penstock's one node Prometheus took.
func printTable(w io.Writer, cfg config, results []result) {
	fmt.Fprintf(w, "\nCPU microseconds per sample, all processes summed: %d series, requests of 2,000 samples, 4 connections.\n", cfg.series)
	fmt.Fprintf(w, "cold: creation included. warm: the series exist. ratio: Prometheus / Penstock of one node. Nodes keep RF=%d copies where they are several.\n\n", lab.Replicas)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "remote write\treceiver\tnodes\tscrapes\twarm\tcold\tratio warm\tratio cold\tmax RSS MB\tbytes between members per sample\tretries\t")
	for _, c := range cases(cfg) {
		r, ok := least(results, c)
		if !ok {
			continue
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%.2f\t%.2f\t%s\t%s\t%.0f\t%s\t%d\t\n", c.protocol, c.receiver, c.nodes, c.ticks, r.warm, r.cold,
			ratio(results, c, r.warm, func(r result) float64 { return r.warm }),
			ratio(results, c, r.cold, func(r result) float64 { return r.cold }),
			r.rssMB, peerBytes(r), r.retries)
	}
	tw.Flush()
}

// least takes the least of each figure over the rounds.
func least(results []result, c benchCase) (out result, ok bool) {
	for _, r := range results {
		if r.benchCase != c {
			continue
		}
		if !ok {
			out, ok = r, true
			continue
		}
		out.cold, out.warm, out.rssMB = min(out.cold, r.cold), min(out.warm, r.warm), min(out.rssMB, r.rssMB)
		out.retries += r.retries
	}
	return out, ok
}

// ratio compares one node of Penstock with Prometheus; others are not comparable and get a dash.
func ratio(results []result, c benchCase, own float64, figure func(result) float64) string {
	other, ok := least(results, benchCase{prometheus, 1, c.protocol, c.ticks})
	if !ok || c.receiver != penstock || c.nodes != 1 || own == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", figure(other)/own)
}

func peerBytes(r result) string {
	if r.nodes == 1 {
		return "-"
	}
	return fmt.Sprintf("%.0f", r.peerBytes)
}
