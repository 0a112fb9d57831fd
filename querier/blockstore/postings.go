// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"unsafe"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/index"
)

// readPostings is read for postings. When the first list is missing it fetches the lists of all matchers together.
func (s *selection) readPostings(fn func(r *index.Reader) error) error {
	fault, err := try(func() error { return fn(s.block.reader) })
	if fault == nil {
		return s.block.name(err)
	}
	if !s.planned && len(s.matchers) > 0 {
		s.planned = true
		want, err := s.lists(listsOf(s.matchers))
		if err != nil {
			return err
		}
		if err := s.block.load(s.ctx, s.usage(kindPostings), want); err != nil {
			return err
		}
	}
	return s.read(kindPostings, fn)
}

// lists returns where the postings lists of chosen label pairs are. It goes over the whole offset table, which costs some
// milliseconds for a hundred thousand entries and is done only when there is something to fetch. Of a list only its
// beginning is in the table; it ends where the next one begins.
func (s *selection) lists(needed func(name, value string) bool) (runs, error) {
	b := s.block
	o := b.file.layout.index()
	var all []run
	err := s.read(kindPostings, func(*index.Reader) error {
		all = nil
		begin := int64(-1) // Of a list that is needed and whose end is not known yet.
		end := func(at int64) {
			if begin >= 0 && begin < o.size {
				all = append(all, o.pagesOf(begin, max(at-begin, 1)))
			}
			begin = -1
		}
		err := index.ReadPostingsOffsetTable(b.bytes(), b.toc.PostingsTable, func(name, value []byte, off uint64, _ int) error {
			end(int64(off))
			if needed(unsafeString(name), unsafeString(value)) {
				begin = int64(off)
			}
			return nil
		})
		end(int64(b.toc.PostingsTable))
		return err
	})
	return newRuns(all...), err
}

// listsOf says which postings lists TSDB reads for matchers. It is a guess that saves requests: what it leaves out is fetched
// when it turns out to be missing.
func listsOf(ms []*labels.Matcher) func(name, value string) bool {
	set := map[string]bool{} // Labels that a series must have.
	for _, m := range ms {
		if !m.Matches("") {
			set[m.Name] = true
		}
	}
	everything := true
	for _, m := range ms {
		// A matcher that only takes series away needs some to take away from.
		if set[m.Name] && (!isNegative(m) || !m.Matches("")) {
			everything = false
		}
	}
	allName, allValue := index.AllPostingsKey()
	return func(name, value string) bool {
		if name == allName && value == allValue {
			return everything
		}
		for _, m := range ms {
			if m.Name != name || m.Value == ".*" && (m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp) {
				continue
			}
			// Lists of the values that match are intersected, those of the others taken away.
			takenAway := !set[name] || isNegative(m) && m.Matches("")
			if m.Matches(value) != takenAway {
				return true
			}
		}
		return false
	}
}

func isNegative(m *labels.Matcher) bool {
	return m.Type == labels.MatchNotEqual || m.Type == labels.MatchNotRegexp
}

// unsafeString is b as a string for as long as b is not changed: no longer than a call.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
