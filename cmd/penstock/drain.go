// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// drainHintsTimeout bounds the wait for the hints that this member keeps for
	// others, and for those that others keep for each other. A peer that is up takes
	// thousands of them in a second.
	drainHintsTimeout = 10 * time.Minute
	// drainRedundantTimeout bounds the wait, before anything is done, for what stands
	// against leaving and passes by itself: hints that are being replayed, a refill, a
	// change that not all have seen. Who is down stays down; nobody is kept waiting long.
	drainRedundantTimeout = 2 * time.Minute
	// drainUploadTimeout bounds the upload. It is long: a large head takes its time,
	// and giving up means doing all of it again.
	drainUploadTimeout = 2 * time.Hour
	drainPoll          = 500 * time.Millisecond
)

// errDraining is what senders and other members are told meanwhile.
var errDraining = errors.New("this member is being drained; it takes no more writes")

// drain takes this member out of the cluster for good:
//
//	check   the others can carry on, and there is a bucket to hold what is here
//	held    what was dropped of HA replicas is stored, and nothing is dropped any more
//	fence   LEAVING is gossiped, no write is taken any more
//	hints   those that this member keeps are delivered
//	cut     every head becomes blocks
//	upload  all blocks, and each is seen in the bucket
//	tell    the others read the index of the bucket anew
//	leave   LEFT is gossiped, the slots move; the data directory is marked
//
// Up to the last step an error takes this member back into service, and nothing is
// lost or different. LEFT is the commit point. Samples that were acknowledged with
// the help of this member are on W-1 more owners and in the bucket, and when no hint
// waits for any of the others, on all of them.
func (s *server) drain(ctx context.Context, force bool, say func(format string, args ...any)) (err error) {
	if err := s.checkDrain(ctx, force, say); err != nil {
		return err
	}
	if err := s.drainHeld(ctx, force, say); err != nil {
		return err
	}
	say("fencing: no more writes to this member")
	s.draining.Store(true)
	defer func() {
		if err != nil {
			s.draining.Store(false)
			s.resumeElection()
			err = errors.Join(err, s.members.SetState(ring.Active))
			say("back in service")
		}
	}()
	if err := s.members.SetState(ring.Leaving); err != nil {
		return err
	}
	wait(ctx, leaveGrace)
	for _, step := range []func(context.Context, bool, func(string, ...any)) error{
		s.drainHeld, s.drainHints, s.drainHeads, s.drainBlocks, s.tellBlocks,
	} {
		if err := step(ctx, force, say); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	say("leaving: the slots move to the other members")
	if err := s.members.SetState(ring.Left); err != nil {
		// The state is set; who has not heard it hears it later.
		s.logger.Warn("not every member may have heard yet that this one left", "err", err)
	}
	if err := markDrained(s.cfg.storage.path, s.identity, time.Now()); err != nil {
		// Nothing is undone by this: members keep in mind that this generation left.
		s.logger.Error("data directory not marked as drained", "err", err)
		say("the data directory could not be marked: %s; do not start on it again", err)
	}
	return nil
}

// checkDrain says why this member must stay, before anything is done.
func (s *server) checkDrain(ctx context.Context, force bool, say func(string, ...any)) error {
	if err := s.ready(); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	var reasons []string
	if s.uploader == nil {
		reasons = append(reasons, "there is no bucket: "+s.whatIsHere()+" would be lost, or left to the copies of other members; set --objstore.config-file")
	}
	if s.cluster != nil {
		rf := s.cfg.cluster.replicationFactor
		if left, need := s.members.View().Alive()-1, rf/2+1; left < need {
			reasons = append(reasons, fmt.Sprintf("%d members would be left, and writes need %d: add a member first", left, need))
		} else if left < rf {
			say("warning: %d members will be left; with replication factor %d one more that is down then costs copies", left, rf)
		}
	}
	if len(reasons) == 0 && s.cluster != nil {
		reasons = s.awaitRedundant(ctx, force, say)
	}
	if len(reasons) == 0 {
		return nil
	}
	if force {
		say("going on although (force): %s", strings.Join(reasons, "; "))
		return nil
	}
	return fmt.Errorf("this member must not leave now: %s", strings.Join(reasons, "; "))
}

// awaitRedundant waits a while until the others can spare this member, and returns why
// they cannot, if they still cannot. With force it does not wait.
func (s *server) awaitRedundant(ctx context.Context, force bool, say func(string, ...any)) []string {
	ctx, cancel := context.WithTimeout(ctx, drainRedundantTimeout)
	defer cancel()
	said := ""
	for {
		reasons := s.redundancy(ctx, "")
		if len(reasons) == 0 || force {
			return reasons
		}
		if text := strings.Join(reasons, "; "); text != said {
			say("waiting: %s", text)
			said = text
		}
		if !wait(ctx, drainPoll) {
			return reasons
		}
	}
}

// drainHints waits until the hints that this member keeps are delivered, and until no
// other member keeps some for a third one: what has only two copies and one of them
// here must first be on its other owner.
func (s *server) drainHints(ctx context.Context, force bool, say func(string, ...any)) error {
	ctx, cancel := context.WithTimeout(ctx, drainHintsTimeout)
	defer cancel()
	said := ""
	for {
		var reasons []string
		for name, stats := range s.hints.Pending() {
			reasons = append(reasons, fmt.Sprintf("%d hints for %s wait here", stats.Records, name))
		}
		if len(reasons) == 0 && s.cluster != nil {
			reasons = s.redundancy(ctx, s.identity.Name)
		}
		if len(reasons) == 0 {
			return nil
		}
		text := strings.Join(reasons, "; ")
		if force {
			say("going on although (force): %s", text)
			return nil
		}
		if text != said {
			say("waiting: %s", text)
			said = text
		}
		if !wait(ctx, drainPoll) {
			return fmt.Errorf("would be lost or short of copies: %s", text)
		}
	}
}

// drainHeads makes blocks of all that is in memory.
func (s *server) drainHeads(ctx context.Context, _ bool, say func(string, ...any)) error {
	tenants := s.store.Tenants()
	for _, tenant := range tenants {
		if err := s.store.FlushHead(ctx, tenant); err != nil {
			return fmt.Errorf("cut the head of tenant %s: %w", tenant, err)
		}
	}
	say("cut: the heads of %d tenants are blocks", len(tenants))
	return nil
}

// drainBlocks uploads all blocks and looks for each of them in the bucket.
func (s *server) drainBlocks(ctx context.Context, force bool, say func(string, ...any)) error {
	if s.uploader == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drainUploadTimeout)
	defer cancel()
	ids, err := s.uploader.Sync(ctx)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	say("uploaded: %d blocks", len(ids))
	listing, err := s.bucketBlocks.Metas(ctx)
	if err != nil {
		return fmt.Errorf("look for the blocks in the bucket: %w", err)
	}
	var local []ulid.ULID
	for _, tenant := range s.store.Tenants() {
		for _, meta := range s.store.Blocks(tenant) {
			local = append(local, meta.ULID)
		}
	}
	missing, total := notIn(listing, local), len(local)
	if len(missing) > 0 && !force {
		return fmt.Errorf("would be lost: %d of %d blocks are not in the bucket: %v", len(missing), total, missing)
	}
	say("verified: %d of %d local blocks are in the bucket", total-len(missing), total)
	return nil
}

// notIn returns the blocks that are neither in the bucket nor a source of one there.
func notIn(listing bucket.Listing, local []ulid.ULID) (missing []ulid.ULID) {
	there := map[ulid.ULID]bool{}
	for _, b := range listing.Blocks {
		if b.Meta.Thanos.Downsample.Resolution > 0 || unreadable(b.Marks) {
			continue // It was made of them, and does not have their samples.
		}
		there[b.Meta.ULID] = true
		for _, source := range b.Meta.Compaction.Sources {
			there[source] = true
		}
	}
	for _, id := range local {
		if !there[id] {
			missing = append(missing, id)
		}
	}
	return missing
}

// tellBlocks makes the others read the index of the bucket, so that queries find
// there what this member takes with it. Who does not answer does so by itself: it looks once
// in an interval, at a list that is of an age that members trust.
func (s *server) tellBlocks(ctx context.Context, _ bool, say func(string, ...any)) error {
	if s.cluster == nil || s.blocks == nil {
		return nil
	}
	deaf := 0
	for _, m := range s.members.View().Members {
		if m.Name == s.identity.Name || !m.Alive || !m.InRing() {
			continue
		}
		if _, err := s.askPeer(ctx, http.MethodPost, m, pathInternalBlocks, nil); err != nil {
			s.logger.Warn("member did not read the index of the bucket", "member", m.Name, "err", err)
			deaf++
		}
	}
	if deaf > 0 {
		pause := s.blockIndexAge() + s.blockIndexInterval()
		say("waiting %s: %d members read the index of the bucket by themselves", pause, deaf)
		wait(ctx, pause)
	}
	return nil
}

// left tells whether this member has left for good.
func (s *server) left() bool {
	self, known := s.members.View().Member(s.identity.Name)
	return known && self.State == ring.Left
}

// whatIsHere tells how much is on this disk.
func (s *server) whatIsHere() string {
	tenants := s.store.Tenants()
	series, blocks := 0, 0
	for _, tenant := range tenants {
		series += s.store.HeadSeries(tenant)
		blocks += len(s.store.Blocks(tenant))
	}
	return fmt.Sprintf("%d blocks and the heads of %d tenants with %d series", blocks, len(tenants), series)
}

// wait returns false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
