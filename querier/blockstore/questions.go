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

// ask puts one question to all blocks that can have series for the matchers in the time of the hints, and returns their
// answers in the order of the blocks. When a block turns out to be gone it asks once more, on a list of blocks of now: what
// replaced the block is in it.
func ask[A any](
	ctx context.Context, q *questions, hints *storage.SelectHints, ms []*labels.Matcher,
	one func(s *selection, b *block, ms []*labels.Matcher) (A, error),
) ([]A, error) {
	v, err := q.current()
	if err != nil {
		return nil, err
	}
	answers, err := askBlocks(ctx, q, v, hints, ms, one)
	if !errors.Is(err, bucket.ErrNotFound) || ctx.Err() != nil {
		return answers, err
	}
	q.store.metrics.repeats.Inc()
	fresh, listErr := q.store.fresh(ctx)
	if listErr != nil {
		return nil, fmt.Errorf("%w; and the bucket cannot be listed anew: %w", err, listErr)
	}
	q.mu.Lock()
	q.view = fresh
	q.mu.Unlock()
	return askBlocks(ctx, q, fresh, hints, ms, one)
}

func askBlocks[A any](
	ctx context.Context, q *questions, v *view, hints *storage.SelectHints, ms []*labels.Matcher,
	one func(s *selection, b *block, ms []*labels.Matcher) (A, error),
) ([]A, error) {
	needed, err := q.needed(v, hints, ms)
	if err != nil {
		return nil, err
	}
	answers := make([]A, len(needed))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blocksAtOnce)
	for i, b := range needed {
		group.Go(func() error {
			blk, err := q.store.cache.acquire(ctx, b)
			if err != nil {
				return err
			}
			defer q.store.cache.release(blk.entry)
			s := q.selection(ctx, blk, b, hints, ms)
			answers[i], err = one(s, b, slices.Clone(ms))
			if isDamage(err) {
				// What is here may be what is wrong: whoever asks next looks into the bucket.
				q.store.cache.drop(blk.entry)
			}
			return err
		})
	}
	return answers, group.Wait()
}

// needed returns the blocks that can have series for the matchers.
func (q *questions) needed(v *view, hints *storage.SelectHints, ms []*labels.Matcher) ([]*block, error) {
	mint, maxt := q.mint, q.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	var found []*block
	for _, b := range v.overlapping(q.tenant, q.mint, q.maxt) {
		if _, match := matchExternal(b.external, ms); !match || !b.overlaps(mint, maxt) {
			continue
		}
		if err := b.readable(); err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	return found, nil
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
