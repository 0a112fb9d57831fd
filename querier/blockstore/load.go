// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// maxRequestBytes is where a request is cut into several under way at the same time.
	maxRequestBytes = 4 << 20
	// requestTimeout bounds one request, which goes on when the query that asked for it is gone: another may wait for it.
	requestTimeout = time.Minute
	// attempts is how often a range is asked for. The driver tries requests again that failed; this is for answers that broke
	// off.
	attempts = 3
)

// guesses are sizes that decide how many requests something takes, and never what comes out.
type guesses struct {
	// gap is how many pages that nobody asked for are fetched to save a request: what half a megabyte takes on the way is
	// about what a request takes to come back.
	gap        int
	wholeIndex int64 // Up to this size an index is fetched with one request.
	edge       int64 // Of a larger one at least this much of both ends.
	series     int64 // How long an entry of a series is taken to be. Most end in a page that is fetched for the next one anyway.
	chunk      int64 // How long a chunk is taken to be until its length is read. Few are longer; those cost a request more.
}

func defaultGuesses() guesses {
	return guesses{gap: (512 << 10) / pageBytes, wholeIndex: 1 << 20, edge: 512 << 10, series: 512, chunk: 4 << 10}
}

// flight is a run of pages on its way into the local file: from the bucket, or kept there and being checked.
type flight struct {
	run   run           // All of one object.
	own   runs          // The pages of run that were not there or on their way otherwise.
	prove bool          // They are in the file, from a former process.
	done  chan struct{} // Closed when what follows is set.
	data  []byte        // Of run, for chunks; of the index it is only in the file.
	err   error
}

// loaded are the flights that brought pages. Pages that the cache had no room for are in them alone.
type loaded []*flight

// load makes sure that every wanted page was ready or is in one of the flights that it returns. Ready pages of the index stay
// so while the caller uses the block, others may be taken away again. Requests for neighbouring pages are one, and no page is
// fetched twice at the same time.
func (c *cache) load(ctx context.Context, e *entry, file *pageFile, use *usage, want runs) (loaded, error) {
	if err := use.spend(int64(want.pages()) * pageBytes); err != nil {
		return nil, err
	}
	c.metrics.pages.Add(float64(want.pages()))
	var got loaded
	for first := true; ; first = false {
		own, others := c.plan(e, file, want, got, first)
		if len(own) == 0 && len(others) == 0 {
			return got, nil
		}
		var group errgroup.Group
		for _, f := range own {
			group.Go(func() error { return c.fly(ctx, e, file, use, f) })
		}
		err := group.Wait()
		for _, f := range others {
			select {
			case <-f.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			// One that ended with its query says nothing about the page.
			if err == nil && f.err != nil && !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
				err = f.err
			}
		}
		if err != nil {
			return nil, err
		}
		for _, f := range append(own, others...) {
			if f.err == nil && !f.prove {
				got = append(got, f)
			}
		}
	}
}

// plan returns the flights that bring the wanted pages: new ones, which it enters into the books, and those under way.
func (c *cache) plan(e *entry, file *pageFile, want runs, got loaded, first bool) (own, others []*flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uses++
	var absent, kept runs
	waiting := map[*flight]bool{}
	for _, w := range want {
		for i := w.from / extentPages; i <= (w.to-1)/extentPages; i++ {
			if x := e.extents[i]; x != nil {
				x.lastUse = c.uses
			}
		}
		rest := file.ready.missing(w)
		for page := rest.from; page < rest.to; page++ {
			f := e.flights[page]
			switch {
			case file.ready.has(page) || got.has(page):
			case f != nil && !waiting[f]:
				waiting[f] = true
				others = append(others, f)
			case f != nil:
			case file.kept.has(page):
				kept = kept.add(run{page, page + 1})
			default:
				absent = absent.add(run{page, page + 1})
			}
		}
	}
	if first {
		c.metrics.pageHits.Add(float64(want.pages() - absent.pages()))
	}
	for _, r := range file.layout.cut(kept, 0) {
		own = append(own, e.depart(&flight{run: r, prove: true}, file))
	}
	for _, r := range file.layout.cut(absent, c.cfg.guesses.gap) {
		own = append(own, e.depart(&flight{run: r}, file))
	}
	e.refs += len(own)
	return own, others
}

// cut joins runs with small gaps, and cuts them where an object ends or a request would be too large.
func (l *layout) cut(rs runs, gap int) []run {
	const most = maxRequestBytes / pageBytes
	var all []run
	for _, r := range rs {
		for r.from < r.to {
			o := l.at(r.from)
			part := run{r.from, min(r.to, o.first+o.pages(), r.from+most)}
			r.from = part.to
			if n := len(all); n > 0 && part.from-all[n-1].to <= gap && part.from > o.first &&
				all[n-1].from >= o.first && part.to-all[n-1].from <= most {
				all[n-1].to = part.to
				continue
			}
			all = append(all, part)
		}
	}
	return all
}

// depart enters a flight into the books, for those of its pages that nobody has. The caller holds the lock.
func (e *entry) depart(f *flight, file *pageFile) *flight {
	f.done = make(chan struct{})
	for page := f.run.from; page < f.run.to; page++ {
		if e.flights[page] != nil || file.ready.has(page) || (!f.prove && file.kept.has(page)) {
			continue
		}
		e.flights[page] = f
		f.own = f.own.add(run{page, page + 1})
	}
	return f
}

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

// land takes a flight out of the books.
func (c *cache) land(e *entry, f *flight, err error) {
	c.mu.Lock()
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
	close(f.done)
	c.release(e)
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
		lost, err := file.prove(own)
		if err != nil {
			c.logger.Warn("cannot read local pages of a block; they are fetched again", "block", e.id, "err", err)
		}
		if lost == 0 {
			continue
		}
		c.metrics.badPages.Add(float64(lost))
		c.mu.Lock()
		c.used -= int64(lost) * pageBytes
		e.pages -= lost
		for page := own.from; page < own.to; page++ {
			if x := e.extents[page/extentPages]; x != nil && !file.ready.has(page) && x.pages > 0 {
				x.pages--
			}
		}
		c.measure()
		c.mu.Unlock()
	}
	return nil
}

func (got loaded) has(page int) bool {
	for _, f := range got {
		if f.run.from <= page && page < f.run.to {
			return true
		}
	}
	return false
}
