// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/annotations"
	"golang.org/x/sync/errgroup"
)

// growShare is by which part of itself an entry must grow to be written anew: a panel that is refreshed every few seconds would have it copied for
// a step or two each time, and these are soon evaluated.
const growShare = 16

// assembly is one query that is put together.
type assembly struct {
	*Engine
	plan

	q *query
	// reserved is set by samples' labels that make the whole something else than its parts.
	reserved atomic.Bool
}

// found is the answer to a piece.
type found struct {
	parts []part
	notes annotations.Annotations
}

// assemble answers a range query from pieces. False: it must be evaluated whole.
func (e *Engine) assemble(ctx context.Context, q *query, p plan) (outcome, bool) {
	back := (p.shape.reach + q.lookback()).Milliseconds()
	if _, divisible := e.cfg.Version(ctx, p.all.first-back, p.all.last); !divisible {
		return outcome{}, false
	}
	a := &assembly{Engine: e, plan: p, q: q}
	answers := make([]found, len(p.pieces))
	g, pieceCtx := errgroup.WithContext(ctx)
	g.SetLimit(e.atOnce)
	for i, piece := range p.pieces {
		g.Go(func() (err error) {
			defer func() {
				if r := recover(); r != nil {
					err = fmt.Errorf("unexpected panic: %v", r)
				}
			}()
			answers[i], err = a.answer(pieceCtx, piece)
			return err
		})
	}
	err := g.Wait()
	var failed *pieceError
	switch {
	case errors.As(err, &failed):
		return outcome{err: failed.err, warnings: failed.warnings}, true
	case err != nil:
		return outcome{err: err}, true
	case p.shape.strict && a.reserved.Load():
		return outcome{}, false
	}
	var parts []part
	var notes annotations.Annotations
	for _, f := range answers {
		parts = append(parts, f.parts...)
		notes.Merge(f.notes)
	}
	matrix := join(parts)
	if e.cfg.MaxSamples != nil {
		if most := e.cfg.MaxSamples(ctx); most > 0 && samplesOf(matrix) > most {
			return outcome{err: promql.ErrTooManySamples("query execution"), warnings: notes}, true
		}
	}
	return outcome{value: matrix, warnings: notes}, true
}

// pieceError is why the engine could not evaluate a piece.
type pieceError struct {
	err      error
	warnings annotations.Annotations
}

func (e *pieceError) Error() string { return e.err.Error() }

// answer returns the answer to a piece, and keeps of it what is worth it.
func (a *assembly) answer(ctx context.Context, p piece) (found, error) {
	k := key{
		scope: a.scope, text: a.shape.text, step: a.all.step, phase: a.all.phase(),
		lookback: a.q.lookback(), piece: p.n,
	}
	// It is asked before the data are: what is evaluated is of this version or a later one.
	version, _ := a.cfg.Version(ctx, p.n*a.length-(a.shape.reach+k.lookback).Milliseconds(), (p.n+1)*a.length-1)
	known := a.store.get(k, version, a.q.text)
	if known != nil && !known.steps.meets(p.steps) {
		known = nil
	}
	var out found
	var runs []run
	evaluate := func(s steps) error {
		if s.empty() {
			return nil
		}
		r, err := a.evaluate(ctx, s)
		if err == nil {
			runs = append(runs, r)
			out.parts = append(out.parts, r.part)
			out.notes.Merge(r.notes)
		}
		return err
	}
	if known == nil {
		a.metrics.pieces.WithLabelValues(resultMiss).Inc()
		if err := evaluate(p.steps); err != nil {
			return out, err
		}
	} else {
		if err := evaluate(p.before(known.steps)); err != nil {
			return out, err
		}
		if common := p.and(known.steps); !common.empty() {
			out.parts = append(out.parts, part{known.matrix, common})
			out.notes.Merge(known.notes)
			a.metrics.steps.WithLabelValues("store").Add(float64(common.count()))
		}
		if err := evaluate(p.after(known.steps)); err != nil {
			return out, err
		}
		result := resultPartial
		if len(runs) == 0 {
			result = resultHit
		}
		a.metrics.pieces.WithLabelValues(result).Inc()
	}
	if e := a.entry(k, known, runs); e != nil {
		e.version = version
		a.store.put(e)
	}
	return out, nil
}

// run is what the engine has evaluated.
type run struct {
	part
	notes  annotations.Annotations
	keep   steps // Those that cannot change any more.
	lasted bool  // Whether they may be kept at all.
}

func (a *assembly) evaluate(ctx context.Context, s steps) (run, error) {
	settled := func() int64 { return math.MaxInt64 }
	if a.cfg.Watch != nil {
		ctx, settled = a.cfg.Watch(ctx)
	}
	storage := sorted{a.q.storage, &a.reserved}
	q, err := a.cfg.Engine.NewRangeQuery(ctx, storage, a.q.opts, a.q.text, time.UnixMilli(s.first), time.UnixMilli(s.last), time.Duration(s.step)*time.Millisecond)
	if err != nil {
		return run{}, err
	}
	// It is not closed: what it has stays in the answer, and in the store.
	res := q.Exec(ctx)
	if res.Err != nil {
		return run{}, &pieceError{res.Err, res.Warnings}
	}
	matrix, ok := res.Value.(promql.Matrix)
	if !ok {
		return run{}, fmt.Errorf("the answer to a range is a %s", res.Value.Type())
	}
	a.metrics.steps.WithLabelValues("engine").Add(float64(s.count()))
	r := run{part: part{matrix, s}, notes: res.Warnings}
	r.keep = s.upTo(min(a.settled, settled()))
	r.lasted = lasting(res.Warnings) && (!a.shape.strict || !a.reserved.Load())
	return r, nil
}

// entry returns what is to be kept in place of known, or nil if that need not change.
func (a *assembly) entry(k key, known *entry, runs []run) *entry {
	e := &entry{key: k, query: a.q.text}
	var parts []part
	if known != nil {
		e.steps = known.steps
		parts = []part{{known.matrix, known.steps}}
		e.notes.Merge(known.notes)
	}
	grown := int64(0)
	for _, r := range runs {
		switch {
		case !r.lasted || r.keep.empty():
			continue
		case parts == nil:
			e.steps, parts = r.keep, []part{{r.matrix, r.keep}}
		case r.steps.last < e.steps.first: // It must reach to what is known.
			if r.keep != r.steps {
				continue
			}
			e.steps.first, parts = r.keep.first, append([]part{{r.matrix, r.keep}}, parts...)
		default:
			e.steps.last, parts = r.keep.last, append(parts, part{r.matrix, r.keep})
		}
		grown += r.keep.count()
		e.notes.Merge(freeze(r.notes, a.q.text))
	}
	if grown == 0 {
		return nil
	}
	end := newSteps(e.steps.first, (k.piece+1)*a.length-1, e.steps.step).last
	if grown*growShare < e.steps.count() && e.steps.last != end {
		return nil
	}
	if len(parts) == 1 {
		e.matrix = clip(parts[0].matrix, parts[0].steps)
	} else {
		e.matrix = join(parts)
	}
	return e
}
