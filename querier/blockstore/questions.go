// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// blocksAtOnce is how many blocks one query asks at the same time: each waits for the bucket three or four times, and a year
// is some thirty blocks.
const blocksAtOnce = 16

// questions are what one querier is asked.
type questions struct {
	store      *Store
	tenant     string
	mint, maxt int64
	budget     *budget

	mu     sync.Mutex
	view   *view // What is visible to it; replaced when a block of it is gone.
	closed bool
}

func (s *Store) newQuestions(v *view, tenant string, mint, maxt int64) *questions {
	return &questions{store: s, tenant: tenant, mint: mint, maxt: maxt, view: v, budget: newBudget(s.cfg.MaxQueryBytes)}
}

// Close implements storage.Querier. Answers hold nothing, so that there is nothing to give back.
func (q *questions) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	return nil
}

func (q *questions) current() (*view, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, errors.New("the querier is closed")
	}
	return q.view, nil
}

// question is what one block is asked. It answers for its pieces of time alone when the plan says so.
type question struct {
	sel      *selection
	plan     *plan
	block    *block
	hints    *storage.SelectHints
	matchers []*labels.Matcher // Its own.
}

// ask puts one question to all blocks that answer for the matchers in the time of the hints, and returns their answers in the
// order of the plan. When a block turns out to be gone it asks once more, on a list of blocks of now: what replaced the block is
// in it.
func ask[A any](
	ctx context.Context, q *questions, hints *storage.SelectHints, ms []*labels.Matcher, one func(question) (A, error),
) (*plan, []A, error) {
	v, err := q.current()
	if err != nil {
		return nil, nil, err
	}
	p := q.plan(ctx, v, hints, ms)
	answers, err := askBlocks(ctx, q, p, hints, ms, one)
	if !errors.Is(err, bucket.ErrNotFound) || ctx.Err() != nil {
		downsample.ReportCoarse(ctx, p.downsampled())
		return p, answers, err
	}
	q.store.metrics.repeats.Inc()
	fresh, listErr := q.store.fresh(ctx)
	if listErr != nil {
		return nil, nil, fmt.Errorf("%w; and the bucket cannot be listed anew: %w", err, listErr)
	}
	q.mu.Lock()
	q.view = fresh
	q.mu.Unlock()
	p = q.plan(ctx, fresh, hints, ms)
	answers, err = askBlocks(ctx, q, p, hints, ms, one)
	downsample.ReportCoarse(ctx, p.downsampled())
	return p, answers, err
}

func askBlocks[A any](
	ctx context.Context, q *questions, p *plan, hints *storage.SelectHints, ms []*labels.Matcher, one func(question) (A, error),
) ([]A, error) {
	answers := make([]A, len(p.needs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blocksAtOnce)
	for i, n := range p.needs {
		group.Go(func() error {
			blk, err := q.store.cache.acquire(ctx, n.block)
			if err != nil {
				return err
			}
			defer q.store.cache.release(blk.entry)
			own := hints
			if p.coarse {
				own = n.hintsFor(hints)
			}
			s := q.selection(ctx, blk, n.block, own, ms)
			answers[i], err = one(question{s, p, n.block, own, slices.Clone(ms)})
			if isDamage(err) {
				// What is here may be what is wrong: whoever asks next looks into the bucket.
				q.store.cache.drop(blk.entry)
			}
			return err
		})
	}
	return answers, group.Wait()
}

// plan chooses among the blocks that can have series for the matchers.
func (q *questions) plan(ctx context.Context, v *view, hints *storage.SelectHints, ms []*labels.Matcher) *plan {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	var able []*block
	for _, b := range v.overlapping(q.tenant, q.mint, q.maxt) {
		if _, match := matchExternal(b.external, ms); match && b.overlaps(mint, maxt) {
			able = append(able, b)
		}
	}
	p := newPlan(able, mint, maxt, downsample.LimitFrom(ctx), hints)
	return &p
}

func (q *questions) selection(ctx context.Context, blk *openBlock, b *block, hints *storage.SelectHints, ms []*labels.Matcher) *selection {
	own, _ := matchExternal(b.external, ms)
	s := &selection{
		ctx: ctx, block: blk, budget: q.budgetFor(ctx), pool: q.store.cfg.Pool, matchers: own, mint: q.mint, maxt: q.maxt,
	}
	if hints != nil {
		s.mint, s.maxt, s.noChunks = hints.Start, hints.End, hints.Func == funcSeries
	}
	return s
}
