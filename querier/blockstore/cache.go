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
	"time"

	"github.com/oklog/ulid/v2"
)

const (
	// requestsAtOnce bounds the requests of all queries together. Each may hold maxRequestBytes: 128 MiB in all.
	requestsAtOnce = 32
	// openIdleMax bounds the blocks that stay open without a query. An open block costs two file descriptors, and some 5 % of
	// its symbols and offset table in memory.
	openIdleMax = 64
	// openIdleTime is for how long a block stays open without a query. Opening it again costs no request, but reading its
	// symbols.
	openIdleTime = 5 * time.Minute
	tempSuffix   = ".tmp" // Ends the name of what is being removed.
)

var (
	errNoRoom = errors.New("the local pages of blocks that other queries read leave no room")
	errClosed = errors.New("the block store is closed")
)

type cacheConfig struct {
	dir      string
	maxBytes int64
	read     func(ctx context.Context, id ulid.ULID, rel string, off int64, p []byte) error
	now      func() time.Time
	guesses  guesses
}

// cache holds pages of blocks, each block in <dir>/<ULID>, up to maxBytes. What goes first is what was used least recently:
// extents of chunk segments, and blocks as a whole that no query reads.
//
// mu guards all books, and is never held during a request or a read or write of pages.
type cache struct {
	cfg     cacheConfig
	logger  *slog.Logger
	metrics *metrics
	slots   chan struct{}  // One for each request under way.
	wg      sync.WaitGroup // Of requests and of blocks being opened.
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	entries map[ulid.ULID]*entry
	used    int64 // Bytes of all pages that are there, those of blocks that were dropped while they are read included.
	uses    int64 // A clock that ticks with each use.
	removed int64 // Counts names.

	openBlocks int  // Of entries.
	canPunch   bool // Space can be given back in the middle of a file; otherwise whole blocks are evicted. Never changed.
}

// entry is one block in the books of the cache.
type entry struct {
	id      ulid.ULID
	dir     string
	refs    int             // In use while positive.
	lastUse int64           // By cache.uses.
	idle    time.Time       // Since when refs is 0.
	pages   int             // That are there.
	extents map[int]*extent // Those with pages.
	flights map[int]*flight // Pages on their way.
	dropped bool            // No longer in the cache; it goes with its last use.
	opening *opening        // Nil while it is not open and nobody opens it.
	block   *openBlock      // Nil while it is not open.
}

// opening is one attempt to open a block.
type opening struct {
	done  chan struct{} // Closed when what follows is set.
	block *openBlock
	err   error
}

// extent is what is known of the pages of an entry in one extent.
type extent struct {
	pages    int
	lastUse  int64
	busy     int  // Writes under way; it stays while there are any.
	evicting bool // It takes no pages until that is done.
}

func newCache(cfg cacheConfig, logger *slog.Logger, m *metrics) (*cache, error) {
	if err := os.MkdirAll(cfg.dir, dirMode); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cache{
		cfg: cfg, logger: logger, metrics: m, slots: make(chan struct{}, requestsAtOnce), ctx: ctx, cancel: cancel,
		entries: map[ulid.ULID]*entry{},
	}
	err := c.adopt()
	if err == nil {
		c.canPunch, err = c.tryPunch()
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return c, nil
}

// tryPunch finds out whether the file system makes holes.
func (c *cache) tryPunch() (ok bool, err error) {
	f, err := os.CreateTemp(c.cfg.dir, "*"+tempSuffix)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err := f.Write(make([]byte, pageBytes)); err != nil {
		return false, err
	}
	if err := punchHole(f, 0, pageBytes); err != nil {
		c.logger.Info("no holes can be made in files here; whole blocks are evicted from the cache", "dir", c.cfg.dir, "err", err)
		return false, nil
	}
	return true, nil
}

// acquire returns a block, open, for use until it is released. It is opened once for all who wait, and that goes on when one
// of them gives up.
func (c *cache) acquire(ctx context.Context, b *block) (*openBlock, error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed
	}
	e := c.entries[b.id]
	if e == nil {
		e = newEntry(b.id, c.path(b.id))
		c.entries[b.id] = e
	}
	e.refs++
	c.uses++
	e.lastUse = c.uses
	o := e.opening
	if o == nil {
		o = &opening{done: make(chan struct{})}
		e.opening = o
		e.refs++ // Of the opening.
		c.wg.Go(func() { c.open(e, o, b) })
	}
	c.mu.Unlock()

	select {
	case <-o.done:
	case <-ctx.Done():
		c.release(e)
		return nil, fmt.Errorf("wait for block %s: %w", e.id, ctx.Err())
	}
	if o.err != nil {
		c.release(e)
		return nil, o.err
	}
	return o.block, nil
}

func newEntry(id ulid.ULID, dir string) *entry {
	return &entry{id: id, dir: dir, extents: map[int]*extent{}, flights: map[int]*flight{}}
}

// release ends one use of a block.
func (c *cache) release(e *entry) {
	c.mu.Lock()
	e.refs--
	e.idle = c.cfg.now()
	gone := c.tooManyOpen()
	if e.dropped && e.refs == 0 {
		gone = append(gone, c.takeOut(e))
	}
	c.measure()
	c.mu.Unlock()
	c.discard(gone)
}

// drop takes a block out of the cache, with all its pages: it is no longer in the bucket, or what is here of it is wrong. A
// query that reads it goes on with what it has.
func (c *cache) drop(e *entry) {
	c.mu.Lock()
	gone := c.dropLocked(e)
	c.measure()
	c.mu.Unlock()
	c.discard(gone)
}

func (c *cache) dropLocked(e *entry) []evicted {
	if e.dropped {
		return nil
	}
	e.dropped = true
	delete(c.entries, e.id)
	c.removed++
	dir := fmt.Sprintf("%s.%d%s", c.path(e.id), c.removed, tempSuffix)
	// Moved at once, so that the block can be made anew. A file that is open goes on under its new name.
	err := os.Rename(e.dir, dir)
	e.dir = dir
	if err != nil {
		e.dir = "" // What is under the name of the block may belong to the next entry.
		if !errors.Is(err, os.ErrNotExist) {
			c.logger.Warn("cannot move the pages of a block aside", "block", e.id, "err", err)
		}
	}
	if e.refs > 0 {
		return nil
	}
	return []evicted{c.takeOut(e)}
}

// retain drops blocks that are no longer in the bucket.
func (c *cache) retain(ids map[ulid.ULID]struct{}) {
	var gone []evicted
	c.mu.Lock()
	for id, e := range c.entries {
		if e.opening != nil && e.block == nil {
			continue // Its files are being made; the next listing takes it out.
		}
		if _, ok := ids[id]; !ok {
			c.metrics.evictions.Inc()
			gone = append(gone, c.dropLocked(e)...)
		}
	}
	c.measure()
	c.mu.Unlock()
	c.discard(gone)
}

// closeIdle closes blocks that no query has read for openIdleTime. Their pages stay.
func (c *cache) closeIdle() {
	before := c.cfg.now().Add(-openIdleTime)
	c.mu.Lock()
	var gone []evicted
	for _, e := range c.entries {
		if e.refs == 0 && e.block != nil && e.idle.Before(before) {
			gone = append(gone, c.shut(e))
		}
	}
	c.measure()
	c.mu.Unlock()
	c.discard(gone)
}

// tooManyOpen closes the least recently used of the open blocks that no query reads, if there are too many. The caller holds
// the lock.
func (c *cache) tooManyOpen() []evicted {
	if c.openBlocks <= openIdleMax {
		return nil
	}
	var oldest *entry
	for _, e := range c.entries {
		if e.refs == 0 && e.block != nil && (oldest == nil || e.lastUse < oldest.lastUse) {
			oldest = e
		}
	}
	if oldest == nil {
		return nil
	}
	return []evicted{c.shut(oldest)}
}

// shut takes the open block, if there is one, out of an entry that is not in use. The caller holds the lock.
func (c *cache) shut(e *entry) evicted {
	gone := evicted{entry: e, block: e.block}
	if e.block != nil {
		c.openBlocks--
	}
	e.block, e.opening = nil, nil
	return gone
}

// measure sets the gauges. The caller holds the lock.
func (c *cache) measure() {
	c.metrics.cacheBytes.Set(float64(c.used))
	c.metrics.cacheBlocks.Set(float64(len(c.entries)))
	c.metrics.openBlocks.Set(float64(c.openBlocks))
}

// close ends requests and closes all blocks. The pages stay for the next process.
func (c *cache) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, e := range c.entries {
		if e.block != nil {
			errs = append(errs, e.block.file.close())
		}
	}
	c.entries = map[ulid.ULID]*entry{}
	return errors.Join(errs...)
}

func (c *cache) path(id ulid.ULID) string { return filepath.Join(c.cfg.dir, id.String()) }
