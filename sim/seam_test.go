// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"

	"github.com/penstock-io/penstock/ring"
)

// safety says which safeties are switched off. A run without any of them must pass; a
// run without one of them must not, see TestMutations.
type safety struct {
	hintsOff      bool // Hints are accepted and dropped.
	quorumOne     bool // One owner is a quorum.
	failStopOff   bool // A TSDB goes on after a failed write.
	generationOff bool // A member without its data counts as whole.
	majorityOff   bool // Members are forgotten, and writes taken, without a majority.

	testimonyOff    bool // Answers do not say what the member lacks and whom it knows.
	debtsOff        bool // Writes to fewer members than copies are not remembered.
	bootIDOff       bool // A crash of the host is not told from one of the process, as far as hints go.
	introductionOff bool // A member takes writes although nobody may know it.
}

// weaken takes out of a view what a mutation switches off.
func (s safety) weaken(v *ring.View) *ring.View {
	weak := *v
	if s.majorityOff {
		weak.MinoritySince = zeroTime
	}
	if s.generationOff {
		weak.Members = slices.Clone(v.Members)
		for i := range weak.Members {
			weak.Members[i].Holes, weak.Members[i].Replaced = false, 0
		}
	}
	return &weak
}
