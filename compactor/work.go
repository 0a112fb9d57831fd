// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// passing is the state of one run over the bucket.
type passing struct {
	*Compactor

	mu sync.Mutex
	// left are groups that are not touched again in this run: something failed there, or the listing was out of date.
	left map[string]bool
	// done are blocks that were dealt with. One that is planned again in the same run shows that the listing is stale.
	done map[ulid.ULID]bool
	errs []error
}

// work does all that there is to do, by listings of its own: what a listing shows decides what is done, so that it must not
// be older than needed. It ends because every step leaves fewer blocks, or leaves out a group.
func (c *Compactor) work(ctx context.Context) error {
	p := &passing{Compactor: c, left: map[string]bool{}, done: map[ulid.ULID]bool{}}
	for first := true; ctx.Err() == nil; first = false {
		l, err := c.cfg.Index.Fresh(ctx)
		if err != nil {
			return errors.Join(append(p.errs, err)...)
		}
		t := c.survey(l)
		if first {
			p.clean(ctx, l, t)
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

// step is one piece of work on some blocks of a group.
type step struct {
	group  Group
	blocks []bucket.Listed
	do     func(context.Context) error
}

func (p *passing) merge(ctx context.Context, t todo) bool {
	var steps []step
	for _, q := range t.plan.Quarantine {
		steps = append(steps, step{groupOf(q.Block.Meta), []bucket.Listed{q.Block}, func(ctx context.Context) error {
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

// all does the steps, those of one group one after the other, and several groups at once. It is false when nothing could be
// done any more.
func (p *passing) all(ctx context.Context, steps []step) bool {
	byGroup := map[string][]step{}
	var order []string
	for _, s := range steps {
		if p.left[s.group.Key] {
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
			for _, s := range byGroup[key] {
				if ctx.Err() != nil || !p.one(ctx, s) {
					break
				}
			}
			return nil
		})
	}
	_ = workers.Wait() // What fails is in p.errs.
	return len(order) > 0
}

// one does a step. When it is false the rest of the group waits for the next run.
func (p *passing) one(ctx context.Context, s step) bool {
	p.mu.Lock()
	again := slices.ContainsFunc(s.blocks, func(b bucket.Listed) bool { return p.done[b.Meta.ULID] })
	for _, b := range s.blocks {
		p.done[b.Meta.ULID] = true
	}
	p.left[s.group.Key] = p.left[s.group.Key] || again
	p.mu.Unlock()
	if again {
		return false
	}
	err := s.do(ctx)
	switch {
	case err == nil, errors.Is(err, errQuarantined):
		p.forget(s, err)
		return true
	case errors.Is(err, errStale):
		p.logger.Info("a block is gone that was to be merged; another member was faster", "group", s.group.Key, "err", err)
	case ctx.Err() == nil:
		p.metrics.failures.Inc()
		p.fail(fmt.Errorf("group %s: %w", s.group.Key, err))
	}
	p.mu.Lock()
	p.left[s.group.Key] = true
	p.mu.Unlock()
	return false
}

// forget lets the sound blocks of a task that was given up for a broken one be planned again.
func (p *passing) forget(s step, err error) {
	var q *quarantinedError
	if !errors.As(err, &q) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range s.blocks {
		if b.Meta.ULID != q.id {
			delete(p.done, b.Meta.ULID)
		}
	}
}

func (p *passing) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, err)
}
