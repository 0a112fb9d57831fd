// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

const (
	// scrubBytesPerSecond reads a day of a million series, some 10 GiB, in three
	// hours, and leaves the disk to others.
	scrubBytesPerSecond = 1 << 20
	// scrubInterval is how soon a new block is read.
	scrubInterval = time.Minute
)

// scrubbed is what is known of the blocks of a tenant. To read all of them at the
// start would take longer than to replay the logs; a query that meets a bad chunk
// before fails, and never answers short.
type scrubbed struct {
	mu   sync.Mutex
	good map[ulid.ULID]struct{}
	bad  map[ulid.ULID]struct{}
}

func (s *scrubbed) note(id ulid.ULID, good bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.good == nil {
		s.good, s.bad = make(map[ulid.ULID]struct{}), make(map[ulid.ULID]struct{})
	}
	if good {
		s.good[id] = struct{}{}
		return
	}
	s.bad[id] = struct{}{}
}

// forget drops what is known of blocks that are gone.
func (s *scrubbed) forget(have map[ulid.ULID]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range []map[ulid.ULID]struct{}{s.good, s.bad} {
		for id := range known {
			if _, ok := have[id]; !ok {
				delete(known, id)
			}
		}
	}
}

func (s *scrubbed) isGood(id ulid.ULID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.good[id]
	return ok
}

// condemned tells whether a block is to be dropped because it is damaged.
func (t *tenant) condemned(id ulid.ULID) bool {
	t.scrub.mu.Lock()
	defer t.scrub.mu.Unlock()
	_, ok := t.scrub.bad[id]
	return ok
}

// scrubLoop reads every block once, slowly.
func (s *Store) scrubLoop(ctx context.Context) error {
	tick := time.NewTicker(scrubInterval)
	defer tick.Stop()
	for {
		for _, t := range s.all() {
			if err := t.scrubBlocks(ctx, scrubBytesPerSecond); err != nil && ctx.Err() == nil {
				t.logger.Error("cannot check blocks, trying again later", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// scrubBlocks reads the blocks of a tenant that were not read yet, and sets aside
// those that are damaged.
func (t *tenant) scrubBlocks(ctx context.Context, bytesPerSecond int) error {
	inst := t.inst.Load()
	if inst == nil {
		return nil
	}
	have := blockIDs(inst.db)
	t.scrub.forget(have)
	var errs []error
	for id := range have {
		if ctx.Err() != nil {
			break
		}
		if t.scrub.isGood(id) {
			continue
		}
		dir := filepath.Join(t.dir, id.String())
		// Opened apart from the TSDB, which may be closed meanwhile.
		bad := verifyBlock(ctx, dir, pace(ctx, bytesPerSecond))
		switch {
		case bad == nil:
			t.scrub.note(id, true)
			t.sumBlock(id)
		case isEnvironment(bad):
			errs = append(errs, bad)
		default:
			errs = append(errs, t.condemn(ctx, id, dir, bad))
		}
	}
	return errors.Join(errs...)
}

// condemn makes the TSDB drop a damaged block, of which a copy is in the quarantine.
func (t *tenant) condemn(ctx context.Context, id ulid.ULID, dir string, cause error) error {
	t.work.Lock()
	defer t.work.Unlock()
	inst := t.inst.Load()
	if inst == nil || t.closed {
		return nil // Whoever opens it next scrubs it again.
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // Retention was faster.
	}
	if err := t.blockLost(id, dir, cause); err != nil {
		return err
	}
	copied := filepath.Join(t.dir, quarantineDir, ".block")
	if err := errors.Join(os.RemoveAll(copied), linkTree(dir, copied)); err != nil {
		return fmt.Errorf("quarantine block %s: %w", id, err)
	}
	if _, err := t.setAside(kindBlock, copied, id.String()); err != nil {
		return fmt.Errorf("quarantine block %s: %w", id, err)
	}
	t.scrub.note(id, false)
	return t.reload(ctx, inst)
}

// pace returns a function that waits so long after each so many bytes that a rate is
// held. It is for one goroutine.
func pace(ctx context.Context, bytesPerSecond int) func(n int) {
	const batch = 64 << 10
	due := 0
	return func(n int) {
		if due += n; due < batch {
			return
		}
		timer := time.NewTimer(time.Duration(due) * time.Second / time.Duration(bytesPerSecond))
		defer timer.Stop()
		due = 0
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
	}
}
