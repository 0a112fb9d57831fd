// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/penstock-io/penstock/ring"
)

// electionSim is some members that elect among HA replicas, in virtual time: the real
// coordinators and owners over a network that loses messages and parts, with members that
// restart and wall clocks that differ. Nothing in it waits or depends on the machine.
type electionSim struct {
	t       *testing.T
	seed    uint64
	rnd     *rand.Rand
	now     int64 // ms
	members []*simMember
	names   []string
	view    *ring.View
	// stored has the sample timestamps that were stored of each replica.
	stored map[string][]int64
	forgot int     // how often a member got a request of a cluster that it had forgotten
	loss   float64 // of questions between members
	cut    map[[2]int]bool
}

type simMember struct {
	e    *Election
	next int64 // when it asks
	met  int64 // when it had a request last; 0 if it has had none
	down bool
	// clock is the offset of its wall clock, which nothing may depend on.
	clock time.Duration
}

const simTenant, simCluster = "team", "prod"

func newElectionSim(t *testing.T, seed uint64, members int) *electionSim {
	s := &electionSim{
		t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000,
		stored: map[string][]int64{}, cut: map[[2]int]bool{}, view: &ring.View{},
	}
	var all []ring.Member
	for i := range members {
		m := ring.Member{Name: "m" + strconv.Itoa(i), State: ring.Active}
		all = append(all, m)
		s.view.Members = append(s.view.Members, ring.MemberStatus{Member: m, Alive: true})
		s.names = append(s.names, m.Name)
		s.members = append(s.members, &simMember{clock: time.Duration(s.rnd.IntN(600_000)-300_000) * time.Millisecond})
	}
	s.view.Ring = ring.New(all, 3)
	for i := range members {
		s.start(i)
	}
	return s
}

// start starts a member with nothing in its memory.
func (s *electionSim) start(i int) {
	m := s.members[i]
	m.down = false
	e := NewElection(ElectionConfig{
		ClusterLabel: "cluster", ReplicaLabel: "replica", RF: 3,
		View: func() *ring.View { v := *s.view; v.Self = s.names[i]; return &v },
		Now:  func() time.Time { return time.UnixMilli(s.now).Add(m.clock) },
	}, quietLogger(), nil)
	e.ask = func(_ context.Context, to ring.Member, questions []question) ([]ballot, error) {
		j := slices.Index(s.names, to.Name)
		// Owners are asked at the same time, so that each question has its own luck.
		rnd := rand.New(rand.NewPCG(s.seed, uint64(s.now)<<8|uint64(i)<<4|uint64(j)))
		lost := s.cut[[2]int{i, j}] || rnd.Float64() < s.loss
		if lost && rnd.IntN(2) == 0 {
			return nil, errors.New("question lost")
		}
		if s.members[j].down {
			return nil, errors.New("down")
		}
		answers := s.members[j].e.owned.answer(s.members[j].e.ownerClock(), questions)
		if lost {
			return nil, errors.New("answer lost")
		}
		return answers, nil
	}
	m.e, m.next = e, s.now+s.rnd.Int64N(electionRound.Milliseconds())
}

// clusterOf is what member i knows.
func (s *electionSim) clusterOf(i int) *haCluster {
	return s.members[i].e.cluster(simTenant, []byte(simCluster))
}

// send is a request of a replica to member i with samples of the time at. It returns
// what was done with it.
func (s *electionSim) send(i int, replica string, at int64) haAdmission {
	m := s.members[i]
	if m.met != 0 && s.now-m.met >= electionForget.Milliseconds() {
		s.forgot++
	}
	m.met = s.now
	now := m.e.cfg.Now()
	c := s.clusterOf(i)
	r, a := c.admit(now, []byte(replica), at)
	if a == haDropped {
		m.e.hold(heldRequest{cluster: c, replica: r, at: at, since: now, body: []byte(replica)})
	} else {
		c.wasStored(now, r, at)
		s.stored[replica] = append(s.stored[replica], at)
	}
	return a
}

// step lets a millisecond pass, with the rounds that fall into it.
func (s *electionSim) step() {
	s.now++
	for i, m := range s.members {
		if m.down || s.now < m.next {
			continue
		}
		m.next = s.now + electionRound.Milliseconds()
		m.e.round(s.t.Context())
		s.storeHeld(m)
		s.exclusive(i)
	}
}

// storeHeld is Election.storeHeld without bodies.
func (s *electionSim) storeHeld(m *simMember) {
	for _, c := range m.e.list(m.e.cfg.Now()) {
		for {
			h, ok := c.takeDue(m.e.cfg.Now())
			if !ok {
				break
			}
			s.stored[h.replica.name] = append(s.stored[h.replica.name], h.at)
		}
	}
}

// exclusive fails if two members may drop different replicas at this moment.
func (s *electionSim) exclusive(after int) {
	s.t.Helper()
	elected := map[string]string{}
	for i, m := range s.members {
		c := s.clusterOf(i)
		if !m.down && m.e.cfg.Now().Before(c.until) {
			elected[c.lease.Elected] += fmt.Sprintf(" m%d", i)
		}
	}
	if len(elected) > 1 {
		s.t.Fatalf("at %d, after a round of m%d: leases for more than one replica: %v", s.now, after, elected)
	}
}

// gap is the longest time without a stored sample of any replica, over the timestamps
// in [from, to].
func (s *electionSim) gap(from, to int64) (longest, where int64) {
	all := []int64{from, to}
	for _, times := range s.stored {
		for _, t := range times {
			if t > from && t < to {
				all = append(all, t)
			}
		}
	}
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if d := all[i] - all[i-1]; d > longest {
			longest, where = d, all[i-1]
		}
	}
	return longest, where
}

// simReplica is a Prometheus server that scrapes one target.
type simReplica struct {
	name     string
	interval int64
	phase    int64
	skew     int64 // of its clock
	down     bool
	// cutoff keeps its requests back; they are sent when it ends, oldest first.
	cutoff  bool
	backlog []int64
}

// run lets d ms pass with the replicas at work. Each request goes to any member that is
// up, as behind a load balancer.
func (s *electionSim) run(d int64, replicas ...*simReplica) {
	for range d {
		s.step()
		for _, r := range replicas {
			if !r.down && (s.now-r.phase)%r.interval == 0 {
				r.backlog = append(r.backlog, s.now+r.skew)
			}
			if r.cutoff || r.down {
				continue
			}
			for _, at := range r.backlog {
				if i, ok := s.anyMember(); ok {
					s.send(i, r.name, at)
				}
			}
			r.backlog = r.backlog[:0]
		}
	}
}

func (s *electionSim) anyMember() (int, bool) {
	for range 20 {
		if i := s.rnd.IntN(len(s.members)); !s.members[i].down {
			return i, true
		}
	}
	return 0, false
}

// leased returns who is elected with a lease at member i, or nothing.
func (s *electionSim) leased(i int) string {
	c := s.clusterOf(i)
	if s.members[i].down || !s.members[i].e.cfg.Now().Before(c.until) {
		return ""
	}
	return c.lease.Elected
}

// settled tells whether all members that have ever had a request agree.
func (s *electionSim) settled(want string) bool {
	for i := range s.members {
		if !s.members[i].down && !s.clusterOf(i).used.IsZero() && s.leased(i) != want {
			return false
		}
	}
	return true
}

// term is the highest that anybody knows.
func (s *electionSim) term() (highest uint64) {
	for i := range s.members {
		highest = max(highest, s.clusterOf(i).known.Term)
	}
	return highest
}

// fault starts or ends some faults. One replica is always well.
func (s *electionSim) fault(pair []*simReplica, crashes bool) {
	for _, r := range pair {
		r.down, r.cutoff = false, false
	}
	switch victim := pair[s.rnd.IntN(len(pair))]; s.rnd.IntN(5) {
	case 0, 1:
		victim.down = true
		victim.backlog = nil
	case 2:
		victim.cutoff = true
	}
	clear(s.cut)
	for i := range s.members {
		if s.members[i].down {
			s.start(i)
		}
	}
	switch i := s.rnd.IntN(len(s.members)); s.rnd.IntN(4) {
	case 0:
		for j := range s.members {
			s.cut[[2]int{i, j}], s.cut[[2]int{j, i}] = true, true
		}
	case 1:
		s.cut[[2]int{i, s.rnd.IntN(len(s.members))}] = true
	case 2:
		if crashes {
			s.members[i].down = true
		}
	}
}

func (s *electionSim) heal(pair []*simReplica) {
	for _, r := range pair {
		r.down, r.cutoff = false, false
	}
	clear(s.cut)
	for i := range s.members {
		if s.members[i].down {
			s.start(i)
		}
	}
}
