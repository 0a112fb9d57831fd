// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// lifecycle owns what a node has started and stops it in the reverse order,
// so that nothing is closed under a part that still uses it.
type lifecycle struct {
	logger *slog.Logger
	// failed carries the first error of a background loop; such an error ends
	// the node, because a node without one of its loops is not a node.
	failed chan error

	mtx   sync.Mutex
	stops []stopStep
}

type stopStep struct {
	name string
	stop func() error
}

func newLifecycle(logger *slog.Logger) *lifecycle {
	return &lifecycle{logger: logger, failed: make(chan error, 1)}
}

// onStop registers a step of stopping. Steps run last in, first out.
func (l *lifecycle) onStop(name string, stop func() error) {
	l.mtx.Lock()
	defer l.mtx.Unlock()
	l.stops = append(l.stops, stopStep{name: name, stop: stop})
}

// background runs loop in a goroutine and registers the step that ends it and
// waits for it.
func (l *lifecycle) background(name string, loop func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := loop(ctx); err != nil && ctx.Err() == nil {
			l.fail(fmt.Errorf("%s: %w", name, err))
		}
	}()
	l.onStop("stop "+name, func() error {
		cancel()
		<-done
		return nil
	})
}

// fail ends the node with err; later errors are consequences and are dropped.
func (l *lifecycle) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// stop runs all steps. It is idempotent; the errors of all steps are returned.
func (l *lifecycle) stop() error {
	l.mtx.Lock()
	stops := l.stops
	l.stops = nil
	l.mtx.Unlock()

	var errs []error
	for i := len(stops) - 1; i >= 0; i-- {
		start := time.Now()
		if err := stops[i].stop(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", stops[i].name, err))
		}
		l.logger.Debug("stopped", "step", stops[i].name, "seconds", time.Since(start).Seconds())
	}
	return errors.Join(errs...)
}
