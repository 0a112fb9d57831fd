// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// failuresInRowMax ends a run: when several steps in a row fail, it is not the blocks.
	failuresInRowMax = 3
	// failingWaitMax bounds the wait before a step that fails again and again is tried once more. Each try downloads the
	// blocks; six hours are four tries a day.
	failingWaitMax = 6 * time.Hour
)

// failing is a step that failed, by its first block.
type failing struct {
	times int
	next  time.Time // Not tried before.
}

// passing is the state of one run over the bucket.
type passing struct {
	*Compactor

	mu sync.Mutex
	// done are blocks that were dealt with in this run, or failed. A step that is planned again for one of them waits for the
	// next run.
	done          map[ulid.ULID]bool
	failuresInRow int
	errs          []error
}

// work does all that there is to do, by listings of its own: what a listing shows decides what is done, so that it must not
// be older than needed. It ends because every step takes blocks out of the run.
func (c *Compactor) work(ctx context.Context) error {
	p := &passing{Compactor: c, done: map[ulid.ULID]bool{}}
	for first := true; ctx.Err() == nil; first = false {
		l, err := c.cfg.Index.Fresh(ctx)
		if err != nil {
			return errors.Join(append(p.errs, err)...)
		}
		t := c.survey(l)
		if first {
			p.forgive(l)
			p.clean(ctx, t)
		}
		if !p.merge(ctx, t) && !p.downsample(ctx, t) {
			break
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(p.errs...)
}

// forgive forgets what failed with blocks that are gone.
func (p *passing) forgive(l bucket.Listing) {
	there := map[ulid.ULID]bool{}
	for _, b := range l.Blocks {
		there[b.Meta.ULID] = true
	}
	maps.DeleteFunc(p.failing, func(id ulid.ULID, _ failing) bool { return !there[id] })
}

// step is one piece of work on some blocks of a group.
type step struct {
	group  Group
	blocks []bucket.Listed
	do     func(context.Context) error
}

func (p *passing) merge(ctx context.Context, t todo) bool {
	var steps []step
	for _, q := range t.plan.Quarantine {
		steps = append(steps, step{groupOf(q.Block.Meta).in(q.Block.Meta, p.cfg.longest()), []bucket.Listed{q.Block}, func(ctx context.Context) error {
			return p.quarantine(ctx, q)
		}})
	}
	for _, task := range t.plan.Tasks {
		steps = append(steps, step{task.Group, task.Inputs, func(ctx context.Context) error { return p.run(ctx, task) }})
	}
	return p.all(ctx, steps)
}

func (p *passing) downsample(ctx context.Context, t todo) bool {
	var steps []step
	for _, task := range t.downsample {
		steps = append(steps, step{task.Group, []bucket.Listed{task.Block}, func(ctx context.Context) error {
			return p.runDownsample(ctx, task)
		}})
	}
	return p.all(ctx, steps)
}

// all does the steps, those of one part of a group one after the other, and several parts at once. It is false when nothing could be
// done any more.
func (p *passing) all(ctx context.Context, steps []step) bool {
	byGroup := map[string][]step{}
	var order []string
	for _, s := range steps {
		if !p.begin(s) {
			continue
		}
		if byGroup[s.group.Key] == nil {
			order = append(order, s.group.Key)
		}
		byGroup[s.group.Key] = append(byGroup[s.group.Key], s)
	}
	var workers errgroup.Group
	workers.SetLimit(p.cfg.Concurrency)
	for _, key := range order {
		workers.Go(func() error {
			p.inOrder(ctx, byGroup[key])
			return nil // What fails is in p.errs.
		})
	}
	_ = workers.Wait()
	return len(order) > 0 && !p.futile()
}

func (p *passing) inOrder(ctx context.Context, steps []step) {
	for _, s := range steps {
		if ctx.Err() != nil || p.futile() {
			return
		}
		p.end(ctx, s, s.do(ctx))
	}
}

// begin takes the blocks of a step, unless one of them was dealt with, or the step failed before and is to wait.
func (p *passing) begin(s step) bool {
	if slices.ContainsFunc(s.blocks, func(b bucket.Listed) bool { return p.done[b.Meta.ULID] }) {
		return false
	}
	for _, b := range s.blocks {
		p.done[b.Meta.ULID] = true
	}
	return !p.cfg.Now().Before(p.failing[s.blocks[0].Meta.ULID].next)
}

// futile says that it is no use to go on.
func (p *passing) futile() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failuresInRow >= failuresInRowMax
}

// end notes what came of a step. Whatever it was, the others go on.
func (p *passing) end(ctx context.Context, s step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := s.blocks[0].Meta.ULID
	var quarantined *quarantinedError
	switch {
	case ctx.Err() != nil:
	case err == nil:
		p.failuresInRow = 0
		delete(p.failing, first)
	case errors.As(err, &quarantined):
		p.failuresInRow = 0
		for _, b := range s.blocks { // The sound ones are planned again.
			if b.Meta.ULID != quarantined.id {
				delete(p.done, b.Meta.ULID)
			}
		}
	case errors.Is(err, errStale):
		p.logger.Info("a block is gone that was to be merged; another member was faster", "group", s.group.Key, "err", err)
	default:
		p.metrics.failures.Inc()
		p.failuresInRow++
		f := p.failing[first]
		f.next = p.cfg.Now().Add(f.wait(p.cfg.Interval))
		f.times++
		p.failing[first] = f
		p.errs = append(p.errs, fmt.Errorf("group %s: %w", s.group.Key, err))
	}
}

// wait is how long to wait after another failure: not at all at first, so that the next run tries again, and then less and
// less often.
func (f failing) wait(interval time.Duration) time.Duration {
	if f.times == 0 {
		return 0
	}
	return min(interval<<min(f.times, 20), failingWaitMax)
}

func (p *passing) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, err)
}
