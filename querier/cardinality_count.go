// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// count counts the series that this member is to count, for one user at a time.
func (q *Querier) count(ctx context.Context, tenant string, whole, asked []string) (*Cardinality, error) {
	if !q.cfg.Local.Ready() {
		return nil, errLocalNotReady
	}
	q.counting.Lock()
	defer q.counting.Unlock()
	return countHead(ctx, q.cfg.Heads, tenant, whole, asked)
}

// countHead counts the series of a head that are this member's to count. It walks the index twice: over the series, to
// see which ones, and over the label pairs, to see how many of those have each. It keeps a bit a series and no label sets.
func countHead(ctx context.Context, heads Heads, tenant string, whole, asked []string) (*Cardinality, error) {
	counts := heads.Counts(tenant, whole, asked)
	c := &Cardinality{MinTime: maxTime, MaxTime: minTime}
	err := heads.ReadHead(tenant, func(ix tsdb.IndexReader, mint, maxt int64) error {
		c.MinTime, c.MaxTime = mint, maxt
		mine, err := c.countSeries(ctx, ix, counts)
		if err != nil {
			return err
		}
		return c.countLabels(ctx, ix, mine)
	})
	return c, err
}

// ctxEvery is after how many series it is looked whether anybody still waits.
const ctxEvery = 4096

func (c *Cardinality) countSeries(ctx context.Context, ix tsdb.IndexReader, counts func(labels.Labels) bool) (refSet, error) {
	name, val := index.AllPostingsKey()
	all, err := ix.Postings(ctx, name, val)
	if err != nil {
		return nil, err
	}
	mine := refSet{}
	var b labels.ScratchBuilder
	var metas []chunks.Meta
	for n := 0; all.Next(); n++ {
		if n%ctxEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		switch err := ix.Series(all.At(), &b, &metas); {
		case errors.Is(err, storage.ErrNotFound): // Collected meanwhile.
			continue
		case err != nil:
			return nil, err
		}
		if counts(b.Labels()) {
			mine.add(all.At())
			c.Series++
			c.Chunks += uint64(len(metas))
		}
	}
	return mine, all.Err()
}

func (c *Cardinality) countLabels(ctx context.Context, ix tsdb.IndexReader, mine refSet) error {
	names, err := ix.LabelNames(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		values, err := ix.LabelValues(ctx, name, nil)
		if err != nil {
			return err
		}
		label := LabelCount{Name: name}
		var there []string
		for _, value := range values {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := countPostings(ctx, ix, name, value, mine)
			if err != nil {
				return err
			}
			if n == 0 {
				continue
			}
			there = append(there, value)
			label.Bytes += labels.SizeOfLabels(name, value, n)
			c.Pairs = append(c.Pairs, Count{name + "=" + value, n})
			if name == model.MetricNameLabel {
				c.Metrics = append(c.Metrics, Count{value, n})
			}
			if len(c.Pairs) >= 2*countListMax {
				c.Pairs = mostFrequent(c.Pairs)
			}
		}
		if len(there) > 0 {
			label.Hashes = newSketch(there)
			c.LabelNames = append(c.LabelNames, label)
		}
	}
	c.Pairs, c.Metrics = mostFrequent(c.Pairs), mostFrequent(c.Metrics)
	return nil
}

func countPostings(ctx context.Context, ix tsdb.IndexReader, name, value string, mine refSet) (n uint64, err error) {
	p, err := ix.Postings(ctx, name, value)
	if err != nil {
		return 0, err
	}
	for p.Next() {
		if mine.has(p.At()) {
			n++
		}
	}
	return n, p.Err()
}

// mostFrequent keeps the first countListMax of a list, sorted.
func mostFrequent(list []Count) []Count {
	slices.SortFunc(list, func(a, b Count) int { return byCount(a.Series, a.Name, b.Series, b.Name) })
	return list[:min(len(list), countListMax)]
}

func sortedCounts(by map[string]uint64) []Count {
	out := make([]Count, 0, len(by))
	for name, n := range by {
		out = append(out, Count{name, n})
	}
	slices.SortFunc(out, func(a, b Count) int { return byCount(a.Series, a.Name, b.Series, b.Name) })
	return out
}

// byCount orders by number, the largest first, and then by name.
func byCount(a uint64, nameA string, b uint64, nameB string) int {
	return cmp.Or(cmp.Compare(b, a), strings.Compare(nameA, nameB))
}

// refSet is a set of series by their references, a bit each. They are numbers that grow, with gaps where series are gone.
type refSet map[storage.SeriesRef]*[refPage / 64]uint64

// refPage is how many references share a piece of memory.
const refPage = 4096

func (s refSet) add(ref storage.SeriesRef) {
	page := s[ref/refPage]
	if page == nil {
		page = new([refPage / 64]uint64)
		s[ref/refPage] = page
	}
	page[ref%refPage/64] |= 1 << (ref % 64)
}

func (s refSet) has(ref storage.SeriesRef) bool {
	page := s[ref/refPage]
	return page != nil && page[ref%refPage/64]&(1<<(ref%64)) != 0
}
