// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"fmt"
	"math"
)

// open returns the samples of one downsampled chunk as they are wanted.
func (p *Parts) open(r Reading, resolution int64) (source, error) {
	one := func(a Aggregate) (source, error) {
		c, err := p.need(a)
		if err != nil {
			return nil, err
		}
		return &chunkSource{it: c.Iterator(nil)}, nil
	}
	switch {
	case r == ReadCounter:
		return one(Counter)
	case r == ReadSum:
		return one(Sum)
	case r == ReadMin && !p.isHistogram():
		return one(Min)
	case r == ReadMax && !p.isHistogram():
		return one(Max)
	}
	// Functions for which histograms have no aggregate leave them out; they must be seen to be left out.
	counts, err := one(Count)
	if err != nil {
		return nil, err
	}
	if r == ReadCount {
		return &repeatSource{counts: counts, resolution: resolution}, nil
	}
	sums, err := one(Sum)
	average := &averageSource{counts: counts, sums: sums}
	if r == ReadWeighted {
		return &repeatSource{average: average, resolution: resolution}, err
	}
	return average, err
}

// averageSource divides sums by counts.
type averageSource struct {
	counts, sums source
	count        float64 // Of the window that came last.
	failure      error
}

func (s *averageSource) next() (sample, bool) {
	n, more := s.counts.next()
	sum, moreSums := s.sums.next()
	if more != moreSums || n.t != sum.t {
		s.failure = fmt.Errorf("%w: %s and %s are of different times", ErrDamaged, Count, Sum)
		return sample{}, false
	}
	s.count = n.v
	switch {
	case sum.h != nil:
		sum.fh, sum.h = sum.h.ToFloat(nil), nil
		sum.fh.Div(n.v)
	case sum.fh != nil:
		sum.fh = sum.fh.Copy().Div(n.v)
	default:
		sum.v /= n.v
	}
	return sum, more
}

func (s *averageSource) err() error {
	for _, err := range []error{s.counts.err(), s.sums.err(), s.failure} {
		if err != nil {
			return err
		}
	}
	return nil
}

// repeatSource yields as many samples as a window had, evenly in its time, so that what counts samples finds as many as there
// were, and what takes a mean gives each window its weight. Their value is the average, or how many there were.
type repeatSource struct {
	counts     source
	average    *averageSource // Nil to yield counts.
	resolution int64
	ended      int64 // When the window or chunk before ended, or the item's time begins.

	window     sample // Its time is the window's end.
	left, step int64  // Samples still to come of it, and ms between them.
}

func (s *repeatSource) next() (sample, bool) {
	if s.left == 0 {
		var ok bool
		var n float64
		if s.average != nil {
			s.window, ok = s.average.next()
			n = s.average.count
		} else {
			s.window, ok = s.counts.next()
			n = s.window.v
		}
		if !ok {
			return sample{}, false
		}
		// None has more samples than milliseconds. One that is before the time that is asked for is left out by the caller.
		room := max(1, s.window.t-max(s.ended, windowEnd(s.window.t, s.resolution)-s.resolution))
		s.left = room
		if n < float64(room) { // Not of NaN.
			s.left = max(1, int64(math.Round(n)))
		}
		s.step = room / s.left
		s.ended = max(s.ended, s.window.t) // Damaged ones could be of one time again and again.
	}
	s.left--
	out := s.window
	out.t -= s.left * s.step
	return out, true
}

func (s *repeatSource) err() error {
	if s.average != nil {
		return s.average.err()
	}
	return s.counts.err()
}

// spreadSource repeats each sample at the ends of the five-minute windows in its own. The first window of a chunk may have
// begun in the chunk before, so that its time is not known; what comes too early is left out by whoever merges.
type spreadSource struct {
	source
	resolution int64
	window     sample
	at         int64
	more       bool
}

func (s *spreadSource) next() (sample, bool) {
	if !s.more {
		var ok bool
		if s.window, ok = s.source.next(); !ok {
			return sample{}, false
		}
		s.at = windowEnd(s.window.t, s.resolution) - s.resolution + FiveMinutes
	}
	out := s.window
	out.t = min(s.at, s.window.t)
	s.at += FiveMinutes
	s.more = out.t < s.window.t
	return out, true
}

// clip is a source of the samples in [mint, maxt] of another.
type clip struct {
	source
	mint, maxt int64
}

func (c *clip) next() (sample, bool) {
	for {
		s, ok := c.source.next()
		if !ok || s.t > c.maxt {
			return sample{}, false
		}
		if s.t >= c.mint {
			return s, true
		}
	}
}
