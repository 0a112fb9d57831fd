// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// stretchesMax bounds what is told of one series: a pair of which one member flaps every minute makes
// as many in a day.
const stretchesMax = 1500

// Why a stretch begins where it does.
const (
	WhyFirst = "first" // It is the first of the range.
	WhyGap   = "gap"   // The replica before has no sample where it would be due.
	WhyStale = "stale" // The replica before has a stale marker: its scrape failed, or it lost its target.
	WhyBack  = "back"  // A replica of higher preference has samples again.
)

// Stretch is a part of a series whose samples one replica gave. Times are in ms.
type Stretch struct {
	Start, End int64 // Of its first and last sample.
	Samples    int
	Replica    labels.Labels // The replica labels that the replica has.
	Why        string        // It begins.
	Skew       int           // Samples before the first that were skipped as skew.
	Sources    []Source
}

// Source is a place that has samples of a stretch. Places can have the same ones.
type Source struct {
	Name       string
	Start, End int64
	Samples    int
}

// Explained is one series of an answer and what it was made of.
type Explained struct {
	Labels    labels.Labels
	Stretches []Stretch
	Cut       bool // There are more stretches.
}

// Explanation is what a select was made of.
type Explanation struct {
	Series   []Explained
	Cut      bool // There are more series.
	Warnings annotations.Annotations
}

// sourced is a series below that knows the sources of its samples.
type sourced interface {
	// Sources returns what names the sources of a sample by its time, in ms, which never goes back. Nil: they are not known.
	Sources() func(t int64) []string
}

// Explain selects as the view that Queryable returns does, in the time of the hints, and returns
// which replica each stretch of the first limit series came from and, if the series of q know, from which
// source. It reads all samples of those series.
func Explain(ctx context.Context, q storage.Queryable, cfg Config, limit int, hints *storage.SelectHints, matchers ...*labels.Matcher) (*Explanation, error) {
	r := newRule(cfg.Margin)
	names := replicaLabels(ctx, cfg.ReplicaLabels)
	margin := r.margin
	if len(names) == 0 {
		margin = 0
	}
	below := widen(hints, margin)
	inner, err := q.Querier(below.Start, below.End)
	if err != nil {
		return nil, err
	}
	defer inner.Close()
	set := &groupedSet{
		names: names, rule: r, mint: hints.Start, maxt: hints.End, sorted: true,
		inner: inner.Select(ctx, false, below, matchers...),
	}
	var e Explanation
	for set.Next() {
		if len(e.Series) == limit {
			e.Cut = true
			break
		}
		one, err := explain(ctx, set.replicas, names, r, hints.Start, hints.End)
		if err != nil {
			return nil, err
		}
		if len(one.Stretches) > 0 { // else it has samples in the margin only
			one.Labels = set.At().Labels()
			e.Series = append(e.Series, one)
		}
	}
	e.Warnings = set.Warnings()
	return &e, set.Err()
}

// explain does what an iterator does and keeps account of it.
func explain(ctx context.Context, replicas []storage.Series, names []string, r rule, mint, maxt int64) (Explained, error) {
	x := &explainer{names: names, replicas: replicas, mint: mint, sources: make([]func(int64) []string, len(replicas))}
	x.stitch.reset(r, replicas)
	x.skew.reset(r.skew)
	for x.stitch.seek(minus(mint, skewReach*r.skew)); ; x.stitch.next() {
		if err := cmp.Or(x.stitch.err(), ctx.Err()); err != nil {
			return Explained{}, err
		}
		head := x.stitch.head()
		if !head.ok || head.t > maxt {
			break
		}
		if len(x.out.Stretches) > stretchesMax {
			x.out.Stretches, x.out.Cut = x.out.Stretches[:stretchesMax], true
			break
		}
		x.take(head)
	}
	return x.out, nil
}

type explainer struct {
	stitch   stitch
	skew     skewFilter
	names    []string
	replicas []storage.Series
	sources  []func(int64) []string // By replica; those that were needed.
	mint     int64

	at      chosen // the last record that counts
	value   chosen // the last that is not a stale marker
	ended   bool   // by a stale marker since
	skipped int    // as skew, since the last sample that was not
	out     Explained
}

// take accounts for one chosen record.
func (x *explainer) take(head chosen) {
	if x.at.ok && head.t <= x.at.t {
		return
	}
	r := x.stitch.tracks[head.replica].at(head.index)
	if x.skew.skip(head.replica, r) {
		if head.t >= x.mint {
			x.skipped++
		}
		return
	}
	x.at = head
	if r.stale {
		x.ended = true
		return
	}
	before, why := x.value, x.why(head)
	x.value, x.ended = head, false
	if head.t < x.mint {
		return
	}
	if n := len(x.out.Stretches); n == 0 || why != "" {
		if n == 0 && (!before.ok || before.t < x.mint) {
			why = WhyFirst
		}
		x.out.Stretches = append(x.out.Stretches, Stretch{Start: head.t, Replica: x.replica(head.replica), Why: why, Skew: x.skipped})
	}
	x.skipped = 0
	x.out.Stretches[len(x.out.Stretches)-1].add(head.t, x.sourcesOf(head))
}

// why tells why a stretch begins with a value, or nothing if none does.
func (x *explainer) why(head chosen) string {
	last := x.value
	switch {
	case !last.ok:
		return WhyFirst
	case head.replica < last.replica:
		return WhyBack
	case head.replica > last.replica:
		tr := &x.stitch.tracks[last.replica]
		if i := last.index + 1; i >= tr.base && i < tr.end() && tr.at(i).stale {
			return WhyStale
		}
		return WhyGap
	case x.ended:
		return WhyStale
	}
	// The same replica goes on: maybe after a hole that no other could fill.
	tr := &x.stitch.tracks[head.replica]
	if last.index != head.index-1 || last.index < tr.base || x.stitch.joined(head.replica, last.index, head.index) ||
		tr.usualBefore(last.index) == 0 && tr.usualAfter(head.index) == 0 { // Scraped so rarely that nobody can tell.
		return ""
	}
	return WhyGap
}

func (x *explainer) replica(n int) labels.Labels {
	b := labels.NewScratchBuilder(len(x.names))
	full := x.replicas[n].Labels()
	for _, name := range x.names {
		if v := full.Get(name); v != "" {
			b.Add(name, v)
		}
	}
	b.Sort()
	return b.Labels()
}

func (x *explainer) sourcesOf(head chosen) []string {
	of := &x.sources[head.replica]
	if *of == nil {
		if s, ok := x.replicas[head.replica].(sourced); ok {
			*of = s.Sources()
		}
		if *of == nil {
			*of = func(int64) []string { return nil }
		}
	}
	return (*of)(head.t)
}

func (s *Stretch) add(t int64, sources []string) {
	s.End = t
	s.Samples++
	for _, name := range sources {
		i := slices.IndexFunc(s.Sources, func(o Source) bool { return o.Name == name })
		if i < 0 {
			i = len(s.Sources)
			s.Sources = append(s.Sources, Source{Name: name, Start: t})
		}
		s.Sources[i].End = t
		s.Sources[i].Samples++
	}
}
