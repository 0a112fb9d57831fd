// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"slices"
)

// The election among the HA replicas of a cluster, as a function of values: what the
// coordinators report goes in, a lease comes out. All times are milliseconds on the
// clock of the owner that computes, except sample timestamps.
//
//	reports                     owner                        coordinators
//	a: stored 0.3 s ago  --->   a is elected, and was   ---> drop the others
//	b: came 0.2 s ago           stored within its bound      for the next 5 s
//
//	a: stored 5.1 s ago  --->   a is silent: no lease   ---> admit everybody
//	a: 6.1, b: 0.1 s ago --->   b was stored since: b   ---> drop the others
//
// Two rules make it safe. A lease for one replica begins only after every lease that
// this owner gave for another has ended; since a coordinator needs leases of a
// majority of the owners, no two coordinators ever drop two replicas at one time. And
// a lease is given only while samples of its replica are being stored, so that
// nothing is dropped for the sake of one that is dead, refused or hopelessly behind.
const (
	// leaseMax is the longest lease, some rounds of reports: coordinators that
	// lose the owners drop for that long and no longer.
	leaseMax = 5_000
	// silenceMin is the least bound on the silence of an elected replica. A sender
	// waits up to 5 s for a batch to fill, backs off up to 5 s, and reports take
	// a second.
	silenceMin = 5_000
	// silenceMax bounds the bound, and is it while the interval has not been learned:
	// no scrape interval that queries can deduplicate needs more.
	silenceMax = 180_000
	// silenceSlack is what is added to two intervals for batching and reports.
	silenceSlack = 2_000
	// behindSlack is how much further than it may be silent an elected replica may
	// trail another in the timestamps of its samples.
	behindSlack = 10_000
	// coverMargin is how far the timestamps of one sender's requests are out of
	// order: its shards fill their batches independently, for up to 5 s each.
	coverMargin = 10_000
	// gapMin is the least distance between requests that counts as one: the age of
	// a request takes some time to travel, and is reported in every round.
	gapMin = 500
	// gapsKept is how many distances between requests the interval is learned from,
	// and gapsLearned how many it takes.
	gapsKept, gapsLearned = 32, 4
	// haReplicasMax bounds the replicas of a cluster. The longest unheard goes.
	haReplicasMax = 8
)

// claim is who is elected. Each change has a higher term.
type claim struct {
	Term    uint64 `json:"term"`
	Elected string `json:"elected"`
}

// outranks tells whether owners that disagree should follow c rather than o. It is a
// total order over the claims that name somebody.
func (c claim) outranks(o claim) bool {
	if c.Elected == "" || o.Elected == "" {
		return o.Elected == "" && c.Elected != ""
	}
	return c.Term > o.Term || (c.Term == o.Term && c.Elected < o.Elected)
}

// sighting is what one coordinator knows of one replica.
type sighting struct {
	Name string `json:"name"`
	// Heard and Stored are how long ago, in ms, a request of the replica came that
	// was stored or dropped, and one that was stored. Below zero is never.
	Heard  int64 `json:"heard_ago_ms"`
	Stored int64 `json:"stored_ago_ms"`
	// HeardAt and StoredAt are the timestamps of samples in those requests.
	HeardAt  int64 `json:"heard_timestamp_ms"`
	StoredAt int64 `json:"stored_timestamp_ms"`
}

// ballot is what an owner answers. Without a lease everybody is admitted.
type ballot struct {
	claim
	// Lease is for how many ms all but the elected replica may be dropped.
	Lease int64 `json:"lease_ms"`
	// From and To are the timestamps between which the elected replica was stored
	// without a hole.
	From int64 `json:"from_timestamp_ms"`
	To   int64 `json:"to_timestamp_ms"`
}

// electorate is the state of one cluster at one owner. The zero value with created set
// is one that has just been heard of.
type electorate struct {
	claim
	// created is when this owner first heard of the cluster. What it said before it
	// was restarted, or what other owners said before the slot came to it, it does not
	// know; so it only listens until all leases of then have ended.
	created    int64
	candidates []candidate // by name
	// leased is when the last lease for the elected ends, and blocked when the last
	// one for anybody else does.
	leased, blocked int64
}

// observe takes a report and answers it. The caller's clock must not go backwards.
func (e *electorate) observe(now int64, known claim, seen []sighting) ballot {
	for _, s := range seen {
		e.note(now, s)
	}
	if known.outranks(e.claim) {
		e.follow(known)
	}
	e.elect(now)
	return e.ballot(now)
}

func (e *electorate) note(now int64, s sighting) {
	c := e.candidate(s.Name)
	if at := now - s.Heard; s.Heard >= 0 && at > c.heard+gapMin {
		if c.heard > 0 {
			c.gaps.add(at - c.heard)
		}
		c.heard, c.heardAt = at, s.HeardAt
	}
	if at := now - s.Stored; s.Stored >= 0 && at > c.stored {
		c.stored = at
		c.cover(s.StoredAt)
	}
}

func (e *electorate) candidate(name string) *candidate {
	byName := func(c candidate, name string) int { return cmp.Compare(c.name, name) }
	i, ok := slices.BinarySearchFunc(e.candidates, name, byName)
	if ok {
		return &e.candidates[i]
	}
	if len(e.candidates) == haReplicasMax {
		oldest := slices.MinFunc(e.candidates, func(a, b candidate) int { return cmp.Compare(a.heard, b.heard) })
		e.candidates = slices.DeleteFunc(e.candidates, func(c candidate) bool { return c.name == oldest.name })
		i, _ = slices.BinarySearchFunc(e.candidates, name, byName)
	}
	e.candidates = slices.Insert(e.candidates, i, candidate{name: name})
	return &e.candidates[i]
}

// follow makes somebody elected. What has been leased for the one before ends first.
func (e *electorate) follow(c claim) {
	if c.Elected != e.Elected {
		e.blocked = max(e.blocked, e.leased)
		e.leased = 0
	}
	e.claim = c
}

// elect looks for a successor when there is nobody, or the elected is silent or behind.
// Only a replica that is being stored can be one: everybody is admitted meanwhile.
func (e *electorate) elect(now int64) {
	if e.listening(now) {
		return
	}
	incumbent, known := e.incumbent()
	silent := !known || now-incumbent.stored > incumbent.silence()
	best := -1
	for i := range e.candidates {
		c := &e.candidates[i]
		if c.name == e.Elected || !c.fresh(now) {
			continue
		}
		if !silent && c.storedAt <= incumbent.storedAt+incumbent.lagMax() {
			continue
		}
		// The first by name of those that are as far, so that owners agree.
		if best < 0 || c.storedAt > e.candidates[best].storedAt+c.lagMax() {
			best = i
		}
	}
	if best >= 0 {
		e.follow(claim{Term: e.Term + 1, Elected: e.candidates[best].name})
	}
}

func (e *electorate) listening(now int64) bool { return now < e.created+leaseMax }

// incumbent returns the elected, if it has ever been stored as far as this owner knows.
func (e *electorate) incumbent() (candidate, bool) {
	for _, c := range e.candidates {
		if c.name == e.Elected {
			return c, c.stored > 0
		}
	}
	return candidate{}, false
}

// behind tells whether another replica has come with samples that are much newer than
// what is stored of the elected.
func (e *electorate) behind(now int64, incumbent candidate) bool {
	return slices.ContainsFunc(e.candidates, func(c candidate) bool {
		return now-c.heard <= c.silence() && c.heardAt > incumbent.storedAt+incumbent.lagMax()
	})
}

func (e *electorate) ballot(now int64) ballot {
	b := ballot{claim: e.claim}
	incumbent, known := e.incumbent()
	if !known {
		return b
	}
	b.From, b.To = incumbent.from, incumbent.storedAt
	bad := e.listening(now) || now < e.blocked || !incumbent.gaps.learned() || e.behind(now, incumbent)
	left := incumbent.stored + incumbent.silence() - now
	if bad || left <= 0 {
		return b
	}
	b.Lease = min(left, leaseMax)
	e.leased = max(e.leased, now+b.Lease)
	return b
}
