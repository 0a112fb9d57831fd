// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ingest/hint"
	"github.com/penstock-io/penstock/tsdbstore"
)

const (
	// How far ahead of this node's clock a sample may be: at the node that
	// receives it, and, wider, at the owners, so that two clocks five minutes
	// apart give the same verdict. One sample far in the future would block a
	// whole TSDB.
	maxFutureCoordinator = 10 * time.Minute
	maxFutureOwner       = 20 * time.Minute

	// Hints for absent owners: an hour of 100k samples/s at 20 bytes each.
	hintBytesMax = 8 << 30
	// A hint must arrive before its samples leave the out-of-order window of
	// their TSDB, which is measured from the newest sample there.
	hintAgeMargin = 30 * time.Minute
)

// wireWrites builds the write path from the disk upwards.
func (s *server) wireWrites() error {
	boot, err := tsdbstore.SystemBootID()
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	s.hints, err = hint.Open(hint.Config{
		Dir:      filepath.Join(s.cfg.storage.path, "hints"),
		MaxBytes: hintBytesMax,
		MaxAge:   hintAge(time.Duration(s.cfg.storage.outOfOrderWindow)),
		// A hint is the copy of a member that has none: it must last as long as the others.
		Sync: s.cfg.storage.walSync == tsdbstore.WALSyncCommit,
		Room: s.store.CheckDisk,
		// Without that, what a crash of the host took of them is known by this.
		BootID: boot,
	}, s.logger.With("component", "hint"), s.reg)
	if err != nil {
		return err
	}
	s.onStop("close hints", s.hints.Close)

	s.series = ingest.NewSeriesCache(ingest.CacheConfig{}, s.reg)
	s.local = ingest.NewLocal(ingest.LocalConfig{
		Store:     s.store,
		Metadata:  s.metadata,
		MaxFuture: maxFutureOwner,
		Ready:     s.takesWrites,
		Logger:    s.logger.With("component", "ingest"),
	}, s.reg)
	s.distributor = ingest.NewDistributor(ingest.DistributorConfig{
		RF:            s.cfg.cluster.replicationFactor,
		View:          s.members.View,
		Local:         s.local,
		Client:        s.client,
		Scheme:        s.scheme,
		Hints:         s.hints,
		MinorityAfter: s.minorityAfter(),
	}, s.logger.With("component", "ingest"), s.reg)
	s.onStop("finish writes", func() error { s.distributor.Close(); return nil })
	s.ledger = s.newLedger()
	s.wireElection()
	return nil
}

// hintAge is the longest that a hint may wait: half an hour less than the
// out-of-order window, or half of a window too short for that.
func hintAge(window time.Duration) time.Duration {
	if window > 2*hintAgeMargin {
		return window - hintAgeMargin
	}
	return window / 2
}

// takesWrites tells whether this member stores what it is given.
func (s *server) takesWrites() bool {
	return s.store.Ready() && !s.draining.Load() && s.introduction.done.Load()
}

// admitWrite says why senders must go to another member now, or nothing.
func (s *server) admitWrite() error {
	if s.draining.Load() {
		return errDraining
	}
	return s.memory.AdmitWrite()
}
