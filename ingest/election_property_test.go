// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func simSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("ELECTION_SEED"); v != "" {
		var err error
		seed, err = strconv.ParseUint(v, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("ELECTION_SEED=%d", seed)
	return seed
}

// TestElectionFailsOverWithoutAHole kills the elected replica at some moment, for scrape
// intervals from one second to one minute, and looks at what was stored: the other one's
// samples, right from where the elected one's end.
func TestElectionFailsOverWithoutAHole(t *testing.T) {
	seed := simSeed(t)
	for _, interval := range []int64{1000, 5000, 15_000, 30_000, 60_000} {
		for n := range uint64(4) {
			s := newElectionSim(t, seed+n, 3)
			a := &simReplica{name: "a", interval: interval, phase: s.rnd.Int64N(interval)}
			b := &simReplica{name: "b", interval: interval, phase: s.rnd.Int64N(interval)}
			for i := range s.members {
				s.send(i, "a", s.now) // Members that have never met the pair admit anybody.
			}
			s.run(8*interval+10_000, a, b)
			if s.leased(0) == "b" { // Whoever came first.
				a, b = b, a
			}
			require.True(t, s.settled(a.name), "interval %d: %s is elected everywhere", interval, a.name)
			before, forgot := len(s.stored[b.name]), s.forgot
			s.run(10*interval, a, b)
			// A member that the load balancer gave nothing for ten minutes has forgotten the pair, and admits anybody.
			require.LessOrEqual(t, len(s.stored[b.name])-before, s.forgot-forgot, "interval %d: the other one is dropped", interval)

			s.run(s.rnd.Int64N(2*interval), a, b)
			a.down = true
			died := s.now
			bound := max(2*interval+silenceSlack, silenceMin)
			s.run(bound+3*electionRound.Milliseconds(), a, b)
			require.NotEqual(t, a.name, s.leased(0), "interval %d: the other one is admitted %d ms after", interval, s.now-died)
			s.run(bound+2*interval+leaseMax, a, b)
			require.True(t, s.settled(b.name), "interval %d: the other one is elected everywhere", interval)
			gap, where := s.gap(1_000_000+interval, s.now-interval)
			require.LessOrEqual(t, gap, interval+1, "interval %d: gap at %d, a died at %d", interval, where, died)

			// When it comes back the other one stays.
			a.down = false
			s.run(6*interval+10_000, a, b)
			require.True(t, s.settled(b.name), "interval %d: the other one stays elected", interval)
		}
	}
}

// TestElectionFillsAHoleOfTheElected lets the elected replica miss one scrape, which is
// not long enough for another election: what the other one sent at that time is stored.
func TestElectionFillsAHoleOfTheElected(t *testing.T) {
	s := newElectionSim(t, simSeed(t), 3)
	const interval = 15_000
	elected := &simReplica{name: "a", interval: interval, phase: s.rnd.Int64N(interval)}
	other := &simReplica{name: "b", interval: interval, phase: s.rnd.Int64N(interval)}
	for i := range s.members {
		s.send(i, "a", s.now)
	}
	s.run(20*interval, elected, other)
	if s.leased(0) == "b" {
		elected, other = other, elected
	}
	require.True(t, s.settled(elected.name))
	from := s.now
	for range 5 {
		for (s.now-elected.phase)%interval != 1 {
			s.run(1, elected, other)
		}
		elected.down = true
		s.run(interval, elected, other)
		elected.down = false
		s.run(20*interval, elected, other)
	}
	require.True(t, s.settled(elected.name), "nobody else was elected")
	gap, where := s.gap(from, s.now-interval)
	require.LessOrEqual(t, gap, int64(interval)+1, "at %d", where)
	require.Less(t, len(s.stored[other.name]), 30, "and what need not be stored was not")
}

// TestElectionUnderFaults throws everything at once at a pair of which one replica is
// always well, and checks that no two replicas are ever dropped, that no hole remains and
// that the election does not swing. Members that crash lose what they held back, so
// that in half of the runs none does, and there no hole may be longer than one that the
// elected replica made itself and nobody can tell from its rhythm.
func TestElectionUnderFaults(t *testing.T) {
	seed := simSeed(t)
	for n := range uint64(12) {
		crashes := n%2 == 0
		s := newElectionSim(t, seed+n, 3+int(n%3))
		s.loss = 0.05
		const interval, faults = 2000, 25
		pair := []*simReplica{
			{name: "a", interval: interval, phase: s.rnd.Int64N(interval), skew: s.rnd.Int64N(600_000) - 300_000},
			{name: "b", interval: interval, phase: s.rnd.Int64N(interval)},
		}
		if n%3 > 0 {
			pair[0].skew = s.rnd.Int64N(1000)
		}
		start := s.now
		for range faults {
			s.fault(pair, crashes)
			s.run(2000+s.rnd.Int64N(20_000), pair...)
			// Long enough for outages not to look like the usual interval.
			s.heal(pair)
			s.run(20*interval, pair...)
		}
		s.heal(pair)
		s.run(60_000, pair...)
		// A hole of the elected one that is too short to be seen, and the clocks.
		allowed := int64(silenceMin) + 1000
		if crashes {
			// What the elected one and the member that held the other's samples back
			// take along, when both go at one time.
			allowed = 2*max(2*interval+silenceSlack, silenceMin) + 2*interval + behindSlack
		}
		if pair[0].skew >= 0 && pair[0].skew < 1000 {
			gap, where := s.gap(start+2*interval, s.now-2*interval)
			require.LessOrEqual(t, gap, allowed, "run %d, gap at %d", n, where)
		}
		require.Less(t, s.term(), uint64(3*faults), "run %d: elected anew a few times a fault at most", n)
		require.True(t, s.settled("a") || s.settled("b"), "run %d: all agree after the end of all faults", n)
	}
}
