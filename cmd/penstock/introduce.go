// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/ring"
)

const (
	// newcomerFile is in the TSDBs' directory while they have taken no write.
	newcomerFile = "newcomer"
	// introducePoll is how soon a newcomer takes writes once enough members know it.
	introducePoll = 100 * time.Millisecond
	// introduceSilence is how often it is said whom a newcomer waits for.
	introduceSilence = 10 * time.Second
)

// introduction is whether enough members know this one for it to take writes.
type introduction struct {
	done    atomic.Bool
	waiting atomic.Pointer[string] // Whom it hangs on; nil if nobody is known.
}

// openIntroduction finds out whether this data directory is a newcomer's. It is one if it has no
// record of itself yet, or was away for so long that the others may have dropped it.
func (s *server) openIntroduction() error {
	path := s.tsdbPath(newcomerFile)
	record, found, _ := loadDataRecord(s.tsdbPath("data.json")) // Damage is reported where it is read again.
	if away := time.Since(record.Alive); !found || away > time.Duration(s.cfg.storage.retention) {
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if err := replaceFile(path, nil); err != nil {
			return fmt.Errorf("note that no other member knows this one: %w", err)
		}
	}
	_, err := os.Stat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.introduction.done.Store(err != nil)
	return nil
}

// introduce asks the other members whether they know this one until enough do.
func (s *server) introduce(ctx context.Context) error {
	i := ring.Introducer{View: s.members.View, Client: s.client, Scheme: s.scheme}
	tick := time.NewTicker(introducePoll)
	defer tick.Stop()
	said := time.Now()
	for !s.introduction.done.Load() {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		introduced, waiting := i.Ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case introduced:
			s.introduced()
		case len(waiting) > 0:
			names := strings.Join(waiting, ", ")
			s.introduction.waiting.Store(&names)
			if time.Since(said) > introduceSilence {
				s.logger.Warn("this member takes no writes yet: too few others know it", "waiting_for", names)
				said = time.Now()
			}
		}
	}
	return nil
}

// introduced lets this member take writes. That it may is told and written down later: a start
// without the note asks again.
func (s *server) introduced() {
	s.introduction.done.Store(true)
	if err := os.Remove(s.tsdbPath(newcomerFile)); err != nil {
		s.logger.Warn("cannot note that the other members know this one; they are asked again at the next start", "err", err)
	}
	if err := s.cluster.SetSettled(); err != nil {
		s.logger.Warn("the other members may learn late that this one takes writes", "err", err)
	}
	s.logger.Info("enough members know this one: it takes writes")
}

// unknownTo says on whom it hangs that this member takes no writes, or nothing. One that
// knows nobody is not waiting: it may be the first.
func (s *server) unknownTo() error {
	if names := s.introduction.waiting.Load(); names != nil && !s.introduction.done.Load() {
		return fmt.Errorf("waiting to be known by %s", *names)
	}
	return nil
}
