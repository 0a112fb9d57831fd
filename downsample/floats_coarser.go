// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// coarserFloats makes one chunk out of consecutive ones of a finer resolution. It is only there that chunks can be
// joined: their counters' first and last samples are what the original series had, and must be so in the result.
func (w *writer) coarserFloats(group []Parts) error {
	span := timeSpan{math.MaxInt64, math.MinInt64}
	var present []Aggregate
	for _, a := range []Aggregate{Count, Sum, Min, Max} {
		points, err := w.expand(group, a)
		if err != nil {
			return err
		}
		if len(points) == 0 {
			continue
		}
		app := w.appender(a)
		eachWindow(points, w.resolution, func(t int64, window *floatWindow, _ float64) {
			span.include(t)
			switch a {
			case Min:
				app.Append(0, t, window.min)
			case Max:
				app.Append(0, t, window.max)
			default: // Counts add up as sums do.
				app.Append(0, t, window.sum)
			}
		})
		present = append(present, a)
	}
	some, err := w.coarserCounter(group, &span)
	if err != nil {
		return err
	}
	if some {
		present = append(present, Counter)
	}
	if len(present) > 0 {
		w.emit(w.parts(present...), span.mint, span.maxt)
	}
	return nil
}

// coarserCounter writes the joined counter of the group, if there is one.
func (w *writer) coarserCounter(group []Parts, span *timeSpan) (bool, error) {
	w.points = w.points[:0]
	var j joiner
	for i := range group {
		c := group[i][Counter]
		if c == nil {
			continue
		}
		j.begin()
		w.read = c.Iterator(w.read)
		for w.read.Next() != chunkenc.ValNone {
			if t, v := w.read.At(); j.add(t, v) {
				w.points = append(w.points, point{t, j.total})
			}
		}
		if err := w.read.Err(); err != nil {
			return false, fmt.Errorf("%w: %s: %w", ErrDamaged, Counter, err)
		}
	}
	if len(w.points) == 0 {
		return false, nil
	}
	app := w.appender(Counter)
	app.Append(0, w.points[0].t, w.points[0].v)
	eachWindow(w.points, w.resolution, func(t int64, _ *floatWindow, last float64) {
		span.include(t)
		app.Append(0, t, last)
	})
	app.Append(0, w.points[len(w.points)-1].t, j.last)
	return true, nil
}

// expand returns the samples of one aggregate of consecutive chunks. They are valid until the next call.
func (w *writer) expand(group []Parts, a Aggregate) ([]point, error) {
	w.points = w.points[:0]
	for i := range group {
		c := group[i][a]
		if c == nil {
			continue
		}
		w.read = c.Iterator(w.read)
		for w.read.Next() != chunkenc.ValNone {
			if t, v := w.read.At(); !value.IsStaleNaN(v) {
				w.points = append(w.points, point{t, v})
			}
		}
		if err := w.read.Err(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, a, err)
		}
	}
	return w.points, nil
}

// eachWindow calls f with each window of the points, and the last value in it, in order. The last window ends with the
// last point.
func eachWindow(points []point, resolution int64, f func(t int64, window *floatWindow, last float64)) {
	var window floatWindow
	end := windowEnd(points[0].t, resolution)
	for i, p := range points {
		if p.t > end {
			f(end, &window, points[i-1].v)
			window = floatWindow{}
			end = windowEnd(p.t, resolution)
		}
		window.add(p.v)
	}
	last := points[len(points)-1]
	f(last.t, &window, last.v)
}

// timeSpan is a closed interval.
type timeSpan struct{ mint, maxt int64 }

func (s *timeSpan) include(t int64) { s.mint, s.maxt = min(s.mint, t), max(s.maxt, t) }
