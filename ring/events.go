// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"github.com/hashicorp/memberlist"
)

// NotifyJoin notes that a member, perhaps ourselves, is alive.
func (d *delegate) NotifyJoin(node *memberlist.Node) { d.seen(node) }

// NotifyUpdate notes that a member changed its meta.
func (d *delegate) NotifyUpdate(node *memberlist.Node) { d.seen(node) }

// seen takes what a living member says of itself. NotifyAlive has checked the
// meta before.
func (d *delegate) seen(node *memberlist.Node) {
	m, err := decodeMeta(node.Name, node.Meta)
	if err != nil {
		d.logger.Error("gossip meta not understood", "member", node.Name, "err", err)
		return
	}
	d.mu.Lock()
	old, known := d.history.records[node.Name]
	wasAlive := d.history.alive[node.Name]
	d.history.Seen(Record{Member: m.Member, GossipAddr: node.Address(), LastSeen: d.cluster().now()})
	d.cluster().publish()
	d.mu.Unlock()

	if node.Name == d.cfg.Identity.Name {
		return
	}
	attrs := []any{"member", node.Name, "zone", m.Zone, "state", m.State, "addr", node.Address()}
	switch {
	case known && old.Generation != m.Generation:
		d.logger.Warn("member came back with another data directory", attrs...)
	case !known:
		d.logger.Info("member joined", attrs...)
	case !wasAlive:
		d.logger.Info("member is alive", attrs...)
	case old.State != m.State:
		d.logger.Info("member changed state", attrs...)
	}
}

// NotifyLeave notes that a member stopped or is dead. Its slots stay with it
// unless it is LEFT.
func (d *delegate) NotifyLeave(node *memberlist.Node) {
	d.mu.Lock()
	d.history.Lost(node.Name, d.cluster().now())
	state := d.history.records[node.Name].State
	d.cluster().publish()
	d.mu.Unlock()
	switch {
	case node.Name == d.cfg.Identity.Name:
	case state == Left:
		d.logger.Info("member left for good", "member", node.Name)
	case node.State == memberlist.StateLeft:
		d.logger.Info("member stopped; it keeps its slots", "member", node.Name, "state", state)
	default:
		d.logger.Warn("member is dead; it keeps its slots", "member", node.Name, "state", state)
	}
}

// NotifyConflict is told that a living member's name was heard from another
// address. With the same generation that is the member itself, restarted before
// its death was noticed, and settles in seconds. Else two nodes share a name.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	here, errHere := decodeMeta(existing.Name, existing.Meta)
	there, errThere := decodeMeta(other.Name, other.Meta)
	if errHere == nil && errThere == nil && here.Generation == there.Generation {
		d.logger.Debug("member restarted at another address", "member", existing.Name, "old", existing.Address(), "new", other.Address())
		return
	}
	d.metrics.nameConflicts.Inc()
	if d.quiet.allow("conflict" + existing.Name) {
		d.logger.Error("two members have one name; the second is ignored; give each its own --cluster.name and data directory",
			"member", existing.Name, "first", existing.Address(), "second", other.Address())
	}
}
