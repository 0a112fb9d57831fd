// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockdir

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// IndexStats say what an index is made of.
type IndexStats struct {
	Version     int         `json:"version"`
	Bytes       int64       `json:"bytes"`
	SymbolBytes uint64      `json:"symbol_bytes"` // In memory, of those that are kept there.
	LabelNames  int         `json:"label_names"`
	LabelPairs  int         `json:"label_pairs"`
	Postings    uint64      `json:"postings"`         // Entries of all lists.
	Labels      []LabelStat `json:"labels,omitempty"` // Those with most values first.
}

// LabelStat is how one label name is used.
type LabelStat struct {
	Name   string `json:"name"`
	Values int    `json:"values"`
	Series uint64 `json:"series"` // That have the label.
}

// pairSum tells sets of series apart without keeping them: their number, and a sum of hashes of their references. Two
// different sets have the same one with a chance of 2^-64.
type pairSum struct {
	count uint64
	sum   uint64
}

func (s *pairSum) add(ref storage.SeriesRef) {
	s.count++
	x := uint64(ref) + 0x9e3779b97f4a7c15 // splitmix64
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb
	s.sum += x ^ (x >> 31)
}

// allPostings reads every posting list, and compares it with the series that were found to have the label.
func (c *checker) allPostings(ctx context.Context) error {
	stats := &c.report.Index
	stats.Version, stats.Bytes, stats.SymbolBytes = c.index.Version(), c.index.Size(), c.index.SymbolTableSize()
	names, err := c.index.LabelNames(ctx)
	if err != nil {
		c.issues.add(PostingsWrong, "the label names: %v", err)
		return ctx.Err()
	}
	for _, name := range names {
		values, err := c.index.LabelValues(ctx, name, nil)
		if err != nil {
			c.issues.add(PostingsWrong, "the values of %q: %v", name, err)
			continue
		}
		stat := LabelStat{Name: name, Values: len(values)}
		for _, value := range values {
			if err := ctx.Err(); err != nil {
				return err
			}
			l := labels.Label{Name: name, Value: value}
			stat.Series += c.postings(ctx, l)
			delete(c.pairs, l)
		}
		stats.Labels = append(stats.Labels, stat)
		stats.LabelNames++
		stats.LabelPairs += stat.Values
		stats.Postings += stat.Series
	}
	left := slices.SortedFunc(maps.Keys(c.pairs), func(a, b labels.Label) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Value, b.Value))
	})
	for _, l := range left {
		c.issues.add(PostingsWrong, "no list for %s=%q, which %d series have", l.Name, l.Value, c.pairs[l].count)
	}
	slices.SortStableFunc(stats.Labels, func(a, b LabelStat) int { return cmp.Compare(b.Values, a.Values) })
	return nil
}

// postings reads one list and returns how long it is.
func (c *checker) postings(ctx context.Context, l labels.Label) uint64 {
	p, err := c.index.Postings(ctx, l.Name, l.Value)
	if err != nil {
		c.issues.add(PostingsWrong, "the list of %s=%q: %v", l.Name, l.Value, err)
		return 0
	}
	var got pairSum
	var last storage.SeriesRef
	for p.Next() {
		if got.count > 0 && p.At() <= last {
			c.issues.add(PostingsWrong, "the list of %s=%q has %d after %d", l.Name, l.Value, p.At(), last)
		}
		last = p.At()
		got.add(last)
	}
	if err := p.Err(); err != nil {
		c.issues.add(PostingsWrong, "the list of %s=%q: %v", l.Name, l.Value, err)
	} else if want := c.pairs[l]; got != want {
		c.issues.add(PostingsWrong, "the list of %s=%q has %d series, which are not the %d that have the label", l.Name, l.Value, got.count, want.count)
	}
	return got.count
}
