// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"testing"
	"time"
)

// mutationSeeds is how many seeds a simulation without one safety may take to notice.
const mutationSeeds = 400

// TestMutations switches off one safety at a time. A simulation that does not notice
// that would not notice a bug there either.
func TestMutations(t *testing.T) {
	for name, m := range map[string]struct {
		safe  safety
		shows string // The promise that must be seen to break.
		focus func(*plan)
	}{
		"hints":            {safety{hintsOff: true}, redundancyRestored, general},
		"quorum":           {safety{quorumOne: true}, durability, general},
		"fail-stop":        {safety{failStopOff: true}, redundancyRestored, general},
		"generation check": {safety{generationOff: true}, durability, general},
		"majority rule":    {safety{majorityOff: true}, minoritySafety, splitInTwo},
		"debts":            {safety{debtsOff: true}, redundancyRestored, forgottenOfThree},
		"boot id":          {safety{bootIDOff: true}, redundancyRestored, general},
		"testimony":        {safety{testimonyOff: true}, durability, lateNewsOfALoss},
		"introduction":     {safety{introductionOff: true}, durability, lateNewsOfAMember},
	} {
		t.Run(name, func(t *testing.T) {
			for s := seed(1); s <= mutationSeeds; s++ {
				p := newPlan(s)
				m.focus(&p)
				res := play(t, p, m.safe)
				i := slices.IndexFunc(res.violations, func(v violation) bool { return v.invariant == m.shows })
				if i >= 0 {
					t.Logf("without %s seed %d breaks: %s", name, s, res.violations[i])
					return
				}
			}
			t.Errorf("%d seeds without %s, and nothing was noticed", mutationSeeds, name)
		})
	}
}

// general is what TestSeeds plays.
func general(*plan) {}

// forgottenOfThree is a member of three that comes back after it was forgotten: there is no third
// to keep hints for meanwhile.
func forgottenOfThree(p *plan) {
	p.members, p.forgetAfter, p.lasts = 3, 40*time.Second, 120*time.Second
	p.faults = []fault{{at: 10 * time.Second, lasts: 20 * time.Second, kind: faultAway}}
}

// lateNewsOfALoss is a disk that is replaced within a moment, while most news are lost, and a member that fails then.
func lateNewsOfALoss(p *plan) {
	p.members, p.gossipLoss, p.suspectAfter, p.crashes = 3, 0.9, 20*time.Second, nil
	p.faults = nil
	for i := range 4 {
		at := time.Duration(15+30*i) * time.Second
		p.faults = append(p.faults,
			fault{at: at, lasts: time.Second, kind: faultReplace, a: i},
			fault{at: at + time.Second, lasts: 10 * time.Second, kind: faultKill, a: i + 1})
	}
}

// lateNewsOfAMember is a member that joins on the far side of a partition. When that ends the one member that it
// met is gone, and most news are lost.
func lateNewsOfAMember(p *plan) {
	p.members, p.gossipLoss, p.suspectAfter, p.forgetAfter, p.crashes = 3, 0.9, 20*time.Second, 90*time.Second, nil
	p.faults = []fault{{at: 15 * time.Second, lasts: 25 * time.Second, kind: faultJoinApart}}
}

// splitInTwo is a partition of five members that lasts until some are forgotten, which
// plans seldom have: it takes four members to have a minority that could go on alone.
func splitInTwo(p *plan) {
	p.members, p.forgetAfter, p.lasts = 5, 40*time.Second, 120*time.Second
	p.faults = append([]fault{{at: 6 * time.Second, lasts: 110 * time.Second, kind: faultHalves, a: 3}}, p.faults...)
}
