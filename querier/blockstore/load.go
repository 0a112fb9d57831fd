// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// maxRequestBytes is where a request is cut into several under way at the same time.
const maxRequestBytes = 4 << 20

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
// so while the caller uses the block, others may be taken away again. Requests for neighbouring pages are one, and none that is
// wanted is fetched twice at the same time.
//
// With hold also pages that are ready are fetched, so that the flights have all: for those that were taken away before they
// could be read.
func (c *cache) load(ctx context.Context, e *entry, file *pageFile, use *usage, want runs, hold bool) (loaded, error) {
	if use.kind != kindPostings { // Those are counted when they are known; see expand.
		if err := use.spend(int64(want.pages()) * pageBytes); err != nil {
			return nil, err
		}
	}
	c.metrics.pages.Add(float64(want.pages()))
	var got loaded
	for first := true; ; first = false {
		own, others := c.plan(e, file, want, got, first, hold)
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
func (c *cache) plan(e *entry, file *pageFile, want runs, got loaded, first, hold bool) (own, others []*flight) {
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
		rest := w
		if !hold {
			rest = file.ready.missing(w)
		}
		for page := rest.from; page < rest.to; page++ {
			f := e.flights[page]
			switch {
			case !hold && file.ready.has(page) || got.has(page):
			case f != nil && !waiting[f]:
				waiting[f] = true
				others = append(others, f)
			case f != nil:
			case file.kept.has(page) && !e.evicting(page):
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
		f := e.depart(&flight{run: r, prove: true}, file)
		for _, x := range e.extentsOf(f.own) {
			x.busy++ // Until it lands.
		}
		own = append(own, f)
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

func (got loaded) has(page int) bool {
	for _, f := range got {
		if f.run.from <= page && page < f.run.to {
			return true
		}
	}
	return false
}
