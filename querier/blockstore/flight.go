// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// requestTimeout bounds one request, which goes on when the query that asked for it is gone: another may wait for it.
	requestTimeout = time.Minute
	// attempts is how often a range is asked for. The driver tries requests again that failed; this is for answers that broke
	// off.
	attempts = 3
)

// fly carries a flight out. It returns early when ctx is done, while the flight goes on.
func (c *cache) fly(ctx context.Context, e *entry, file *pageFile, use *usage, f *flight) error {
	if err := use.begin(ctx, c.slots); err != nil {
		c.land(e, f, err)
		return err
	}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		defer use.end(c.slots)
		var err error
		if f.prove {
			err = c.prove(e, file, f)
		} else if err = c.fetch(e, file, use, f); err == nil {
			keepErr := c.keep(e, file, f)
			if use.kind != kindChunks { // The index can only be read from the file.
				f.data, err = nil, keepErr
			}
		}
		c.land(e, f, err)
	}()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// evicting says that a page is being taken away. The caller holds the lock.
func (e *entry) evicting(page int) bool {
	x := e.extents[page/extentPages]
	return x != nil && x.evicting
}

// extentsOf returns the extents of pages that are there. The caller holds the lock.
func (e *entry) extentsOf(rs runs) (found []*extent) {
	last := -1
	for _, r := range rs {
		for i := r.from / extentPages; i <= (r.to-1)/extentPages; i++ {
			if x := e.extents[i]; x != nil && i > last {
				found = append(found, x)
				last = i
			}
		}
	}
	return found
}

// land takes a flight out of the books.
func (c *cache) land(e *entry, f *flight, err error) {
	c.mu.Lock()
	if f.prove {
		for _, x := range e.extentsOf(f.own) {
			x.busy--
		}
	}
	for _, r := range f.own {
		for page := r.from; page < r.to; page++ {
			delete(e.flights, page)
		}
	}
	f.err = err
	if err != nil {
		f.data = nil
	}
	c.mu.Unlock()
	c.release(e) // Before anybody goes on: what is evicted next must not depend on who is faster.
	close(f.done)
}

// fetch reads the pages of a flight from the bucket.
func (c *cache) fetch(e *entry, file *pageFile, use *usage, f *flight) error {
	o := file.layout.at(f.run.from)
	data := make([]byte, o.bytesOf(f.run))
	ctx, cancel := context.WithTimeout(c.ctx, requestTimeout)
	defer cancel()
	var err error
	for range attempts {
		c.metrics.requests.WithLabelValues(string(use.kind)).Inc()
		use.requests.Add(1)
		err = c.cfg.read(ctx, e.id, o.rel, int64(f.run.from-o.first)*pageBytes, data)
		if err == nil {
			c.metrics.fetchedBytes.WithLabelValues(string(use.kind)).Add(float64(len(data)))
			f.data = data
			return nil
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
	}
	c.metrics.requestFailures.WithLabelValues(string(use.kind)).Inc()
	if errors.Is(err, bucket.ErrInvalidRange) || errors.Is(err, io.EOF) {
		err = fmt.Errorf("the object is shorter than the %d bytes that it should have: %w", o.size, err)
	}
	return fmt.Errorf("block %s: %w", e.id, err)
}

// keep writes the pages of a flight to the local file, as far as there is room. Those for which there is none are in the
// flight, and are fetched again by the next who wants them.
func (c *cache) keep(e *entry, file *pageFile, f *flight) error {
	for _, own := range f.own {
		for own.from < own.to {
			i := own.from / extentPages
			part := run{own.from, min(own.to, (i+1)*extentPages)}
			own.from = part.to
			if err := c.keepPart(e, file, f, i, part); err != nil {
				err = fmt.Errorf("block %s: write pages to the local file: %w", e.id, err)
				c.logger.Warn("cannot keep what was fetched", "err", err)
				return err
			}
		}
	}
	return nil
}

func (c *cache) keepPart(e *entry, file *pageFile, f *flight, i int, part run) error {
	var gone []evicted
	c.mu.Lock()
	x := e.extents[i]
	if x == nil {
		x = &extent{}
		e.extents[i] = x
	}
	x.busy++ // From here on it is not evicted, also not by what follows.
	x.lastUse = c.uses
	room := !x.evicting && c.reserve(part.len(), &gone)
	c.mu.Unlock()
	c.discard(gone)

	var err error
	if room {
		o := file.layout.at(part.from)
		from := int64(part.from-f.run.from) * pageBytes
		err = file.write(part, f.data[from:from+o.bytesOf(part)])
	} else {
		c.metrics.notKept.Add(float64(part.len()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x.busy--
	switch {
	case !room:
	case err != nil:
		c.used -= int64(part.len()) * pageBytes
	default:
		x.pages += part.len()
		e.pages += part.len()
	}
	c.measure()
	return err
}

// prove checks pages of a former process.
func (c *cache) prove(e *entry, file *pageFile, f *flight) error {
	for _, own := range f.own {
		if err := file.prove(own); err != nil {
			c.logger.Warn("cannot read local pages of a block; they are fetched again", "block", e.id, "err", err)
		}
		c.mu.Lock()
		for page := own.from; page < own.to; page++ {
			if !file.ready.has(page) {
				c.metrics.badPages.Inc()
				c.used -= pageBytes
				e.pages--
				e.extents[page/extentPages].pages--
			}
		}
		c.measure()
		c.mu.Unlock()
	}
	return nil
}
