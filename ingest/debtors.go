// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"slices"

	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/ring"
)

// Missers returns who is to be told that it misses the writes of a debt, when all of them are
// there to hear it. None and void means that nobody misses them any more. It is pure.
//
// What was written to a ring of fewer members than copies is missed by whoever has become an
// owner since, once there are enough. Each of them takes what it owns, and together they have
// every copy that was short.
func Missers(debt hint.Debt, view *ring.View) (members []ring.MemberStatus, void bool) {
	if debt.Member != "" {
		m, known := view.Member(debt.Member)
		if !known || m.State == ring.Left {
			return nil, true
		}
		if hears(view, m) {
			members = append(members, m)
		}
		return members, false
	}
	owners := view.Ring.Members()
	if len(owners) < view.Ring.RF() {
		return nil, false
	}
	for _, owner := range owners {
		if slices.Contains(debt.Ring, owner.Name) {
			continue
		}
		m, known := view.Member(owner.Name)
		if !known || !hears(view, m) {
			return nil, false // All at once: who is told twice is refilled twice.
		}
		members = append(members, m)
	}
	return members, len(members) == 0
}

// hears tells whether a member can be told something that it has to keep.
func hears(view *ring.View, m ring.MemberStatus) bool {
	return (m.Alive || m.Name == view.Self) && m.State == ring.Active
}
