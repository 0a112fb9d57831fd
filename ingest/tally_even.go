// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

// Where every member owns every series and each owner has said one thing of all of
// them, the verdicts of one series are those of all. A tally then counts owners and
// not series; the first reply that tells series apart spreads what was said over the
// votes of each, and from there on it counts them one by one. decide is the same.

// recordEven notes a reply that holds for every series, and returns false if it is
// none. A rejection is none: each series has a reason of its own to tell.
func (t *tally) recordEven(sh *share, r Reply) bool {
	if len(r.Faults) > 0 || r.All == Rejected {
		return false
	}
	t.said[sh.member] = r.All
	t.decideEven()
	return true
}

func (t *tally) decideEven() {
	if t.all != undecided {
		return
	}
	if t.all = decide(t.said, t.rf); t.all != undecided {
		t.undecided = 0
	}
}

// spread gives every series the votes that stood for all of them, and the shares their
// ranks.
func (t *tally) spread() {
	t.even = false
	t.makeVotes()
	for n := range t.plan.shares {
		sh := &t.plan.shares[n]
		sh.ranks = t.plan.ranksOf(t.batch, sh.member)
		for pos, i := range sh.part {
			t.votes[int(i)*t.width+int(sh.ranks[pos])] = t.said[sh.member]
		}
	}
	for _, i := range t.batch.valid {
		t.outcomes[i] = t.all
	}
}

// ranksOf returns which owner of each valid series a member is. It must be one.
func (p *plan) ranksOf(b *Batch, member int) []uint8 {
	ranks := make([]uint8, 0, len(b.valid))
	for _, i := range b.valid {
		for rank, owner := range p.ring.Owners(b.series[i].slot) {
			if int(owner) == member {
				ranks = append(ranks, uint8(rank))
			}
		}
	}
	return ranks
}

func (t *tally) finishEven() {
	if t.all != undecided {
		return
	}
	for member, v := range t.said {
		if v == pending {
			t.said[member] = Unavailable
		}
	}
	t.decideEven()
}

// outcomeEven sums up: without rejections everything is accepted or unavailable.
func (t *tally) outcomeEven() Outcome {
	if t.all == outcomeAccepted {
		return Outcome{Written: t.batch.offered()}
	}
	return Outcome{Unavailable: len(t.batch.valid), Cause: t.unavailableCause()}
}

// missedPart returns the series of a share that its owner lacks.
func (t *tally) missedPart(sh *share) []uint32 {
	if t.even {
		if v := t.said[sh.member]; v == Accepted || t.all != outcomeAccepted {
			return nil
		}
		return sh.part
	}
	var part []uint32
	for pos, i := range sh.part {
		if t.missed(i, sh.ranks[pos]) {
			part = append(part, i)
		}
	}
	return part
}
