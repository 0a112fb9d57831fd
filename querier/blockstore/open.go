// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/tsdb/index"
)

const (
	// openTimeout bounds the opening of a block, which goes on when the query that asked for it is gone.
	openTimeout = 2 * time.Minute
	// The symbols are at the beginning of an index and the offset table of the postings at its end. These shares of its
	// size hold them in most blocks, so that opening takes two requests at once; otherwise two more.
	headShare, headMax = 8, 4 << 20
	tailShare, tailMax = 4, 8 << 20
)

// openBlock is a block that can be asked. It belongs to its entry and may be used while the entry is in use.
type openBlock struct {
	*entry
	cache  *cache
	file   *pageFile
	toc    *index.TOC
	reader *index.Reader
}

// open opens a block and tells all who wait for it. An error is not remembered.
func (c *cache) open(e *entry, o *opening, b *block) {
	ctx, cancel := context.WithTimeout(c.ctx, openTimeout)
	defer cancel()
	blk, err := c.openBlock(ctx, e, b)
	c.mu.Lock()
	if err != nil {
		err = fmt.Errorf("open block %s: %w", e.id, err)
		e.opening = nil
	} else {
		e.block = blk
		c.openBlocks++
	}
	o.block, o.err = blk, err
	c.measure()
	c.mu.Unlock()
	c.release(e)
	close(o.done)
}

func (c *cache) openBlock(ctx context.Context, e *entry, b *block) (*openBlock, error) {
	files, err := b.files(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newLayout(files)
	if err != nil {
		return nil, err
	}
	file, err := openPageFile(e.dir, l)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	before := e.pages
	e.adoptPages(file)
	c.used += int64(e.pages-before) * pageBytes
	c.mu.Unlock()

	blk := &openBlock{entry: e, cache: c, file: file}
	if err := blk.readHeader(ctx); err != nil {
		c.closeAfterFlights(e, file)
		if isDamage(err) {
			c.drop(e)
		}
		return nil, err
	}
	return blk, nil
}

// readHeader reads what the index reader keeps: it goes over the symbols and the offset table once, checks them, and notes
// every 32nd place. They stay in the file, and the kernel decides how much of it is in memory.
func (b *openBlock) readHeader(ctx context.Context) error {
	use := &usage{newBudget(0), kindHeader}
	o := b.file.layout.index()
	first := runs{o.pagesOf(0, o.size)}
	if t := b.cache.cfg.guesses; o.size > t.wholeIndex {
		head := min(max(o.size/headShare, t.edge), headMax)
		tail := min(max(o.size/tailShare, t.edge), tailMax)
		first = newRuns(o.pagesOf(0, head), o.pagesOf(o.size-tail, tail))
	}
	if err := b.load(ctx, use, first); err != nil {
		return err
	}
	err := b.read(ctx, use, func() (err error) {
		b.toc, err = index.NewTOCFromByteSlice(b.bytes())
		return err
	})
	if err != nil {
		return err
	}
	symbols, err := b.section(ctx, use, b.toc.Symbols)
	if err != nil {
		return err
	}
	// Every writer puts the table right before the table of contents. Whatever else is there would only be fetched in vain.
	table := run{}
	if at := int64(b.toc.PostingsTable); at > 0 && at < o.size {
		table = o.pagesOf(at, o.size-at)
	}
	if err := b.load(ctx, use, newRuns(symbols, table)); err != nil {
		return err
	}
	return b.read(ctx, use, func() (err error) {
		b.reader, err = index.NewReader(b.bytes(), index.DecodePostingsRaw)
		return err
	})
}

// section returns the pages of a part of the index that begins with its length and ends with a checksum.
func (b *openBlock) section(ctx context.Context, use *usage, at uint64) (run, error) {
	o := b.file.layout.index()
	if at > uint64(o.size-8) {
		return run{}, fmt.Errorf("%w: a section begins at %d of %d bytes", errDamaged, at, o.size)
	}
	off := int64(at)
	var length int64
	err := b.read(ctx, use, func() error {
		l := b.bytes().Range(int(off), int(off)+4)
		length = int64(l[0])<<24 | int64(l[1])<<16 | int64(l[2])<<8 | int64(l[3])
		return nil
	})
	if err == nil && length > o.size-off-8 {
		err = fmt.Errorf("%w: a section of %d bytes begins at %d of %d", errDamaged, length, at, o.size)
	}
	return o.pagesOf(off, 4+length+4), err
}

// load makes pages of the index ready.
func (b *openBlock) load(ctx context.Context, use *usage, want runs) error {
	if _, err := b.cache.load(ctx, b.entry, b.file, use, want, false); err != nil {
		return err
	}
	for _, r := range want {
		if b.file.ready.missing(r) != (run{}) {
			return fmt.Errorf("block %s: %w for %d bytes: run fewer queries at once or raise --%s",
				b.id, errNoRoom, want.pages()*pageBytes, FlagMaxBytes)
		}
	}
	return nil
}

// closeAfterFlights closes a file that was not given to anybody, when the flights that write to it have landed.
func (c *cache) closeAfterFlights(e *entry, file *pageFile) {
	for {
		c.mu.Lock()
		var under *flight
		for _, f := range e.flights {
			under = f
			break
		}
		c.mu.Unlock()
		if under == nil {
			break
		}
		<-under.done
	}
	if err := file.close(); err != nil {
		c.logger.Warn("cannot close the pages of a block", "block", e.id, "err", err)
	}
}

// isDamage says that bytes are not what they must be, in the bucket or here.
func isDamage(err error) bool { return errors.Is(err, errDamaged) }
