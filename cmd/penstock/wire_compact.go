// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
	"github.com/penstock-io/penstock/compactor"
	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// indexAgeIntervals is how many times the interval at which the index of blocks is written it may be old: one that is
// written late, or by the next member after the first one died, is still good.
const indexAgeIntervals = 3

// openBlockIndex makes what stands in for listings of the bucket.
func (s *server) openBlockIndex(blocks *bucket.Blocks) {
	s.blockIndex = bucket.NewIndex(bucket.IndexConfig{
		Blocks: blocks, Member: s.identity.Name,
		MaxAge: s.blockIndexAge(),
		Reuse:  min(bucket.DefaultIndexReuse, s.cfg.compactInterval()/2),
	}, s.reg)
}

// blockIndexAge is how old the index of blocks may be that members read in place of listing the bucket.
func (s *server) blockIndexAge() time.Duration { return indexAgeIntervals * s.cfg.compactInterval() }

// wireCompaction builds the part that works on the bucket. Which groups are this member's depends on who is alive:
//
//	ring: members ACTIVE and alive ──► owner of each group ──┐
//	block index or listing ──────────► plan ─────────────────┴──► compactor.Compactor ──► bucket
//	limits: retention of tenants ──────┘
func (s *server) wireCompaction() error {
	if s.bucketBlocks == nil || !s.cfg.compact.enabled {
		return nil
	}
	c := &s.cfg.compact
	conflicts := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "penstock_compact_conflicting_samples_total",
		Help: "Samples of which copies had different values. One was kept, by the rule that queries use.",
	})
	s.reg.MustRegister(conflicts)
	owner := &groupOwner{view: s.members.View, minorityAfter: s.minorityAfter()}
	var down compactor.Downsampler
	if c.downsampling {
		down = downsample.New(s.logger.With("component", "downsampler"), s.reg, nil)
	}
	var err error
	s.compactor, err = compactor.New(compactor.Config{
		Blocks:           s.bucketBlocks,
		Index:            s.blockIndex,
		Dir:              filepath.Join(s.cfg.storage.path, "compact"),
		Member:           s.identity.Name,
		Owns:             func(key string) bool { return !s.draining.Load() && owner.owns(key, time.Now()) },
		MergeChunks:      querier.NewChunkMerger(conflicts),
		Room:             s.store.CheckRoom,
		Retention:        s.retention,
		Downsampler:      down,
		Foreign:          c.foreign,
		DefaultTenant:    defaultTenant,
		Interval:         s.cfg.compactInterval(),
		BlockDuration:    time.Duration(s.cfg.storage.blockDuration),
		ConsistencyDelay: s.cfg.consistencyDelay(),
		DeletionDelay:    time.Duration(c.deletionDelay),
		Concurrency:      c.concurrency,
		ScratchBytes:     int64(c.scratchBytes),
	}, s.logger.With("component", "compactor"), s.reg)
	return err
}

// compactInterval is the interval of the flag, or less for blocks shorter than 2h.
func (c *config) compactInterval() time.Duration {
	return interval(time.Duration(c.compact.blockSync), time.Duration(c.storage.blockDuration))
}

// consistencyDelay is the delay of the flag, or less for blocks shorter than 2h.
func (c *config) consistencyDelay() time.Duration {
	d := time.Duration(c.storage.blockDuration)
	if d >= blockDurationMax {
		return time.Duration(c.compact.consistencyDelay)
	}
	return min(time.Duration(c.compact.consistencyDelay), d/4)
}

// deletionDelayMin is twice as long as what a member knows of the bucket may be old.
func (c *config) deletionDelayMin() time.Duration {
	return 2 * (indexAgeIntervals*c.compactInterval() + interval(syncIntervalMax, time.Duration(c.storage.blockDuration)))
}

// compacted says whether a block that is not this one was made of it, and can be read.
func (s *server) compacted(ctx context.Context, id ulid.ULID) (bool, error) {
	l, err := s.blockIndex.Listing(ctx)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(l.Blocks, func(b bucket.Listed) bool {
		return b.Meta.ULID != id && b.Meta.Thanos.Downsample.Resolution == 0 && !unreadable(b.Marks) && slices.Contains(b.Meta.Compaction.Sources, id)
	}), nil
}

func unreadable(m bucket.Marks) bool {
	return m.NoCompact != nil && m.NoCompact.Reason == bucket.ReasonBroken
}

// retention is how long a tenant's blocks stay in the bucket: what the limits file says, or else the flags.
func (s *server) retention(tenant string) compactor.Retention {
	return retentionOf(s.limits.Current(), &s.cfg.compact, tenant)
}

func retentionOf(limits *limits.Set, c *compactConfig, tenant string) compactor.Retention {
	set := limits.Of(tenant)
	return compactor.Retention{
		Raw:         set.RetentionRaw.Or(c.retentionRaw),
		FiveMinutes: set.Retention5m.Or(c.retention5m),
		OneHour:     set.Retention1h.Or(c.retention1h),
	}
}

// groupOwner picks the member that works on a group: by rendezvous hashing, among those that are alive and ACTIVE as this
// one sees it. Two members that see different things may both own a group, which is harmless. Safe for concurrent use.
type groupOwner struct {
	view          func() *ring.View
	minorityAfter time.Duration

	mu    sync.Mutex
	names []string
	ring  *ring.Ring // Of the members with these names.
}

// owns is false everywhere while this member is not ACTIVE itself, or cut off: the majority does the work.
func (o *groupOwner) owns(key string, now time.Time) bool {
	view := o.view()
	if cutOff(view, o.minorityAfter, now) {
		return false
	}
	var live []ring.Member
	var names []string
	for _, m := range view.Members {
		if m.Alive && m.InRing() && m.State == ring.Active {
			live = append(live, ring.Member{Name: m.Name})
			names = append(names, m.Name)
		}
	}
	if !slices.Contains(names, view.Self) {
		return false
	}
	o.mu.Lock()
	if o.ring == nil || !slices.Equal(o.names, names) {
		o.names, o.ring = names, ring.New(live, 1)
	}
	r := o.ring
	o.mu.Unlock()
	owner := r.Owners(ring.SlotOf(xxhash.Sum64String(key)))[0]
	return r.Members()[owner].Name == view.Self
}
