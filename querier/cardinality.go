// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	// countRounds bounds how often the members are asked again because one of them failed meanwhile, on whom the others
	// had counted.
	countRounds = 3
	// countListMax is how many metrics, and how many label pairs, a member names. Series are spread evenly by their
	// hashes: what is among the most frequent of all is among these of each member.
	countListMax = 10_000
)

// Heads are the series that are being written to on this member. It must be safe for concurrent use.
type Heads interface {
	// ReadHead calls read with the index of a tenant's head and the times of its samples; not at all if there is none.
	ReadHead(tenant string, read func(ix tsdb.IndexReader, mint, maxt int64) error) error
	// Counts returns which series this member is to count, so that of a series with several copies one is counted: that
	// of the first of its owners in whole, which lack nothing; if there is none, that of the first in asked.
	Counts(tenant string, whole, asked []string) func(labels.Labels) bool
}

// Cardinality is how many series of a tenant there are in the heads of the cluster, and of what sort. Of the copies of a
// series one counts; the replicas of an HA pair are different series.
type Cardinality struct {
	Series     uint64       `json:"series"`
	Chunks     uint64       `json:"chunks"`
	MinTime    int64        `json:"minTime"` // Milliseconds; above MaxTime if there are no samples.
	MaxTime    int64        `json:"maxTime"`
	Metrics    []Count      `json:"metrics"` // Series by metric name, the most frequent first; so are the others.
	Pairs      []Count      `json:"pairs"`   // Series by "label=value".
	LabelNames []LabelCount `json:"labelNames"`
}

// Count is how many series have something.
type Count struct {
	Name   string `json:"name"`
	Series uint64 `json:"series"`
}

// LabelCount is how many values a label has, and how many bytes they take in the label sets of all series.
type LabelCount struct {
	Name   string `json:"name"`
	Values int    `json:"-"`
	Bytes  uint64 `json:"bytes"`

	// Hashes of the values, of which the members' answers are put together.
	Hashes sketch `json:"hashes"`
}

// Cardinality counts the series of the tenant in the heads of all members. Series, chunks and bytes are exact when every
// member that owns a series has it; the number of values of a label is exact up to 4,096 and about right above.
//
// The members that answer divide the series among them: each counts those of which it is the first owner among them. If one
// of them fails, those that are left are asked again.
func (q *Querier) Cardinality(ctx context.Context) (*Cardinality, annotations.Annotations, error) {
	tenant, ok := TenantFrom(ctx)
	if !ok {
		return nil, nil, errNoTenant
	}
	if q.cfg.Heads == nil {
		return nil, nil, errNoHeads
	}
	partial := partialAllowed(ctx, q.cfg.PartialResponse)
	failed := map[string]error{}
	for {
		whole, asked := countingMembers(q.cfg.Members(), failed)
		answered := map[string]bool{}
		ask := func(ctx context.Context, m Member) (counted, said, error) {
			if err := failed[m.Name]; err != nil {
				return counted{}, said{}, err
			}
			if m.Self {
				c, err := q.count(ctx, tenant, whole, asked)
				return counted{m.Name, c}, said{localStart: q.cfg.Local.LocalStart(tenant)}, err
			}
			c, s, err := q.peers.cardinality(ctx, m, whole, asked)
			if err != nil {
				err = fmt.Errorf("count series: %w", err)
			}
			return counted{m.Name, c}, s, err
		}
		g, err := gather(ctx, q.cfg.Members, span{minTime, maxTime}, partial, ask)
		if err != nil {
			return nil, nil, err
		}
		parts := make([]*Cardinality, len(g.answers))
		for i, a := range g.answers {
			parts[i], answered[a.member] = a.count, true
		}
		again := false
		for _, name := range asked {
			if !answered[name] {
				failed[name], again = errFailedBefore, true
			}
		}
		if again && len(failed) < countRounds {
			continue
		}
		var warnings annotations.Annotations
		if g.lacking != nil {
			warnings.Add(g.lacking.warning())
		}
		return mergeCardinality(parts), warnings, nil
	}
}

var (
	errNoHeads      = errors.New("there are no heads to count")
	errFailedBefore = errors.New("did not answer")
)

// counted is what one member counted.
type counted struct {
	member string
	count  *Cardinality
}

// countingMembers returns the names of the members that are asked to count, and which of them lack nothing.
func countingMembers(ms Membership, failed map[string]error) (whole, asked []string) {
	for _, m := range ms.Members {
		if m.absent() != "" || failed[m.Name] != nil {
			continue
		}
		asked = append(asked, m.Name)
		if m.Lacks == "" {
			whole = append(whole, m.Name)
		}
	}
	return whole, asked
}

// mergeCardinality adds up what the members counted.
func mergeCardinality(parts []*Cardinality) *Cardinality {
	sum := &Cardinality{MinTime: maxTime, MaxTime: minTime}
	names := map[string]*LabelCount{}
	metrics, pairs := map[string]uint64{}, map[string]uint64{}
	for _, p := range parts {
		sum.Series, sum.Chunks = sum.Series+p.Series, sum.Chunks+p.Chunks
		sum.MinTime, sum.MaxTime = min(sum.MinTime, p.MinTime), max(sum.MaxTime, p.MaxTime)
		for _, c := range p.Metrics {
			metrics[c.Name] += c.Series
		}
		for _, c := range p.Pairs {
			pairs[c.Name] += c.Series
		}
		for _, l := range p.LabelNames {
			known := names[l.Name]
			if known == nil {
				known = &LabelCount{Name: l.Name}
				names[l.Name] = known
			}
			known.Bytes += l.Bytes
			known.Hashes = known.Hashes.union(l.Hashes)
		}
	}
	sum.Metrics, sum.Pairs = sortedCounts(metrics), sortedCounts(pairs)
	for _, l := range names {
		l.Values = l.Hashes.count()
		sum.LabelNames = append(sum.LabelNames, *l)
	}
	slices.SortFunc(sum.LabelNames, func(a, b LabelCount) int { return byCount(uint64(a.Values), a.Name, uint64(b.Values), b.Name) })
	return sum
}
