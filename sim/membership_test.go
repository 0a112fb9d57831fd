// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	probeInterval = time.Second
	// exchangeEvery is how many probes apart two members exchange their records, as the
	// re-join loop does every 10 s.
	exchangeEvery = 10
	// stallMax is how long a member may stand still before what it believes is out of
	// date, as ring.Cluster has it.
	stallMax = 10 * time.Second
	// forgottenFor is how long a forgotten member is remembered; longer than a run.
	forgottenFor = 24 * time.Hour
)

// membership is what one process knows of the others: ring.History, fed by a failure
// detector over the simulated links in place of memberlist. A member is probed every
// second, directly or by way of a third one, and lost when it was not heard for a while.
type membership struct {
	p    *process
	view atomic.Pointer[ring.View]

	mu      sync.Mutex
	self    ring.Record
	history *ring.History
	heardAt map[string]time.Time
	turn    time.Time // The last one of run.
	// started is when the process began, by its clock and by the true one.
	started, startedAt time.Time
	minority           time.Time // View.MinoritySince by the clock of the write path.
}

func newMembership(p *process) *membership {
	m := &membership{p: p, heardAt: map[string]time.Time{}, started: p.now(), startedAt: time.Now()}
	m.self = ring.Record{
		Member:     ring.Member{Name: p.host.name, Zone: p.host.zone, State: ring.Joining, InternalAddr: p.addr, Generation: p.disk.generation},
		GossipAddr: p.addr, LastSeen: m.now(),
	}
	p.disk.mu.Lock()
	known := slices.Clone(p.disk.members)
	p.disk.mu.Unlock()
	m.self.Holes, m.self.Refilled = p.disk.data()
	m.self.Newcomer = p.disk.newcomer.Load()
	m.history = ring.NewHistory(m.self, known, p.w.plan.rf)
	m.publish()
	return m
}

// View is the current snapshot.
func (m *membership) View() *ring.View { return m.view.Load() }

// now is the clock of ring.Cluster: what it said when the process began, and what passed
// since then.
func (m *membership) now() time.Time {
	return m.started.Add(time.Since(m.startedAt)).UTC().Truncate(time.Millisecond)
}

// publish makes what is known the current view; mu is held, or nobody else knows m.
func (m *membership) publish() {
	now := m.now()
	m.awake(now)
	v := m.history.View(now)
	switch {
	case v.MinoritySince.IsZero():
		m.minority = zeroTime
	case v.MinoritySince.Before(m.started): // Since it started.
		m.minority = v.MinoritySince
	case m.minority.IsZero():
		m.minority = m.p.now().Add(v.MinoritySince.Sub(now))
	}
	v.MinoritySince = m.minority
	m.view.Store(m.p.w.safety.weaken(v))
}

// awake notes that this process runs, as that of ring.Cluster does.
func (m *membership) awake(now time.Time) {
	if !m.turn.IsZero() && now.Sub(m.turn) > stallMax {
		m.history.Resume(m.turn, now)
	}
	m.turn = now
}

func (m *membership) setState(s ring.State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.State = s
	m.announce()
}

// setData tells what the disk has, as ring.Cluster's SetData does.
func (m *membership) setData() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.Holes, m.self.Refilled = m.p.disk.data()
	m.announce()
}

// setSettled tells that enough members know this one.
func (m *membership) setSettled() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.Newcomer = false
	m.announce()
}

// lacks tells whether data is missing here, and of which former disk.
func (m *membership) lacks() (former uint64, lacking bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.history.View(m.now()).Members {
		if s.Name == m.self.Name {
			return s.Replaced, !s.Whole()
		}
	}
	return 0, false
}

// announce notes our own new record; the others hear it with the next probe.
func (m *membership) announce() {
	m.self.LastSeen = m.now()
	m.history.Seen(m.self)
	m.publish()
}

func (m *membership) record() ring.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.self
	r.LastSeen = m.now()
	return r
}

// run probes and keeps house until the process ends.
func (m *membership) run(ctx context.Context) {
	e := m.p.endpoint()
	if e.sleep(ctx, time.Duration(m.p.w.plan.seed.hash("phase", m.p.host.name, m.p.run)%uint64(probeInterval))) != nil {
		return
	}
	for n := 0; ; n++ {
		m.tick(n)
		if e.sleep(ctx, probeInterval) != nil {
			return
		}
	}
}

func (m *membership) tick(n int) {
	var near []*process
	for _, host := range m.p.w.allHosts() {
		other := host.current()
		if other == nil || host == m.p.host || other.paused() {
			continue
		}
		if m.p.w.plan.seed.chance(m.p.w.plan.gossipLoss, "probe", m.p.host.name, host.name, time.Now()) {
			continue
		}
		switch m.p.w.hears(m.p.host.name, host.name) {
		case heardDirectly:
			near = append(near, other)
			if !m.takesForAlive(host.name) || !other.members.takesForAlive(m.p.host.name) {
				// Two that meet, or meet again, do so by a join, which is an exchange.
				m.exchange(other.members)
			}
			other.members.heard(m.record())
			m.heard(other.members.record())
		case heardByOthers:
			m.heard(other.members.record())
		}
	}
	m.expire()
	if len(near) > 0 && n%exchangeEvery == 0 {
		m.exchange(near[(n/exchangeEvery)%len(near)].members)
	}
	_ = m.persist() // Else the process is dead.
}

func (m *membership) takesForAlive(name string) bool {
	status, known := m.view.Load().Member(name)
	return known && status.Alive
}

// heard notes a sign of life. A member that says nothing new changes nothing.
func (m *membership) heard(r ring.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heardAt[r.Name] = time.Now()
	if old, ok := m.view.Load().Member(r.Name); ok && old.Alive && !old.Forgotten && old.Member == r.Member {
		return
	}
	r.LastSeen = m.now()
	m.history.Seen(r)
	m.publish()
}

// expire loses the members that were not heard, and forgets those that are dead too long.
func (m *membership) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := false
	for _, status := range m.view.Load().Members {
		if status.Alive && status.Name != m.self.Name && time.Since(m.heardAt[status.Name]) > m.p.w.plan.suspectAfter {
			m.history.Lost(status.Name, m.now())
			m.p.w.events.add("%s takes %s for dead", m.self.Name, status.Name)
			changed = true
		}
	}
	now := m.now()
	m.awake(now)
	forgotten := m.history.Forget(m.p.w.plan.forgetAfter, now)
	if m.p.w.safety.majorityOff {
		forgotten = append(forgotten, m.forgetAnyway(now)...)
	}
	if len(forgotten) > 0 {
		m.p.w.events.add("%s forgets %v", m.self.Name, forgotten)
	}
	if changed || len(forgotten)+len(m.history.Expire(now.Add(-forgottenFor), now)) > 0 {
		m.publish()
	}
}

// forgetAnyway is forgetting without the majority rule, for a mutation: it makes the
// history anew with the dead members forgotten.
func (m *membership) forgetAnyway(now time.Time) (names []string) {
	records := m.history.Snapshot(now)
	view := m.history.View(now)
	for i, r := range records {
		status, _ := view.Member(r.Name)
		if !status.Alive && status.InRing() && now.Sub(r.LastSeen) > m.p.w.plan.forgetAfter {
			records[i].ForgottenAt = now
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	m.history = ring.NewHistory(m.self, records, m.p.w.plan.rf)
	for _, r := range records {
		if status, _ := view.Member(r.Name); status.Alive {
			m.history.Seen(r)
		}
	}
	return names
}

// exchange is a push/pull: both sides get the records of the other.
func (m *membership) exchange(other *membership) {
	ours, at := m.snapshot()
	theirs, sent := other.snapshot()
	m.merge(theirs, sent)
	other.merge(ours, at)
}

func (m *membership) snapshot() (records []ring.Record, sent time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.history.Snapshot(m.now()), m.now()
}

func (m *membership) merge(records []ring.Record, sent time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.history.Merge(ring.Translate(records, sent, now), now.Add(-forgottenFor), now)
	m.publish()
}

// persist writes the file of last-known members.
func (m *membership) persist() error {
	records, _ := m.snapshot()
	if err := m.p.reach("members.persist"); err != nil {
		return err
	}
	m.p.disk.mu.Lock()
	defer m.p.disk.mu.Unlock()
	m.p.disk.members = records
	return nil
}

type hearing int

const (
	heardNot hearing = iota
	heardDirectly
	heardByOthers
)

// hears is whether a probe of one host by another has an answer: over the links between
// them, or by way of a third one that runs.
func (w *world) hears(from, to string) hearing {
	if w.net.reachable(from, to) {
		return heardDirectly
	}
	for _, relay := range w.allHosts() {
		if relay.name == from || relay.name == to {
			continue
		}
		if p := relay.current(); p != nil && !p.paused() && w.net.reachable(from, relay.name) && w.net.reachable(relay.name, to) {
			return heardByOthers
		}
	}
	return heardNot
}
