// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"
)

const (
	dirMode = 0o750
	// tempSuffix ends the name of every directory that is not a whole copy.
	tempSuffix = ".tmp"
	// loadTimeout bounds one download, which goes on when the query that asked for it is gone: another one may wait for it,
	// and what is there already would be lost. Half an hour is a 14d block of several GiB on a slow link.
	loadTimeout = 30 * time.Minute
)

// adopt takes over the copies of a former process, and removes what it left half done.
func (c *cache) adopt() error {
	dirs, err := os.ReadDir(c.cfg.dir)
	if err != nil {
		return err
	}
	type copyOnDisk struct {
		*entry
		modified time.Time
	}
	var copies []copyOnDisk
	for _, d := range dirs {
		name := filepath.Join(c.cfg.dir, d.Name())
		if strings.HasSuffix(d.Name(), tempSuffix) {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
			continue
		}
		id, err := ulid.ParseStrict(d.Name())
		if err != nil || !d.IsDir() {
			return fmt.Errorf("%s is not a block; give the cache a directory of its own", name)
		}
		bytes, err := sizeOf(name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		copies = append(copies, copyOnDisk{&entry{id: id, bytes: bytes}, info.ModTime()})
	}
	slices.SortFunc(copies, func(a, b copyOnDisk) int { return a.modified.Compare(b.modified) })
	for _, e := range copies {
		c.uses++
		e.lastUse = c.uses
		c.entries[e.id] = e.entry
		c.used += e.bytes
	}
	var gone []evicted
	c.makeRoom(nil, &gone)
	c.discard(gone)
	c.measure()
	return nil
}

// sizeOf returns the bytes of the files below dir.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// load opens a copy, after downloading it if there is none of the given size that opens. It ends by closing e.ready.
func (c *cache) load(e *entry, bytes int64) {
	opened, n, err := c.open(e.id, bytes)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used -= e.bytes
	if err != nil {
		c.logger.Warn("cannot load block", "block", e.id, "err", err)
		e.err = err
		delete(c.entries, e.id)
	} else {
		e.block, e.bytes = opened, n
		c.used += n
	}
	c.measure()
	c.signal()
	close(e.ready)
}

func (c *cache) open(id ulid.ULID, bytes int64) (*tsdb.Block, int64, error) {
	dir := c.path(id, "")
	if n, err := sizeOf(dir); err == nil && n == bytes {
		b, err := tsdb.OpenBlock(c.logger, dir, nil, nil)
		if err == nil {
			return b, n, nil
		}
		c.logger.Warn("the local copy of a block is broken; downloading it again", "block", id, "err", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, 0, fmt.Errorf("remove broken copy of block %s: %w", id, err)
	}
	if err := c.download(id, dir); err != nil {
		return nil, 0, err
	}
	b, err := tsdb.OpenBlock(c.logger, dir, nil, nil)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open block %s: %w", id, err), os.RemoveAll(dir))
	}
	n, err := sizeOf(dir)
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open block %s: %w", id, err), b.Close())
	}
	return b, n, nil
}

// download fetches into a temporary directory; the rename is the commit.
func (c *cache) download(id ulid.ULID, dir string) error {
	ctx, cancel := context.WithTimeout(c.ctx, loadTimeout)
	defer cancel()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return fmt.Errorf("download block %s: %w", id, ctx.Err())
	}
	c.metrics.downloads.Inc()
	temp := c.path(id, tempSuffix)
	n, err := c.fetch(ctx, id, temp)
	c.metrics.downloadedBytes.Add(float64(n))
	if err == nil {
		err = os.Rename(temp, dir)
	}
	if err != nil {
		c.metrics.downloadFailures.Inc()
		return errors.Join(err, os.RemoveAll(temp))
	}
	return nil
}

func (c *cache) fetch(ctx context.Context, id ulid.ULID, temp string) (int64, error) {
	if err := os.RemoveAll(temp); err != nil {
		return 0, err
	}
	return c.cfg.fetch(ctx, id, temp)
}

// idle returns the entries that no query uses and that filter lets pass, the least recently used first. The caller holds the
// lock.
func (c *cache) idle(filter func(ulid.ULID) bool) []*entry {
	var found []*entry
	for id, e := range c.entries {
		if e.refs == 0 && !e.loading() && filter(id) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.lastUse, b.lastUse) })
	return found
}

func (e *entry) loading() bool {
	if e.ready == nil {
		return false
	}
	select {
	case <-e.ready:
		return false
	default:
		return true
	}
}

// evicted is a copy that is out of the cache and still on disk.
type evicted struct {
	block *tsdb.Block
	dir   string
}

// evict takes an idle entry out of the cache. Its directory is renamed at once, so that the block can be downloaded again
// before the old copy is gone. The caller holds the lock.
func (c *cache) evict(e *entry) evicted {
	delete(c.entries, e.id)
	c.used -= e.bytes
	c.metrics.evictions.Inc()
	c.measure()
	c.uses++
	dir := c.path(e.id, fmt.Sprintf(".%d%s", c.uses, tempSuffix))
	if err := os.Rename(c.path(e.id, ""), dir); err != nil {
		c.logger.Warn("cannot move an evicted block aside", "block", e.id, "err", err)
		dir = c.path(e.id, "")
	}
	return evicted{block: e.block, dir: dir}
}

// discard removes what was evicted. What cannot be removed now is removed by the next process.
func (c *cache) discard(gone []evicted) {
	for _, g := range gone {
		var err error
		if g.block != nil {
			err = g.block.Close()
		}
		if err = errors.Join(err, os.RemoveAll(g.dir)); err != nil {
			c.logger.Warn("cannot remove an evicted block", "dir", g.dir, "err", err)
		}
	}
}
