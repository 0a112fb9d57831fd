// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"
	"time"
)

// TestRestartsInTheMinority kills two members of five that are cut off, shortly before
// the others forget them: a start must not give them time to go on alone.
func TestRestartsInTheMinority(t *testing.T) {
	for s := seed(1); s <= 20; s++ {
		p := newPlan(s)
		splitInTwo(&p)
		p.gossipLoss, p.syncs, p.crashes = 0, false, nil
		p.faults = []fault{
			p.faults[0],
			{at: 45 * time.Second, lasts: 2 * time.Second, kind: faultKill, a: 0},
			{at: 45 * time.Second, lasts: 2 * time.Second, kind: faultKill, a: 1},
		}
		if res := play(t, p, safety{}); len(res.violations) > 0 {
			t.Error(report(res))
		}
	}
}
