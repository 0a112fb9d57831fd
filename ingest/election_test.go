// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// electionScript drives one owner by hand.
type electionScript struct {
	t   *testing.T
	e   electorate
	now int64
	// seen is what a single coordinator would report.
	seen map[string]*sighting
}

func newElectionScript(t *testing.T) *electionScript {
	return &electionScript{t: t, now: 1000, e: electorate{created: 1000}, seen: map[string]*sighting{}}
}

// second is one in which requests of some replicas are stored, and those of others come
// and are dropped. Timestamps are the time of arrival plus lead.
func (s *electionScript) second(stored, heard []string, lead map[string]int64) ballot {
	s.now += 1000
	for _, r := range s.seen {
		r.Heard += 1000
		if r.Stored >= 0 {
			r.Stored += 1000
		}
	}
	for _, name := range slices.Concat(stored, heard) {
		if s.seen[name] == nil {
			s.seen[name] = &sighting{Name: name, Stored: -1}
		}
		r := s.seen[name]
		r.Heard, r.HeardAt = 0, s.now+lead[name]
		if slices.Contains(stored, name) {
			r.Stored, r.StoredAt = 0, s.now+lead[name]
		}
	}
	var report []sighting
	for _, r := range s.seen {
		report = append(report, *r)
	}
	slices.SortFunc(report, func(a, b sighting) int { return len(a.Name) - len(b.Name) })
	return s.e.observe(s.now, s.e.claim, report)
}

// seconds repeats and returns the last ballot.
func (s *electionScript) seconds(n int, stored, heard []string, lead map[string]int64) (b ballot) {
	for range n {
		b = s.second(stored, heard, lead)
	}
	return b
}

var (
	onlyA, onlyB, both, nobody = []string{"a"}, []string{"b"}, []string{"a", "b"}, []string(nil)
	inStep                     = map[string]int64{}
)

func TestElectorateListensFirst(t *testing.T) {
	s := newElectionScript(t)
	for n := range leaseMax/1000 - 1 {
		b := s.second(both, nobody, inStep)
		require.Zero(t, b.Lease, "second %d", n)
		require.Empty(t, b.Elected, "second %d", n)
	}
	b := s.second(both, nobody, inStep)
	require.Equal(t, claim{1, "a"}, b.claim)
	require.Equal(t, int64(leaseMax), b.Lease)
}

func TestElectorateReplacesTheSilent(t *testing.T) {
	s := newElectionScript(t)
	s.seconds(20, both, nobody, inStep)
	b := s.seconds(20, onlyA, onlyB, inStep)
	require.Equal(t, "a", b.Elected)

	// Its leases end when its silence does, and not before anybody else is stored.
	for n := int64(1); n*1000 < silenceMin; n++ {
		b = s.second(nobody, onlyB, inStep)
		require.Equal(t, silenceMin-n*1000, b.Lease)
	}
	b = s.second(nobody, onlyB, inStep)
	require.Equal(t, claim{1, "a"}, b.claim)
	require.Zero(t, b.Lease)
	b = s.second(onlyB, nobody, inStep)
	require.Equal(t, claim{2, "b"}, b.claim)
	require.Positive(t, b.Lease)
	// Coming back changes nothing.
	b = s.seconds(20, onlyB, onlyA, inStep)
	require.Equal(t, claim{2, "b"}, b.claim)
}

// A replica whose requests are all refused is as good as dead, however many come.
func TestElectorateReplacesTheRefused(t *testing.T) {
	s := newElectionScript(t)
	s.seconds(20, both, nobody, inStep)
	b := s.seconds(10, nobody, both, inStep)
	require.Zero(t, b.Lease)
	b = s.second(onlyB, onlyA, inStep)
	require.Equal(t, "b", b.Elected)
}

// One that is alive but an hour behind is replaced by one that is not, and does not come
// back while it catches up. The first lease of the new one waits for the last of the old.
func TestElectorateReplacesTheLate(t *testing.T) {
	s := newElectionScript(t)
	s.seconds(20, both, nobody, inStep)
	s.seconds(10, onlyA, onlyB, inStep)
	hour := map[string]int64{"a": -3_600_000}
	b := s.second(onlyA, onlyB, inStep)
	require.Equal(t, int64(leaseMax), b.Lease)
	last := s.now + b.Lease
	s.e.candidates[0].storedAt -= 3_600_000
	b = s.second(onlyA, onlyB, hour)
	require.Zero(t, b.Lease, "b comes with newer samples: everybody is admitted")
	b = s.second(both, nobody, hour)
	require.Equal(t, claim{2, "b"}, b.claim)
	for s.now+1000 < last {
		require.Zero(t, b.Lease, "old leases go on")
		b = s.second(onlyB, onlyA, hour)
	}
	b = s.seconds(10, onlyB, onlyA, hour)
	require.Equal(t, claim{2, "b"}, b.claim)
	require.Positive(t, b.Lease)
}

// A pair whose clocks are five minutes apart has one election, in favour of the one ahead.
func TestElectorateWithSkewedClocks(t *testing.T) {
	s := newElectionScript(t)
	ahead := map[string]int64{"b": 300_000}
	s.seconds(10, both, nobody, ahead)
	b := s.seconds(600, onlyB, onlyA, ahead)
	require.Equal(t, "b", b.Elected)
	require.LessOrEqual(t, b.Term, uint64(2))
}

// The bound follows the sender's own interval.
func TestElectorateLearnsTheInterval(t *testing.T) {
	f := func(interval int, want int64) {
		t.Helper()
		s := newElectionScript(t)
		for range 40 {
			s.second(onlyA, nobody, inStep)
			s.seconds(interval-1, nobody, nobody, inStep)
		}
		require.Equal(t, want, s.e.candidates[0].silence())
	}
	f(1, silenceMin)
	f(15, 32_000)
	f(60, 122_000)
	f(100, silenceMax)
}

// A hole in what is stored of the elected starts its cover anew, behind the margin.
func TestElectorateSeesHoles(t *testing.T) {
	s := newElectionScript(t)
	b := s.seconds(60, onlyA, onlyB, inStep)
	from := b.From
	b = s.seconds(4, nobody, onlyB, inStep)
	require.Equal(t, from, b.From)
	b = s.second(onlyA, onlyB, inStep)
	require.Equal(t, from, b.From, "five seconds are usual")
	s.seconds(5, nobody, onlyB, inStep)
	b = s.second(onlyA, onlyB, inStep)
	require.Equal(t, "a", b.Elected)
	require.Equal(t, s.now+coverMargin, b.From)
}

func TestElectorateIsBounded(t *testing.T) {
	s := newElectionScript(t)
	for i := range 100 {
		s.second([]string{string(rune('a' + i))}, nobody, inStep)
	}
	require.LessOrEqual(t, len(s.e.candidates), haReplicasMax)
}

func TestClaimsAreOrdered(t *testing.T) {
	order := []claim{{}, {1, "b"}, {1, "a"}, {2, "z"}, {2, "a"}}
	for i, a := range order {
		for j, b := range order {
			require.Equal(t, i > j, a.outranks(b), "%v %v", a, b)
		}
	}
}

// Every vector of answers: at most one replica gets a lease, only from a majority that
// agrees, and the order of the answers does not matter.
func TestTallyBallots(t *testing.T) {
	options := []ballot{
		{}, {claim: claim{1, "a"}}, {claim{1, "a"}, 3000, 10, 50}, {claim{2, "a"}, 1000, 20, 40}, {claim{3, "b"}, 2000, 30, 30},
	}
	for rf := 1; rf <= 5; rf++ {
		var try func(chosen []ballot)
		try = func(chosen []ballot) {
			checkTally(t, chosen, rf)
			if len(chosen) == rf {
				return
			}
			for _, o := range options {
				try(append(slices.Clone(chosen), o))
			}
		}
		try(nil)
	}
}

func checkTally(t *testing.T, ballots []ballot, rf int) {
	t.Helper()
	known, lease := tallyBallots(ballots, rf)
	votes := map[string]int{}
	for _, b := range ballots {
		require.False(t, b.outranks(known))
		if b.Lease > 0 {
			votes[b.Elected]++
		}
	}
	if lease.Lease == 0 {
		for name, n := range votes {
			require.Less(t, n, quorum(rf), name)
		}
		return
	}
	require.GreaterOrEqual(t, votes[lease.Elected], quorum(rf))
	longer := 0
	for _, b := range ballots {
		if b.Elected == lease.Elected && b.Lease > 0 {
			require.GreaterOrEqual(t, lease.From, b.From)
			require.LessOrEqual(t, lease.To, b.To)
			if b.Lease >= lease.Lease {
				longer++
			}
		}
	}
	require.GreaterOrEqual(t, longer, quorum(rf), "a majority gave at least that much")
	slices.Reverse(ballots)
	knownToo, leaseToo := tallyBallots(ballots, rf)
	require.Equal(t, known, knownToo)
	lease.Term, leaseToo.Term = 0, 0 // Whose term it is does not matter.
	require.Equal(t, lease, leaseToo)
}
