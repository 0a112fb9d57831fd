// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"fmt"

	"github.com/hashicorp/memberlist"
)

// delegate is the side of Cluster that memberlist calls. memberlist holds its
// own lock in most of these calls, so none of them may call memberlist, block,
// or do I/O.
type delegate Cluster

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.MergeDelegate    = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

func (d *delegate) cluster() *Cluster { return (*Cluster)(d) }

// NodeMeta returns what we gossip of ourselves.
func (d *delegate) NodeMeta(limit int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	buf, err := meta{d.self, d.cfg.Settings}.encode()
	if err != nil || len(buf) > limit {
		// start encoded the same fields; only the state changed since.
		panic(fmt.Sprintf("BUG: gossip meta of %d bytes: %v", len(buf), err))
	}
	return buf
}

// NotifyMsg ignores messages: gossip carries membership and nothing else.
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts has nothing to add to memberlist's own messages.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState returns the member history for a push/pull, so that a member that
// starts learns of those that are dead.
func (d *delegate) LocalState(bool) []byte {
	d.mu.Lock()
	now := d.cluster().now()
	records := d.history.Snapshot(now)
	d.mu.Unlock()
	data, err := encodeHistory(sender{From: d.cfg.Identity.Name, Addr: d.addr, Sent: now}, records)
	if err != nil {
		d.logger.Error("member history not sent", "err", err)
		return nil
	}
	return data
}

// MergeRemoteState takes the other side's member history. If that side has us at
// a former address, memberlist there may refuse the new one until it finds the
// old one dead, and would not learn it by itself for up to a minute: so the
// re-join loop calls again, see targets.
func (d *delegate) MergeRemoteState(buf []byte, _ bool) {
	h, err := decodeHistory(buf)
	if err != nil {
		d.metrics.dropped.Inc()
		if d.quiet.allow("history") {
			d.logger.Warn("member history of another member ignored", "err", err)
		}
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.accepted(h.sender) {
		return
	}
	for _, r := range h.Members {
		if r.Name == d.self.Name {
			agrees := r.GossipAddr == d.addr
			d.contested = d.contested || !agrees
			d.cluster().opinion(h.From, agrees)
		}
	}
	now := d.cluster().now()
	dropped := d.history.Merge(Translate(h.Members, h.Sent, now), now.Add(-d.cfg.ForgottenRetention), now)
	d.metrics.dropped.Add(float64(dropped))
	d.cluster().publish()
}

// accepted reports whether gossip, which hears of a sender before its history comes, took it for
// the living member that it says it is. What a second node of a name says is not believed, least
// of all of that member; if it is the member itself, restarted, it will say it again. The
// caller holds mu.
func (d *delegate) accepted(s sender) bool {
	return s.From == "" || d.history.alive[s.From] && d.history.records[s.From].GossipAddr == s.Addr
}

// NotifyAlive refuses members that cannot be part of this ring. It is called for
// every sign of life, also for those that come by way of a third member.
func (d *delegate) NotifyAlive(node *memberlist.Node) error {
	if node.Name == d.cfg.Identity.Name {
		return nil
	}
	return d.check(node)
}

// NotifyMerge refuses a whole join, on both sides, if a living member that the
// other side knows cannot be part of this ring.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, node := range nodes {
		dead := node.State == memberlist.StateDead || node.State == memberlist.StateLeft
		if dead || node.Name == d.cfg.Identity.Name {
			continue
		}
		if err := d.check(node); err != nil {
			return err
		}
	}
	return nil
}

// check counts members that cannot be part of this ring, and says why. The errors
// are made for an operator: memberlist hands them to the joiner, and logs them
// elsewhere.
func (d *delegate) check(node *memberlist.Node) error {
	m, err := decodeMeta(node.Name, node.Meta)
	reason := RefusedMeta
	if err != nil {
		err = fmt.Errorf("%s%q: %w", metaRefused, node.Name, err)
	} else if err = d.cfg.Settings.check(node.Name, m.Settings); err != nil {
		reason = RefusedSettings
	}
	if err == nil {
		return nil
	}
	d.metrics.refused.WithLabelValues(string(reason)).Inc()
	return err
}
