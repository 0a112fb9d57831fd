// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// pageBytes is what is kept or not kept as a whole. It is four pages of most kernels and file systems, so that a hole can
	// be made of it, and as much as one series entry or a few chunks with their neighbours.
	pageBytes = 16 << 10
	// extentPages is what is evicted as a whole: 1 MiB, so that the books of 10 GiB are ten thousand entries.
	extentPages = 64
)

// object is one file of a block in the bucket and its place in the local file.
type object struct {
	rel   string // "index", "chunks/000001"...
	size  int64
	first int // Page; at the beginning of an extent.
}

func (o object) pages() int { return int((o.size + pageBytes - 1) / pageBytes) }

// layout lays the files of a block out, one behind the other, in one local file: the index first, then the chunk segments in
// the order in which chunk references number them. Each begins with an extent, which leaves holes.
type layout struct {
	objects []object
	pages   int
}

// newLayout is a pure function of what the bucket says of a block's files.
func newLayout(files []bucket.File) (layout, error) {
	var l layout
	var segments []bucket.File
	for _, f := range files {
		switch {
		case f.RelPath == bucket.IndexFile:
			l.add(f)
		case bucket.IsChunkFile(f.RelPath):
			segments = append(segments, f)
		}
	}
	if len(l.objects) != 1 {
		return layout{}, errors.New("it has no index")
	}
	slices.SortFunc(segments, func(a, b bucket.File) int { return cmp.Compare(a.RelPath, b.RelPath) })
	for _, f := range segments {
		l.add(f)
	}
	for _, o := range l.objects {
		if o.size <= 0 {
			return layout{}, fmt.Errorf("the size of %s is %d bytes", o.rel, o.size)
		}
	}
	return l, nil
}

func (l *layout) add(f bucket.File) {
	first := (l.pages + extentPages - 1) / extentPages * extentPages
	o := object{rel: f.RelPath, size: f.SizeBytes, first: first}
	l.objects = append(l.objects, o)
	l.pages = first + o.pages()
}

// index returns the index of the block.
func (l *layout) index() object { return l.objects[0] }

// segment returns the i-th chunk segment.
func (l *layout) segment(i int) (object, bool) {
	if i < 0 || i+1 >= len(l.objects) {
		return object{}, false
	}
	return l.objects[i+1], true
}

// at returns the object that has a page.
func (l *layout) at(page int) object {
	i, found := slices.BinarySearchFunc(l.objects, page, func(o object, page int) int { return cmp.Compare(o.first, page) })
	if !found {
		i--
	}
	return l.objects[i]
}

// bytesOf returns how many bytes of a run of pages there are: the last page of an object is short.
func (o object) bytesOf(r run) int64 {
	return min(int64(r.to-o.first)*pageBytes, o.size) - int64(r.from-o.first)*pageBytes
}

// run is a run of pages, half-open.
type run struct{ from, to int }

func (r run) len() int { return r.to - r.from }

// pagesOf returns the pages of length bytes from off of an object; what lies beyond its end is left out.
func (o object) pagesOf(off, length int64) run {
	end := min(off+length, o.size)
	return run{o.first + int(off/pageBytes), o.first + int((end+pageBytes-1)/pageBytes)}
}

// runs is a list of runs in ascending order that neither touch nor overlap.
type runs []run

// add appends a run that begins no earlier than the last one does.
func (rs runs) add(r run) runs {
	if r.from >= r.to {
		return rs
	}
	if n := len(rs); n > 0 && r.from <= rs[n-1].to {
		rs[n-1].to = max(rs[n-1].to, r.to)
		return rs
	}
	return append(rs, r)
}

// newRuns sorts and joins.
func newRuns(all ...run) runs {
	slices.SortFunc(all, func(a, b run) int { return cmp.Compare(a.from, b.from) })
	var rs runs
	for _, r := range all {
		rs = rs.add(r)
	}
	return rs
}

func (rs runs) pages() int {
	n := 0
	for _, r := range rs {
		n += r.len()
	}
	return n
}

// bitmap is a set of pages. Adding and asking may happen at the same time.
type bitmap []atomic.Uint64

func newBitmap(pages int) bitmap { return make(bitmap, (pages+63)/64) }

func (b bitmap) has(page int) bool { return b[page/64].Load()&(1<<(page%64)) != 0 }

func (b bitmap) set(page int)   { b[page/64].Or(1 << (page % 64)) }
func (b bitmap) clear(page int) { b[page/64].And(^(uint64(1) << (page % 64))) }

// missing returns the part of r from the first page that is not in the set to the last one; it is empty when all are.
func (b bitmap) missing(r run) run {
	first, last := -1, -1
	for page := r.from; page < r.to; {
		word := ^b[page/64].Load() >> (page % 64)
		if word == 0 {
			page += 64 - page%64
			continue
		}
		page += bits.TrailingZeros64(word)
		if page >= r.to {
			break
		}
		if first < 0 {
			first = page
		}
		last = page
		page++
	}
	if first < 0 {
		return run{}
	}
	return run{first, last + 1}
}
