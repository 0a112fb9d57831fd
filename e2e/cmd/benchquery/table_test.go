// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"time"
)

// TestTable takes the least of two rounds, and compares with the right columns.
func TestTable(t *testing.T) {
	var results []result
	for i, w := range ways() {
		cpu := time.Duration(i+1) * 10 * time.Millisecond
		results = append(results, result{query: "q", way: w.name, cpu: 2 * cpu}, result{query: "q", way: w.name, cpu: cpu})
	}
	var out strings.Builder
	printTable(&out, config{series: 10, rounds: 2}, results)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	got := strings.Join(strings.Fields(lines[len(lines)-1]), " ")
	if want := "q 10.0 20.0 30.0 40.0 50.0 60.0 2.00 3.00 0.80 0.67"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestPath asks about one replica only where that is the way.
func TestPath(t *testing.T) {
	end := time.Unix(7200, 0)
	for _, q := range queries(end) {
		for _, w := range ways() {
			path := q.path(w)
			if strings.Contains(path, "SEL") || strings.Contains(path, "prometheus_replica") != w.half {
				t.Errorf("%s, %s: %s", q.name, w.name, path)
			}
		}
	}
}
