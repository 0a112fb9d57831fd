// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/ring"
)

// memberships is the ring in the words of the read path.
func (s *server) memberships() querier.Membership {
	ms := membershipOf(s.members.View(), s.scheme)
	if s.cluster == nil {
		// What a node alone lost nobody can give back: its log and metrics have told so, and it
		// goes on with what it has. Else none of its answers would be complete any more.
		ms.Members[0].Lacks = ""
	}
	return ms
}

// membershipOf returns the members of a view that may hold samples which no other has.
func membershipOf(view *ring.View, scheme string) querier.Membership {
	out := querier.Membership{RF: view.Ring.RF(), Members: make([]querier.Member, 0, len(view.Members))}
	for _, m := range view.Members {
		if m.State == ring.Left {
			continue // It passed on what it had before it left.
		}
		out.Members = append(out.Members, querier.Member{
			Name:      m.Name,
			Zone:      m.Zone,
			URL:       scheme + "://" + m.InternalAddr,
			Self:      m.Name == view.Self,
			Alive:     m.Alive,
			Serving:   m.State == ring.Active || m.State == ring.Leaving,
			Forgotten: m.Forgotten,
			Lacks:     lacks(m.Whole(), m.Holes),
		})
	}
	return out
}

// lacks says why a member holds less than it should, or nothing.
func lacks(whole, holes bool) string {
	switch {
	case whole:
		return ""
	case holes:
		return "lost data, being refilled"
	default:
		return "disk replaced, being refilled"
	}
}
