// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/penstock-io/penstock/ring"
)

// haKey names an HA cluster.
type haKey struct{ tenant, cluster string }

// slot is where the owners of the cluster are found. The word keeps a cluster from
// sharing its hash with a series.
func (k haKey) slot() uint16 {
	buf := append([]byte(k.tenant), keySeparator)
	buf = append(append(buf, "ha cluster"...), keySeparator)
	return ring.SlotOf(xxhash.Sum64(append(buf, k.cluster...)))
}

// haAdmission is what is done with the samples of a replica.
type haAdmission uint8

const (
	// haAdmitted means that it is elected, or that its samples are of a time that nobody
	// else is known to cover.
	haAdmitted haAdmission = iota
	// haUndecided means that nobody may be dropped now, so that it is admitted.
	haUndecided
	haDropped
)

// haCluster is what this member, as a coordinator, knows of an HA cluster. Safe for
// concurrent use.
type haCluster struct {
	key  haKey
	slot uint16

	mu       sync.Mutex
	known    claim  // the highest heard of
	lease    ballot // the last one that a majority of the owners gave
	until    time.Time
	used     time.Time
	replicas map[string]*haReplica
	held     []heldRequest // oldest first
}

// haReplica is what came from one replica. Its fields belong to the cluster's lock.
type haReplica struct {
	name string
	// heard is when a request came that was stored or dropped, stored when one came
	// that was stored, with the timestamps of samples in them.
	heard, stored     time.Time
	heardAt, storedAt int64
}

func newHACluster(key haKey) *haCluster {
	return &haCluster{key: key, slot: key.slot(), replicas: map[string]*haReplica{}}
}

// admit says what to do with samples of the time at of a replica. It returns nil when
// there are too many replicas; what they send is admitted.
func (c *haCluster) admit(now time.Time, name []byte, at int64) (*haReplica, haAdmission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = now
	r := c.replica(now, name)
	switch {
	case r == nil, !now.Before(c.until):
		return r, haUndecided
	case !c.drops(now, r), at < c.lease.From:
		return r, haAdmitted
	default:
		return r, haDropped
	}
}

// drops tells whether the replica is one of those that may be dropped now.
func (c *haCluster) drops(now time.Time, r *haReplica) bool {
	return now.Before(c.until) && r.name != c.lease.Elected
}

func (c *haCluster) replica(now time.Time, name []byte) *haReplica {
	if r := c.replicas[string(name)]; r != nil {
		return r
	}
	if len(c.replicas) >= haReplicasMax {
		for name, r := range c.replicas {
			if now.Sub(r.heard) > heldAgeMax {
				delete(c.replicas, name)
			}
		}
		if len(c.replicas) >= haReplicasMax {
			return nil
		}
	}
	r := &haReplica{name: string(name)}
	c.replicas[r.name] = r
	return r
}

// wasStored notes that samples of the replica were stored.
func (c *haCluster) wasStored(now time.Time, r *haReplica, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.heard, r.stored = now, now
	r.heardAt, r.storedAt = at, at
}

// report is what the owners are told.
func (c *haCluster) report(now time.Time) question {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := question{Tenant: c.key.tenant, Cluster: c.key.cluster, Known: c.known}
	for _, r := range c.replicas {
		q.Seen = append(q.Seen, sighting{
			Name: r.name, Heard: ago(now, r.heard), Stored: ago(now, r.stored), HeardAt: r.heardAt, StoredAt: r.storedAt,
		})
	}
	slices.SortFunc(q.Seen, func(a, b sighting) int { return cmp.Compare(a.Name, b.Name) })
	return q
}

// ago is how long ago t was, in ms; below zero for never.
func ago(now, t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return max(now.Sub(t).Milliseconds(), 0)
}

// decided takes what the owners answered to a report of the time sent. If another replica
// was elected since the last lease it returns both.
func (c *haCluster) decided(sent time.Time, ballots []ballot, rf int) (was, elected string) {
	known, lease := tallyBallots(ballots, rf)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known.outranks(c.known) {
		c.known = known
	}
	switch {
	case lease.Lease > 0:
		if c.lease.Elected != lease.Elected {
			was, elected = c.lease.Elected, lease.Elected
		}
		c.lease = lease
		// From when it was asked for: no owner counts from earlier.
		c.until = sent.Add(time.Duration(lease.Lease) * time.Millisecond)
	case len(ballots) >= quorum(rf):
		c.until = time.Time{} // They say so. When they are silent, the lease ends by itself.
	}
	return was, elected
}

// endLease lets nobody be dropped until there is another lease.
func (c *haCluster) endLease() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}

// idle tells whether nobody has written the cluster for long.
func (c *haCluster) idle(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.used) > electionForget && len(c.held) == 0
}
