// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// leases are the local copies that one querier uses, from when it first needs them until it is closed.
type leases struct {
	store      *Store
	mint, maxt int64
	candidates []*block // What was visible when the querier was made.

	mu     sync.Mutex
	held   map[ulid.ULID]*entry
	bytes  int64
	closed bool
}

// heldBlock is a block with its local copy.
type heldBlock struct {
	*block
	copy *entry
}

// need returns the blocks that can have series for the matchers in the time of the hints, with their local copies.
func (l *leases) need(ctx context.Context, hints *storage.SelectHints, ms []*labels.Matcher) ([]heldBlock, error) {
	mint, maxt := l.mint, l.maxt
	if hints != nil {
		mint, maxt = hints.Start, hints.End
	}
	var needed []*block
	for _, b := range l.candidates {
		if _, match := matchExternal(b.external, ms); !match || !b.overlaps(mint, maxt) {
			continue
		}
		if err := b.readable(); err != nil {
			return nil, err
		}
		needed = append(needed, b)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("the querier is closed")
	}
	if err := l.acquire(ctx, needed); err != nil {
		return nil, err
	}
	found := make([]heldBlock, len(needed))
	for i, b := range needed {
		found[i] = heldBlock{b, l.held[b.id]}
	}
	return found, nil
}

// acquire adds those of the blocks that are not held yet.
func (l *leases) acquire(ctx context.Context, needed []*block) error {
	var missing []*block
	total := l.bytes
	for _, b := range needed {
		if l.held[b.id] == nil {
			missing = append(missing, b)
			total += b.bytes
		}
	}
	if limit := l.store.cfg.MaxBytes; total > limit {
		return fmt.Errorf("the query needs %d blocks of %d bytes in all, and the local copies may have %d bytes: "+
			"ask for a shorter time range or raise --%s", len(l.held)+len(missing), total, limit, FlagMaxBytes)
	}
	taken, err := l.store.cache.acquire(ctx, missing, len(l.held) == 0)
	if errors.Is(err, errNoRoom) {
		return fmt.Errorf("%w for %d bytes: run fewer queries at once or raise --%s", err, total-l.bytes, FlagMaxBytes)
	}
	if err != nil {
		return err
	}
	if l.held == nil {
		l.held = map[ulid.ULID]*entry{}
	}
	for _, e := range taken {
		l.held[e.id] = e
	}
	l.bytes = total
	return nil
}

func (l *leases) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	taken := make([]*entry, 0, len(l.held))
	for _, e := range l.held {
		taken = append(taken, e)
	}
	l.held = nil
	l.store.cache.release(taken)
}
