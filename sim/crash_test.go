// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// crashSeeds is how many runs each crash point has to itself.
const crashSeeds = 4

// TestEveryCrashPoint lets a process die before and after each durable step.
func TestEveryCrashPoint(t *testing.T) {
	for _, point := range crashPoints {
		t.Run(point, func(t *testing.T) {
			died := 0
			for s := seed(1); s <= crashSeeds; s++ {
				p := dyingPlan(s, point)
				t.Run(fmt.Sprintf("seed=%d", s), func(t *testing.T) {
					res := play(t, p, safety{})
					died += res.events.kills[point]
					if len(res.violations) > 0 {
						t.Error(report(res))
					}
				})
			}
			if died == 0 {
				t.Errorf("no process died at %s", point)
			}
		})
	}
}

// dyingPlan is a plan in which processes come by the point, and die there.
func dyingPlan(s seed, point string) plan {
	p := newPlan(s)
	p.members, p.lasts = 3, max(p.lasts, 100*time.Second)
	p.crashes = nil
	for nth := range 3 {
		p.crashes = append(p.crashes, crashKey{point: point, nth: 1 + nth*7*int(s)}) //nolint:gosec // Small.
	}
	leads := fault{at: 10 * time.Second, lasts: 20 * time.Second, kind: faultKill}
	switch {
	case strings.HasPrefix(point, "refill."):
		leads.kind = faultReplace
	case strings.HasPrefix(point, "store.reopen."):
		leads.kind = faultDisk
	case strings.HasPrefix(point, "store.sync."):
		p.syncs = true
	}
	p.faults = []fault{leads, {at: 50 * time.Second, lasts: 20 * time.Second, kind: leads.kind, a: 1}}
	return p
}
