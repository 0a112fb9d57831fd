// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

// downloadsAtOnce bounds the traffic that a query can cause; a few streams fill most links.
const downloadsAtOnce = 4

// errNoRoom says that other queries hold the blocks that would have to go.
var errNoRoom = errors.New("the local copies of blocks that other queries hold leave no room")

type cacheConfig struct {
	dir      string
	maxBytes int64
	fetch    func(ctx context.Context, id ulid.ULID, dir string) (int64, error)
}

// cache holds local copies of blocks, each in <dir>/<ULID>, up to maxBytes. A copy that is in use is never removed; of the
// others the least recently used goes first. A directory appears by rename when it is whole, and disappears by rename.
type cache struct {
	cfg     cacheConfig
	logger  *slog.Logger
	metrics *metrics
	slots   chan struct{}  // One for each download under way.
	wg      sync.WaitGroup // Of loads.
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	entries map[ulid.ULID]*entry
	used    int64         // Bytes of all entries.
	uses    int64         // A clock that ticks with each use.
	freed   chan struct{} // Closed, and replaced, when an entry is no longer in use.
}

// entry is one local copy, wholly there or on its way.
type entry struct {
	id      ulid.ULID
	bytes   int64
	refs    int   // In use while positive.
	lastUse int64 // By cache.uses.

	// ready is nil while nothing but the directory is known, open while the block is being loaded, and closed once block or
	// err is set. Both may be read without the lock after that.
	ready chan struct{}
	block *tsdb.Block
	err   error // The entry is no longer in the cache.
}

func newCache(cfg cacheConfig, logger *slog.Logger, m *metrics) (*cache, error) {
	if err := os.MkdirAll(cfg.dir, dirMode); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cache{
		cfg: cfg, logger: logger, metrics: m, slots: make(chan struct{}, downloadsAtOnce), ctx: ctx, cancel: cancel,
		entries: map[ulid.ULID]*entry{}, freed: make(chan struct{}),
	}
	if err := c.adopt(); err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// acquire returns the local copies of all the given blocks, which stay until each is released. It downloads what is
// missing. With wait it waits, under ctx, until other queries have made room; without, that is errNoRoom: a caller that
// holds blocks must not wait for one that may be waiting for it.
func (c *cache) acquire(ctx context.Context, want []*block, wait bool) ([]*entry, error) {
	var taken []*entry
	for {
		var gone []evicted
		var freed <-chan struct{}
		c.mu.Lock()
		ok := c.makeRoom(want, &gone)
		if ok {
			taken = c.take(want)
		}
		freed = c.freed
		c.mu.Unlock()
		c.discard(gone)
		if ok {
			break
		}
		if !wait {
			return nil, errNoRoom
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errNoRoom, ctx.Err())
		case <-freed:
		}
	}
	for _, e := range taken {
		select {
		case <-e.ready:
		case <-ctx.Done():
			c.release(taken)
			return nil, fmt.Errorf("wait for block %s: %w", e.id, ctx.Err())
		}
		if e.err != nil {
			c.release(taken)
			return nil, e.err
		}
	}
	return taken, nil
}

// makeRoom evicts what is needed for the blocks that are not there. It is false, and evicts nothing, when that is not
// enough. The caller holds the lock and discards what is gone after unlocking.
func (c *cache) makeRoom(want []*block, gone *[]evicted) bool {
	wanted := map[ulid.ULID]struct{}{}
	var missing int64
	for _, b := range want {
		wanted[b.id] = struct{}{}
		if c.entries[b.id] == nil {
			missing += b.bytes
		}
	}
	idle := c.idle(func(id ulid.ULID) bool { _, ok := wanted[id]; return !ok })
	var evictable int64
	for _, e := range idle {
		evictable += e.bytes
	}
	if c.used-evictable+missing > c.cfg.maxBytes {
		return false
	}
	for _, e := range idle {
		if c.used+missing <= c.cfg.maxBytes {
			break
		}
		*gone = append(*gone, c.evict(e))
	}
	return true
}

// take marks the blocks as in use and starts to load those that are not open. The caller holds the lock.
func (c *cache) take(want []*block) []*entry {
	taken := make([]*entry, 0, len(want))
	for _, b := range want {
		e := c.entries[b.id]
		if e == nil {
			e = &entry{id: b.id, bytes: b.bytes}
			c.entries[b.id] = e
			c.used += b.bytes
		}
		e.refs++
		c.uses++
		e.lastUse = c.uses
		if e.ready == nil {
			e.ready = make(chan struct{})
			c.wg.Go(func() { c.load(e, b.bytes) })
		}
		taken = append(taken, e)
	}
	c.measure()
	return taken
}

// release gives back what acquire returned.
func (c *cache) release(taken []*entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range taken {
		e.refs--
	}
	c.signal()
}

// signal wakes whoever waits for room. The caller holds the lock.
func (c *cache) signal() {
	close(c.freed)
	c.freed = make(chan struct{})
}

// retain drops the copies of blocks that are no longer in the bucket, unless a query uses them.
func (c *cache) retain(ids map[ulid.ULID]struct{}) {
	var gone []evicted
	c.mu.Lock()
	for _, e := range c.idle(func(id ulid.ULID) bool { _, ok := ids[id]; return !ok }) {
		gone = append(gone, c.evict(e))
	}
	c.mu.Unlock()
	c.discard(gone)
}

// measure sets the gauges. The caller holds the lock.
func (c *cache) measure() {
	c.metrics.cacheBytes.Set(float64(c.used))
	c.metrics.cacheBlocks.Set(float64(len(c.entries)))
}

// close ends downloads and closes all blocks. The copies stay for the next process.
func (c *cache) close() error {
	c.cancel()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, e := range c.entries {
		if e.block != nil {
			errs = append(errs, e.block.Close())
		}
	}
	c.entries = map[ulid.ULID]*entry{}
	return errors.Join(errs...)
}

// path returns the directory of a copy, or with a suffix one that is never taken for a copy.
func (c *cache) path(id ulid.ULID, suffix string) string {
	return filepath.Join(c.cfg.dir, id.String()+suffix)
}
