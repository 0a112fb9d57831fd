// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// quorum is how many copies make a write: a majority of the configured
// replication factor, never of the members that happen to be alive.
func quorum(rf int) int { return rf/2 + 1 }

// decide turns the verdicts of a series' owners into an outcome. It depends on the
// verdicts only, not on the order in which they arrived: while an owner is pending
// it returns undecided unless no answer of the pending ones could change the
// outcome. A quorum of accepted and a blocking number of rejected exclude each
// other, because together they are more than the owners there are.
//
// When neither is reached the write is unavailable, which a sender retries. That
// would be forever if the owners that answered disagree and the others are known
// to be away, so in that one case, with a quorum of answers and no slow owner left
// that could tip it, the outcome is mixed, which is a rejection.
//
// There may be fewer verdicts than rf when the ring has fewer members.
func decide(verdicts []Verdict, rf int) outcome {
	need := quorum(rf)
	block := rf - need + 1

	var accepted, rejected, slow, waiting int
	for _, v := range verdicts {
		switch v {
		case Accepted:
			accepted++
		case Rejected:
			rejected++
		case Unavailable:
			slow++
		case pending:
			waiting++
		}
	}

	switch {
	case accepted >= need:
		return outcomeAccepted
	case rejected >= block:
		return outcomeRejected
	case waiting == 0:
		tippable := accepted+slow >= need || rejected+slow >= block
		if accepted+rejected >= need && !tippable {
			return outcomeMixed
		}
		return outcomeUnavailable
	case accepted+rejected+waiting < need && rejected+waiting < block:
		return outcomeUnavailable
	default:
		return undecided
	}
}
