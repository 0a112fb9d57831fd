// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import "testing"

// counts are how often each fault is made.
type counts struct{ kills, stops, partitions, fullDisks, newDisks, rolls, scales int }

var (
	// shortCounts take a few minutes together.
	shortCounts = counts{kills: 4, stops: 2, partitions: 3, fullDisks: 2, newDisks: 1, rolls: 1, scales: 1}
	fullCounts  = counts{kills: 50, stops: 20, partitions: 20, fullDisks: 10, newDisks: 3, rolls: 5, scales: 3}
)

// TestFault: under every fault and after all of them, no sample that was acknowledged is lost, none is wrong, and none
// is there twice; no answer is short without saying so.
func TestFault(t *testing.T) {
	r := startRig(t)
	defer r.print()
	n := shortCounts
	if *full {
		n = fullCounts
	}
	r.phase("kill -9", n.kills, r.kill)
	r.phase("SIGSTOP", n.stops, r.stop)
	r.phase("partition", n.partitions, r.partition)
	r.copiesComplete()
	r.phase("full disk", n.fullDisks, r.fillDisk)
	r.rolling(n.rolls)
	if r.knowsRefill() {
		r.phase("new disk", n.newDisks, r.replaceDisk)
		r.copiesComplete()
	}
	r.phase("3-5-3", n.scales, r.scale)
	r.readBack()
}
