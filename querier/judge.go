// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

const (
	reasonReplaced = "disk replaced, being refilled"
	reasonStranger = "not known here yet"
)

// said is what came with an answer: since when the member holds all that it was given, and
// what it says of itself and of the others.
type said struct {
	localStart int64
	accepts    int64 // See headerAcceptsFrom.
	testimony
}

// judge hears what the members that answered say, and returns who lacks something though the
// asking side has not heard of it, by the position of the member, and who is a member though it
// has not heard of that one. heard[i] is nil for a member that did not answer. It is pure.
//
// # Why a complete answer has every acknowledged sample
//
// Take a sample that was acknowledged before the question. W owners had it then. Those that
// are known to the asking side, hold it still and answered have given it. Any other is counted
// as missing:
//
//  1. It did not answer: as ever.
//  2. It lost the sample, and knows: it was made to before it answers anything. It says so.
//  3. It lost the sample with its disk. Then it answers from another generation than the one
//     that was acknowledged from, and says which. Somebody who answered knows a former one:
//     see 4. Whether the member was given back what that held, it says itself (refilled), as
//     nobody knows better.
//  4. The asking side has not heard of it. A member takes its first write when those that know it
//     could not all be missing from a complete answer (ring.Introducer). So one of them is among those
//     that answered, and names it. They remember it, with the generation, on disk. Who lost that disk counts
//     as missing; if that is the asking side itself, it knows so, or is a Newcomer.
//
// So all W owners are missing, and of those a complete answer lacks at most RF-W, or those of
// one zone, where the ring puts one owner: the answer is not complete. That asks for answers
// only, and nothing of how fast gossip is. Whom the asking side knows and the others do not, it asks.
func judge(ms Membership, heard []*said) (lacks []string, strangers []Member) {
	facts := ms.facts()
	for _, h := range heard {
		if h != nil {
			facts = append(facts, h.facts...)
		}
	}
	ended := map[string]uint64{}
	for _, f := range facts {
		ended[f.name] = max(ended[f.name], f.ended)
	}
	lacks = make([]string, len(ms.Members))
	known := make(map[string]int, len(ms.Members))
	for i, m := range ms.Members {
		known[m.Name] = i
		if h := heard[i]; h != nil && !m.Excused {
			lacks[i] = lackOf(m, ms.reportOf(m, h), facts, ended[m.Name])
		}
	}
	for _, f := range facts {
		if _, ok := known[f.name]; ok || f.generation <= ended[f.name] {
			continue
		}
		known[f.name] = -1
		strangers = append(strangers, Member{Name: f.name, Zone: f.zone, Generation: f.generation})
	}
	return lacks, strangers
}

// reportOf is what a member says of its own data; what we know of it, if it says nothing.
func (ms Membership) reportOf(m Member, h *said) selfReport {
	switch {
	case m.Self:
		return ms.self()
	case h.self.said:
		return h.self
	default:
		return selfReport{generation: m.Generation, refilled: m.Refilled}
	}
}

// lackOf says what a member lacks, or nothing.
func lackOf(m Member, self selfReport, facts []fact, ended uint64) string {
	if self.lacks != "" {
		return self.lacks
	}
	former := uint64(0)
	for _, f := range facts {
		if f.name != m.Name {
			continue
		}
		if former = max(former, f.replaced); f.generation != self.generation {
			former = max(former, f.generation)
		}
	}
	if former > max(ended, self.refilled) {
		return reasonReplaced
	}
	return ""
}
