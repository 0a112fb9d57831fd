// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

// TestTable takes the least of two rounds and compares only what is comparable.
func TestTable(t *testing.T) {
	one, three := benchCase{penstock, 1, "1.0", 2}, benchCase{penstock, 3, "1.0", 2}
	var out strings.Builder
	printTable(&out, config{series: 10, ticks: 2}, []result{
		{benchCase: benchCase{prometheus, 1, "1.0", 2}, warm: 4, cold: 6, rssMB: 300},
		{benchCase: one, warm: 0.5, cold: 1, rssMB: 200},
		{benchCase: three, warm: 1.5, cold: 2.5, rssMB: 600, peerBytes: 60},
		{benchCase: one, warm: 0.4, cold: 1.5, rssMB: 190, retries: 1},
	})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	f := func(line string, want string) {
		t.Helper()
		if got := strings.Join(strings.Fields(line), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	rows := lines[len(lines)-3:]
	f(rows[0], "1.0 Prometheus 1 2 4.00 6.00 - - 300 - 0")
	f(rows[1], "1.0 Penstock 1 2 0.40 1.00 10.0 6.0 190 - 1")
	f(rows[2], "1.0 Penstock 3 2 1.50 2.50 - - 600 60 0")
}
