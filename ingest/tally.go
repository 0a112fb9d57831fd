// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"slices"
)

// tally collects what the owners of a batch's series say, and decides. It belongs
// to one request and is not safe for concurrent use.
type tally struct {
	batch *Batch
	rf    int
	width int
	// even is set while the owners have said the same of every series. Then said and
	// all stand for what votes and outcomes have for each of them.
	even bool
	plan plan
	said []Verdict // by member of the ring
	all  outcome

	// votes has width verdicts per series of the batch, by rank of the owner.
	votes []Verdict
	// outcomes has one outcome per series of the batch.
	outcomes []outcome
	// undecided is how many valid series have no outcome yet.
	undecided int
	// partial has, for a series of which an owner refused some items and took the
	// others, the refused items by rank. The vote of that owner is Accepted.
	partial map[uint32][][]uint32
	// why has the first refusal of a series, by rank so that it does not depend on
	// the order of arrival.
	why map[uint32]refusedBy
	// cause is why some owner was unavailable, and causeDown why one was not asked,
	// which is told only when nothing else is known.
	cause, causeDown string
}

type refusedBy struct {
	rank   uint8
	reason Reason
	detail string
}

// voteMemory is what a tally counts in; it belongs to the batch and is reused.
type voteMemory struct {
	said     []Verdict
	votes    []Verdict
	outcomes []outcome
}

// newTally returns a tally that lives as long as the batch; a batch has one at a time.
func newTally(b *Batch, rf int, p plan) *tally {
	t := &tally{batch: b, rf: rf, width: p.width, plan: p, undecided: len(b.valid)}
	if p.whole {
		t.even = true
		b.votes.said = zeroed(b.votes.said, p.width)
		t.said = b.votes.said
		return t
	}
	t.makeVotes()
	return t
}

func (t *tally) makeVotes() {
	m := &t.batch.votes
	m.votes = zeroed(m.votes, len(t.batch.series)*t.width)
	m.outcomes = zeroed(m.outcomes, len(t.batch.series))
	t.votes, t.outcomes = m.votes, m.outcomes
}

// zeroed returns s with n zero elements.
func zeroed[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

// record takes one owner's reply for its share and decides what it can.
func (t *tally) record(sh *share, r Reply) {
	t.noteCause(r.All, r.Detail)
	if t.even {
		if t.recordEven(sh, r) {
			return
		}
		t.spread()
	}
	for pos, i := range sh.part {
		t.votes[int(i)*t.width+int(sh.ranks[pos])] = r.All
	}
	if r.All == Rejected {
		for pos, i := range sh.part {
			t.refusedBy(i, sh.ranks[pos], r.Reason, r.Detail)
		}
	}
	for _, f := range r.Faults {
		t.recordFault(sh.part[f.Pos], sh.ranks[f.Pos], f)
	}
	for _, i := range sh.part {
		t.settle(i)
	}
}

func (t *tally) recordFault(i uint32, rank uint8, f Fault) {
	vote := &t.votes[int(i)*t.width+int(rank)]
	switch {
	case f.Verdict == Rejected && f.Items != nil:
		*vote = Accepted
		if t.partial == nil {
			t.partial = map[uint32][][]uint32{}
		}
		if t.partial[i] == nil {
			t.partial[i] = make([][]uint32, t.width)
		}
		t.partial[i][rank] = f.Items
		t.refusedBy(i, rank, f.Reason, f.Detail)
	case f.Verdict == Rejected:
		*vote = Rejected
		t.refusedBy(i, rank, f.Reason, f.Detail)
	default:
		*vote = f.Verdict
		t.noteCause(f.Verdict, f.Detail)
	}
}

// noteCause keeps one of the causes, the same in whatever order they arrive.
func (t *tally) noteCause(v Verdict, detail string) {
	cause := &t.cause
	switch v {
	case Accepted, Rejected:
		return
	case down:
		cause = &t.causeDown
	}
	if *cause == "" || detail != "" && detail < *cause {
		*cause = detail
	}
}

func (t *tally) refusedBy(i uint32, rank uint8, reason Reason, detail string) {
	if t.why == nil {
		t.why = map[uint32]refusedBy{}
	}
	if have, ok := t.why[i]; !ok || rank < have.rank {
		t.why[i] = refusedBy{rank, reason, detail}
	}
}

func (t *tally) votesOf(i uint32) []Verdict {
	return t.votes[int(i)*t.width : (int(i)+1)*t.width]
}

// settle decides series i if it can be decided.
func (t *tally) settle(i uint32) {
	if t.outcomes[i] != undecided {
		return
	}
	o := decide(t.votesOf(i), t.rf)
	if o != undecided && t.partial[i] != nil && !t.itemsSettled(i) {
		return
	}
	if t.outcomes[i] = o; o != undecided {
		t.undecided--
	}
}

// itemsSettled tells whether every item of a series with partial refusals is decided.
func (t *tally) itemsSettled(i uint32) bool {
	settled := true
	t.eachItem(i, func(_ uint32, o outcome) { settled = settled && o != undecided })
	return settled
}

// eachItem decides every item of series i by itself.
func (t *tally) eachItem(i uint32, f func(item uint32, o outcome)) {
	refused := make([][]uint32, t.width)
	copy(refused, t.partial[i])
	votes := make([]Verdict, t.width)
	for item := range uint32(t.batch.counts(&t.batch.series[i]).total()) {
		copy(votes, t.votesOf(i))
		for rank, items := range refused {
			if len(items) > 0 && items[0] == item {
				votes[rank] = Rejected
				refused[rank] = items[1:]
			}
		}
		f(item, decide(votes, t.rf))
	}
}

// finish takes every owner that has not answered as unavailable, and decides.
func (t *tally) finish() {
	if t.even {
		t.finishEven()
		return
	}
	for _, i := range t.batch.valid {
		if t.outcomes[i] != undecided {
			continue
		}
		votes := t.votesOf(i)
		for rank, v := range votes {
			if v == pending {
				votes[rank] = Unavailable
			}
		}
		t.settle(i)
	}
}

// missed tells whether the owner of the given rank lacks series i, which the answer
// will promise: some of it is accepted and the owner has not said what it did.
func (t *tally) missed(i uint32, rank uint8) bool {
	switch t.votes[int(i)*t.width+int(rank)] {
	case Accepted, Rejected:
		return false
	}
	return t.outcomes[i] == outcomeAccepted
}

// outcome sums the decisions up. All series must be decided.
func (t *tally) outcome() Outcome {
	if t.even {
		return t.outcomeEven()
	}
	var o Outcome
	for _, i := range t.batch.valid {
		counts := t.batch.counts(&t.batch.series[i])
		switch {
		case t.partial[i] != nil:
			t.addItems(&o, i)
		case t.outcomes[i] == outcomeAccepted:
			o.Written.add(counts)
		case t.outcomes[i] == outcomeUnavailable:
			o.Unavailable++
		default:
			o.Rejected = append(o.Rejected, t.rejection(i, counts, t.outcomes[i] == outcomeMixed))
		}
	}
	if o.Unavailable > 0 {
		o.Cause = t.unavailableCause()
	}
	return o
}

func (t *tally) unavailableCause() string {
	return cmp.Or(t.cause, t.causeDown, "not enough owners answered in time")
}

// addItems sums up a series whose items have outcomes of their own.
func (t *tally) addItems(o *Outcome, i uint32) {
	s := &t.batch.series[i]
	var refused Counts
	var missing, mixed bool
	t.eachItem(i, func(item uint32, decided outcome) {
		kind := t.batch.kind(s, item)
		switch {
		case decided == outcomeAccepted:
			o.Written.add(kind)
		case kind.Exemplars > 0:
			// Not written, and not a failure: see exemplar_append.go.
		case decided == outcomeUnavailable:
			missing = true
		default:
			refused.add(kind)
			mixed = mixed || decided == outcomeMixed
		}
	})
	if missing {
		o.Unavailable++
	}
	if refused.total() > 0 {
		o.Rejected = append(o.Rejected, t.rejection(i, refused, mixed))
	}
}

func (t *tally) rejection(i uint32, items Counts, mixed bool) Rejection {
	w := t.why[i]
	if mixed {
		w.reason = ReasonMixed
		w.detail = "owners disagree and the others are away: " + w.detail
	}
	return Rejection{Series: int(i), Items: items, Reason: w.reason, Detail: w.detail}
}
