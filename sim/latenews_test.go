// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import "testing"

// lateNewsSeeds is how many runs each kind of late news has to itself.
const lateNewsSeeds = 100

// TestLateNews plays what TestMutations plays without what protects from it: a member asks others
// while it has not heard that one of them lost its data, or that there is one more.
func TestLateNews(t *testing.T) {
	for name, focus := range map[string]func(*plan){"loss": lateNewsOfALoss, "member": lateNewsOfAMember} {
		t.Run(name, func(t *testing.T) {
			for s := seed(1); s <= lateNewsSeeds; s++ {
				p := newPlan(s)
				focus(&p)
				if res := play(t, p, safety{}); len(res.violations) > 0 {
					t.Error(report(res))
				}
			}
		})
	}
}
