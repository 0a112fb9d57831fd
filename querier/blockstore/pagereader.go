// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"errors"
	"slices"
)

// windowPages is how much is read from the local file at once.
const windowPages = (256 << 10) / pageBytes

// errPagesGone says that pages were evicted between being fetched and being read.
var errPagesGone = errors.New("pages were evicted before they were read")

// pageReader reads bytes of objects from flights and from the local file. Offsets mostly ascend.
type pageReader struct {
	block *openBlock
	want  runs // What was loaded.
	got   loaded

	object object
	from   int64 // Offset of window in the object.
	window []byte
	buf    []byte
}

// peek returns n bytes from off, or fewer at the end of the object. They are good until the next call.
func (p *pageReader) peek(o object, off int64, n int) ([]byte, error) {
	n = int(min(int64(n), o.size-off))
	if p.object != o || off < p.from || off+int64(n) > p.from+int64(len(p.window)) {
		if err := p.move(o, o.pagesOf(off, int64(n))); err != nil {
			return nil, err
		}
	}
	at := off - p.from
	return p.window[at : at+int64(n)], nil
}

// move puts the window on the pages that are needed: on a flight that brought them, or on a copy of them and of those behind
// them that were wanted too.
func (p *pageReader) move(o object, need run) error {
	p.object, p.from = o, int64(need.from-o.first)*pageBytes
	for _, f := range p.got {
		if f.data != nil && f.run.from <= need.from && need.to <= f.run.to {
			p.window = f.data[int64(need.from-f.run.from)*pageBytes:]
			return nil
		}
	}
	end := need.to
	i, found := slices.BinarySearchFunc(p.want, need.from, func(r run, page int) int { return cmp.Compare(r.from, page) })
	if !found {
		i--
	}
	if i >= 0 {
		end = max(end, min(p.want[i].to, need.from+windowPages, o.first+o.pages()))
	}
	p.window = p.buf[:0]
	for page := need.from; page < end; {
		next, err := p.appendPages(o, run{page, end})
		if err != nil {
			p.object = object{}
			return err
		}
		if next == page {
			if page >= need.to {
				break
			}
			p.object = object{}
			return errPagesGone
		}
		page = next
	}
	p.buf = p.window
	return nil
}

// appendPages adds the first pages of r to the window, as many as are there in one piece.
func (p *pageReader) appendPages(o object, r run) (next int, err error) {
	for _, f := range p.got {
		if f.data != nil && f.run.from <= r.from && r.from < f.run.to {
			r.to = min(r.to, f.run.to)
			from := int64(r.from-f.run.from) * pageBytes
			p.window = append(p.window, f.data[from:from+o.bytesOf(r)]...)
			return r.to, nil
		}
	}
	if missing := p.block.file.ready.missing(r); missing != (run{}) {
		r.to = missing.from
	}
	if r.len() == 0 {
		return r.from, nil
	}
	at, n := len(p.window), int(o.bytesOf(r))
	p.window = slices.Grow(p.window, n)[:at+n]
	ok, err := p.block.file.readAt(o, p.window[at:], int64(r.from-o.first)*pageBytes)
	if err != nil || !ok {
		p.window = p.window[:at]
		return r.from, err
	}
	return r.to, nil
}
