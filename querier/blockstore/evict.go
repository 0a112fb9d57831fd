// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// evictShare is the part of the bound by which more is evicted than is needed: to look for what is old costs a look at every
// extent.
const evictShare = 100

// evicted is what is to be done on disk after the books are right: close a block, take an extent away, or all of a block.
type evicted struct {
	entry  *entry
	block  *openBlock // To close; nil when it is not open.
	remove bool       // The directory.
	extent int
	pages  run // Of the extent, to punch; empty otherwise.
}

// reserve makes room for pages, which the caller is about to write to extents that may not be evicted until it is done. It is
// false, and evicts nothing, when there is none. The caller holds the lock, and discards what is gone after unlocking.
func (c *cache) reserve(pages int, gone *[]evicted) bool {
	need := int64(pages) * pageBytes
	if c.used+need <= c.cfg.maxBytes {
		c.used += need
		return true
	}
	candidates, bytes := c.candidates()
	if c.used-bytes+need > c.cfg.maxBytes {
		return false
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.lastUse, b.lastUse) })
	for _, x := range candidates {
		if c.used+need <= c.cfg.maxBytes-c.cfg.maxBytes/evictShare {
			break
		}
		switch {
		case x.entry.dropped: // Its block went before it.
		case x.extent < 0:
			c.metrics.evictions.Inc()
			*gone = append(*gone, c.dropLocked(x.entry)...)
		default:
			c.metrics.evictions.Inc()
			*gone = append(*gone, c.evictExtent(x.entry, x.extent))
		}
	}
	c.used += need
	c.measure()
	return true
}

// candidate is an extent, or with extent -1 a whole block, that may go.
type candidate struct {
	entry   *entry
	extent  int
	lastUse int64
}

// candidates returns what may go, and how many bytes that are. Extents of the index stay as long as their block does: what
// an open reader has looked at must not change below it.
func (c *cache) candidates() (found []candidate, bytes int64) {
	for _, e := range c.entries {
		idle := e.refs == 0
		if idle {
			found = append(found, candidate{e, -1, e.lastUse})
			bytes += int64(e.pages) * pageBytes
		}
		if !c.canPunch || e.block == nil {
			continue // Of a block that is not open all goes together, by one rename.
		}
		indexExtents := (e.block.file.layout.index().pages() + extentPages - 1) / extentPages
		for i, x := range e.extents {
			if i >= indexExtents && x.busy == 0 && !x.evicting {
				found = append(found, candidate{e, i, x.lastUse})
				if !idle {
					bytes += int64(x.pages) * pageBytes
				}
			}
		}
	}
	return found, bytes
}

func (c *cache) evictExtent(e *entry, i int) evicted {
	x := e.extents[i]
	x.evicting = true
	c.used -= int64(x.pages) * pageBytes
	e.pages -= x.pages
	x.pages = 0
	e.refs++ // Until it is done.
	last := min((i+1)*extentPages, e.block.file.layout.pages)
	return evicted{entry: e, block: e.block, extent: i, pages: run{i * extentPages, last}}
}

// takeOut removes an entry that is not in use and was dropped.
func (c *cache) takeOut(e *entry) evicted {
	c.used -= int64(e.pages) * pageBytes
	e.pages = 0
	gone := c.shut(e)
	gone.remove = true
	return gone
}

// discard does on disk what was decided. What cannot be removed now is removed by the next process.
func (c *cache) discard(gone []evicted) {
	for _, g := range gone {
		var err error
		switch {
		case g.pages.len() > 0:
			err = g.block.file.punch(g.pages)
			c.mu.Lock()
			delete(g.entry.extents, g.extent)
			c.mu.Unlock()
			c.release(g.entry)
		default:
			if g.block != nil {
				err = g.block.file.close()
			}
			if g.remove && g.entry.dir != "" {
				err = errors.Join(err, os.RemoveAll(g.entry.dir))
			}
		}
		if err != nil {
			c.logger.Warn("cannot give the space of evicted pages back", "block", g.entry.id, "err", err)
		}
	}
}

// adopt takes over the pages of a former process, and removes what it left half removed or in another form.
func (c *cache) adopt() error {
	dirs, err := os.ReadDir(c.cfg.dir)
	if err != nil {
		return err
	}
	type kept struct {
		*entry
		modified time.Time
	}
	var all []kept
	for _, d := range dirs {
		name := filepath.Join(c.cfg.dir, d.Name())
		if strings.HasSuffix(d.Name(), tempSuffix) {
			if err := os.RemoveAll(name); err != nil {
				return err
			}
			continue
		}
		id, err := ulid.ParseStrict(d.Name())
		if err != nil || id.String() != d.Name() || !d.IsDir() {
			return fmt.Errorf("%s is not a block; give the cache a directory of its own", name)
		}
		e := newEntry(id, name)
		modified, err := e.count()
		if err != nil { // Also of a former version, which kept whole blocks.
			if err := os.RemoveAll(name); err != nil {
				return err
			}
			continue
		}
		all = append(all, kept{e, modified})
	}
	slices.SortFunc(all, func(a, b kept) int { return a.modified.Compare(b.modified) })
	c.mu.Lock()
	for _, k := range all {
		c.uses++
		k.lastUse = c.uses
		c.entries[k.id] = k.entry
		c.used += int64(k.pages) * pageBytes
	}
	var gone []evicted
	c.reserve(0, &gone)
	c.measure()
	c.mu.Unlock()
	c.discard(gone)
	return nil
}

// count reads the manifest of a former process.
func (e *entry) count() (modified time.Time, err error) {
	f, err := reopenPageFile(e.dir)
	if err != nil {
		return time.Time{}, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	e.adoptPages(f)
	info, err := f.manifest.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

func (e *entry) adoptPages(f *pageFile) {
	before := e.extents
	e.pages, e.extents = 0, map[int]*extent{}
	for i, n := range f.pagesByExtent() {
		x := &extent{pages: n}
		if old := before[i]; old != nil {
			x.lastUse = old.lastUse
		}
		e.extents[i] = x
		e.pages += n
	}
}
