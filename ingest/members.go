// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"strings"

	"github.com/penstock-io/penstock/ring"
)

// memberState is what the write path needs to know of a member of the ring.
type memberState struct {
	ring.Member
	self bool
	// away members are not asked: they are dead, or leaving and about to stop. They
	// get hints at once. A joining member is asked; it says itself that it is not
	// ready, which is truer than what gossip knows.
	away bool
}

// viewStates are the members of one view, in the order of its ring.
type viewStates struct {
	view    *ring.View
	members []memberState
	alive   int
	names   string // of the members, with commas between them
}

// statesOf returns the states for a view. A view is immutable, so that they are
// computed once for each.
func (d *Distributor) statesOf(view *ring.View) *viewStates {
	if s := d.states.Load(); s != nil && s.view == view {
		return s
	}
	status := make(map[string]ring.MemberStatus, len(view.Members))
	for _, m := range view.Members {
		status[m.Name] = m
	}
	s := &viewStates{view: view}
	for _, m := range view.Ring.Members() {
		st, known := status[m.Name]
		state := memberState{Member: m, self: m.Name == view.Self}
		if known {
			state.Member = st.Member
		}
		alive := state.self || (known && st.Alive)
		state.away = !state.self && (!alive || state.State == ring.Leaving)
		if alive {
			s.alive++
		}
		s.members = append(s.members, state)
	}
	var names []string
	for _, m := range s.members {
		names = append(names, m.Name)
	}
	s.names = strings.Join(names, ",")
	d.states.Store(s)
	return s
}
