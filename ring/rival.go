// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// defaultNameWait is how long a second node with the name of a living member is
	// given before it is refused. It is longer than a death goes unnoticed in most
	// clusters, so that a restart at another address, or on another disk, just after a
	// crash is only delayed.
	defaultNameWait = 15 * time.Second
	// nameWaitMax: as many times as long if the other node itself does not answer here,
	// because in a large and lossy cluster a death can go unnoticed for half a minute.
	nameWaitMax = 4
	// settlePause is the time between two looks whether the name is free.
	settlePause = 500 * time.Millisecond
	// rivalMemory is how long after the last sign of it a rival is believed to be there.
	// The re-join loop asks for such signs every 10 s.
	rivalMemory = 25 * time.Second
)

// rival is another node that was heard of under a name that is taken.
type rival struct {
	Member
	addr        string // where it gossips
	since, last time.Time
}

// again returns r after another sign of it at now.
func (r rival) again(m Member, addr string, now time.Time) rival {
	if r.last.IsZero() || now.Sub(r.last) > rivalMemory || r.addr != addr {
		r.since = now
	}
	return rival{Member: m, addr: addr, since: r.since, last: now}
}

// NotifyConflict is told that a living member's name was heard from another address.
// Mostly that is the member itself, or a node in its place, started before its death was
// noticed, and settles in seconds. Else two nodes share a name.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	there, err := decodeMeta(other.Name, other.Meta)
	if err != nil {
		return // It is not a member of this ring; NotifyAlive has counted that.
	}
	d.mu.Lock()
	now := d.cluster().now()
	r := d.rivals[existing.Name].again(there.Member, other.Address(), now)
	d.rivals[existing.Name] = r
	if existing.Name == d.self.Name {
		d.contested = true
	}
	d.mu.Unlock()
	if now.Sub(r.since) < d.cfg.nameWait/2 {
		d.logger.Debug("a member was heard from a second address", "member", existing.Name, "first", existing.Address(), "second", other.Address())
		return
	}
	d.metrics.nameConflicts.Inc()
	if d.quiet.allow("conflict" + existing.Name + other.Address()) {
		d.logger.Error("two nodes run under the name of one member; the second is ignored; give each its own --cluster.name and data directory, and stop the one that does not belong",
			"member", existing.Name, "first", existing.Address(), "second", other.Address())
	}
}

// opinion notes where the member that sent a push/pull believes this member to be.
func (c *Cluster) opinion(from string, agrees bool) {
	if from != "" && from != c.self.Name {
		c.opinions[from] = agrees
	}
}

// settleName waits until the others know this member at its address, which they do not
// learn before they found it dead at its former one. It ends in an error if they know a
// living one at another.
func (c *Cluster) settleName(ctx context.Context, result contacts) (contacts, error) {
	begin := c.now()
	looked := time.Time{} // since when a rival counts; any, before the first round
	contended := false    // there was a rival in an earlier round
	for {
		c.mu.Lock()
		r, contested := c.rivals[c.self.Name], c.contested
		c.mu.Unlock()
		waited := c.now().Sub(begin)
		rivalled := !r.last.IsZero() && !r.last.Before(looked)
		contended = contended || rivalled
		// That a rival is no longer heard of says something only if others are.
		heard := !contended || result.reached > 0 || waited >= c.cfg.nameWait
		if !rivalled && heard && (!contested || waited >= c.cfg.nameWait) {
			return result, nil
		}
		if rivalled && waited >= c.cfg.nameWait {
			outvoted, even := c.vote()
			if (outvoted || even) && c.answers(r) || waited >= nameWaitMax*c.cfg.nameWait {
				return result, c.refuseName(r)
			}
		}
		select {
		case <-ctx.Done():
			return result, ctx.Err()
		case <-time.After(settlePause):
		}
		looked = c.now()
		result = c.contact(ctx)
	}
}

// deposed reports whether a rival has been taken for this member by more of the others,
// for long; of two with as many, the later goes. That is how two nodes end which were
// each taken for the member on its side of a partition. A rival that is only trying to join
// is JOINING, and does not depose anybody.
func (c *Cluster) deposed() error {
	c.mu.Lock()
	now := c.now()
	r := c.rivals[c.self.Name]
	self := c.self
	lasting := now.Sub(r.since) >= nameWaitMax*c.cfg.nameWait
	gone := r.last.IsZero() || now.Sub(r.last) > rivalMemory
	c.mu.Unlock()
	if gone || !lasting || r.State == Joining || !c.answers(r) {
		return nil
	}
	outvoted, even := c.vote()
	later := self.Generation > r.Generation || self.Generation == r.Generation && c.addr > r.addr
	if outvoted || even && later {
		return c.refuseName(r)
	}
	return nil
}

// vote reports whether more of the others that are alive know the member at another address
// than at this one, or as many; neither before all have been asked.
func (c *Cluster) vote() (outvoted, even bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.history.alive {
		if _, asked := c.opinions[name]; !asked && name != c.self.Name {
			return false, false
		}
	}
	balance := 0
	for _, agrees := range c.opinions {
		if agrees {
			balance++
		} else {
			balance--
		}
	}
	return balance < 0, balance == 0
}

// answers reports whether a process of the rival's name answers at its address.
func (c *Cluster) answers(r rival) bool {
	ap, err := netip.ParseAddrPort(r.addr)
	if err != nil {
		return false
	}
	_, err = c.list.Ping(r.Name, net.UDPAddrFromAddrPort(ap))
	return err == nil
}

// refuseName gives the name up. From here on nothing may be said in it.
func (c *Cluster) refuseName(r rival) *RefusedError {
	c.usurped.Store(true)
	c.metrics.refused.WithLabelValues(string(RefusedName)).Inc()
	other := "on another data directory"
	if r.Generation == c.self.Generation {
		other = "on a copy of the same data directory"
	}
	return &RefusedError{Addr: r.addr, Reason: RefusedName, text: fmt.Sprintf(
		"member %q runs there already, and this node at %s would be a second one of that name, %s; %s",
		r.Name, c.addr, other, remedies[RefusedName])}
}
