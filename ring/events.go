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
	if !wasAlive {
		d.reunited[node.Name] = true
	}
	d.cluster().publish()
	replaced := d.history.records[node.Name].Replaced > m.Refilled
	d.mu.Unlock()

	if node.Name == d.cfg.Identity.Name {
		return
	}
	attrs := []any{"member", node.Name, "zone", m.Zone, "state", m.State, "addr", node.Address()}
	switch {
	case replaced && (!wasAlive || old.Generation != m.Generation):
		d.logger.Warn("member came back with another data directory; it counts as missing in queries until it is refilled", attrs...)
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
