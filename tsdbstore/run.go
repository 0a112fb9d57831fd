// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// mendInterval is how often tenants that failed are looked at; the first look
// comes at once, the others are for a disk that is still full.
const mendInterval = time.Second

// Run cuts blocks on the store's own schedule, reopens TSDBs that failed, and reads
// every block once to see that it is whole,
// until ctx ends. It returns an error only when this process cannot go on with a
// tenant and must be restarted; what was acknowledged is then on disk.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.mendLoop(ctx) })
	g.Go(func() error { return s.cutLoop(ctx) })
	g.Go(func() error { return s.scrubLoop(ctx) })
	return g.Wait()
}

func (s *Store) mendLoop(ctx context.Context) error {
	tick := time.NewTicker(mendInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		case <-tick.C:
		}
		if err := s.mendAll(ctx); errors.Is(err, errWedged) {
			return err
		}
	}
}

// mendAll looks at every tenant once.
func (s *Store) mendAll(ctx context.Context) error {
	var errs []error
	for _, t := range s.all() {
		if inst := t.inst.Load(); inst != nil && !inst.failed.Load() {
			continue
		}
		select {
		case <-t.opened:
		default:
			continue // Its first open is under way.
		}
		err := t.mend(ctx)
		t.logMend(err)
		errs = append(errs, err)
	}
	s.updateReady()
	return errors.Join(errs...)
}

// logMend logs a reason once, not every second.
func (t *tenant) logMend(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != t.lastMend && text != "" {
		t.logger.Warn("tenant is not back yet", "err", err)
	}
	t.lastMend = text
}

func (s *Store) cutLoop(ctx context.Context) error {
	tick := time.NewTicker(reloadInterval(s.cfg.BlockDuration))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		s.cutAll(ctx)
	}
}

// cutAll goes through the tenants one by one: cutting is CPU and disk work that
// queries and writes need as well.
func (s *Store) cutAll(ctx context.Context) {
	for _, t := range s.all() {
		if ctx.Err() != nil {
			return
		}
		if err := t.tend(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.logger.Error("cannot reload blocks, trying again later", "err", err)
		}
		if err := t.cut(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.logger.Error("cannot cut blocks, trying again later", "err", err)
		}
	}
}

// wakeUp makes Run look at failed tenants now.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
