// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// session is what a storage.Querier of ours holds open until its Close: queriers of the local store
// and the bucket, and selects that are still under way.
type session struct {
	q    *Querier
	span span

	selects sync.WaitGroup
	mu      sync.Mutex
	cancels []context.CancelFunc // Of selects; guarded by mu.
	closers []func() error       // Guarded by mu; called last to first.
}

func newSession(q *Querier, r span) *session { return &session{q: q, span: r} }

func (s *session) onClose(f func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, f)
}

// Close calls off the selects under way, waits for them and releases what they read from.
func (s *session) Close() error {
	s.mu.Lock()
	for _, cancel := range s.cancels {
		cancel()
	}
	s.mu.Unlock()
	s.selects.Wait()

	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- { // Nobody is left to add one.
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// future is a select under way. Selects of one query run at once: the engine starts all of
// them before it reads the first.
type future struct {
	done     chan struct{}
	set      seriesSource // What follows is set when done is closed.
	warnings annotations.Annotations
	err      error
}

// start begins a select. Its context lasts until Close: storage may look at it while its sets are iterated.
func (s *session) start(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers []*labels.Matcher) *future {
	ctx, cancel := context.WithCancel(ctx)
	s.mu.Lock()
	s.cancels = append(s.cancels, cancel)
	s.mu.Unlock()
	f := &future{done: make(chan struct{})}
	s.selects.Go(func() {
		defer close(f.done)
		f.set, f.warnings, f.err = s.fetch(ctx, sorted, hints, matchers)
	})
	return f
}

// Next waits for the answer and moves to its next series.
func (f *future) Next() bool {
	<-f.done
	return f.err == nil && f.set.Next()
}

// Err returns why there is no answer, or why it ended early.
func (f *future) Err() error {
	<-f.done
	if f.err != nil {
		return f.err
	}
	return f.set.Err()
}

// Warnings waits for the answer: Prometheus' API reads them before the first series.
func (f *future) Warnings() annotations.Annotations {
	<-f.done
	var all annotations.Annotations
	all.Merge(f.warnings)
	if f.err == nil {
		all.Merge(f.set.Warnings())
	}
	return all
}
