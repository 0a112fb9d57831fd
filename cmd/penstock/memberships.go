// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/ring"
)

// memberships is the ring in the words of the read path.
func (s *server) memberships() querier.Membership {
	view := s.members.View()
	ms := membershipOf(view, s.scheme)
	ms.CutOff = cutOff(view, s.minorityAfter(), time.Now())
	if s.cluster == nil {
		// What a node alone lost nobody can give back: its log and metrics have told so, and it
		// goes on with what it has. Else none of its answers would be complete any more.
		ms.Members[0].Lacks = ""
		return ms
	}
	ms.Newcomer = !s.introduction.done.Load()
	for i := range ms.Members {
		// The store knows of a loss before gossip tells.
		if m := &ms.Members[i]; m.Self && m.Lacks == "" && lacking(s.store.Losses()) {
			m.Lacks = lacks(false, true)
		}
	}
	return ms
}

// minorityAfter is how long this member may be without a majority before it refuses writes
// and calls no answer complete. The other side of a partition forgets it after twice that, and
// gives its slots to others.
func (s *server) minorityAfter() time.Duration {
	return time.Duration(s.cfg.cluster.forgetAfter) / 2
}

// cutOff reports whether this member has been without a majority for longer than after.
func cutOff(view *ring.View, after time.Duration, now time.Time) bool {
	return !view.MinoritySince.IsZero() && now.Sub(view.MinoritySince) > after
}

// membershipOf returns the members of a view that may hold samples which no other has.
func membershipOf(view *ring.View, scheme string) querier.Membership {
	out := querier.Membership{RF: view.Ring.RF(), Members: make([]querier.Member, 0, len(view.Members))}
	for _, m := range view.Members {
		if m.Ended > 0 {
			out.Gone = append(out.Gone, querier.Gone{Name: m.Name, Generation: m.Ended})
		}
		if m.State == ring.Left {
			// It passed on to the bucket what it had until then.
			out.PassedOn = max(out.PassedOn, m.LastSeen.UnixMilli())
			continue
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

			Generation: m.Generation,
			Replaced:   m.Replaced,
			Refilled:   m.Refilled,
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
