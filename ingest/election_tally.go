// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import "slices"

// tallyBallots combines what the owners of a cluster's slot answered: who is elected, for
// the next report, and what a coordinator may do. That is a lease if a majority of the
// rf owners gives one for the same replica, as long as the majority's shortest and
// for the samples of which all of them know that they are covered.
//
// The claim is the highest even where the lease is for another: owners that disagree
// follow it, and those who know better elect anew.
func tallyBallots(ballots []ballot, rf int) (known claim, lease ballot) {
	for _, b := range ballots {
		if b.outranks(known) {
			known = b.claim
		}
	}
	var votes []int64
	for _, b := range ballots {
		if b.Lease <= 0 || b.Elected == "" {
			continue
		}
		votes = votes[:0]
		agreed := b
		for _, o := range ballots {
			if o.Lease > 0 && o.Elected == b.Elected {
				votes = append(votes, o.Lease)
				agreed.From, agreed.To = max(agreed.From, o.From), min(agreed.To, o.To)
			}
		}
		if need := quorum(rf); len(votes) >= need {
			slices.Sort(votes)
			agreed.Lease = votes[len(votes)-need]
			return known, agreed
		}
	}
	return known, ballot{}
}
