// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import "time"

const (
	day = 24 * time.Hour
	// stepsPerPiece is how many steps a piece has at least: one of a few steps would cost a question to every member and
	// hardly any evaluation.
	stepsPerPiece = 24
	// piecesPerReach is how many times as long as what an evaluation reaches back a piece is at least. At the beginning of
	// each piece these samples are read once more.
	piecesPerReach = 4
)

// steps are the times of a range query, in milliseconds: first, first+step, ... up to last. None if last is before first.
type steps struct{ first, last, step int64 }

// newSteps returns the steps of a range; the last is the last step and not the end of the range.
func newSteps(start, end, step int64) steps {
	if end < start {
		return steps{start, start - step, step}
	}
	return steps{start, start + (end-start)/step*step, step}
}

func (s steps) empty() bool  { return s.last < s.first }
func (s steps) count() int64 { return (s.last-s.first)/s.step + 1 }

// upTo returns the steps until a time.
func (s steps) upTo(t int64) steps {
	if t >= s.last {
		return s
	}
	return newSteps(s.first, t, s.step)
}

// before and after return the steps on either side of others, which have the same phase.
func (s steps) before(o steps) steps { return steps{s.first, min(s.last, o.first-s.step), s.step} }
func (s steps) after(o steps) steps  { return steps{max(s.first, o.last+s.step), s.last, s.step} }

// and returns the steps that both have.
func (s steps) and(o steps) steps { return steps{max(s.first, o.first), min(s.last, o.last), s.step} }

// meets tells whether both together have no gap between them.
func (s steps) meets(o steps) bool { return s.first <= o.last+s.step && o.first <= s.last+s.step }

// cutter says how long pieces are. Tests have shorter ones.
type cutter struct {
	unit  time.Duration
	steps int64 // See stepsPerPiece.
	reach int64 // See piecesPerReach.
}

func newCutter() cutter { return cutter{unit: day, steps: stepsPerPiece, reach: piecesPerReach} }

// length returns how long pieces of a query are: a day, or as many as it takes. It depends on the query alone, so that the
// same pieces come again.
func (c cutter) length(step int64, reach time.Duration) int64 {
	unit := c.unit.Milliseconds()
	units := func(ms int64) int64 { return (ms + unit - 1) / unit }
	return unit * max(1, units(c.steps*step), units(c.reach*reach.Milliseconds()))
}

// piece is the part of a range that lies in the n-th multiple of the length, since 1970 in UTC.
type piece struct {
	n int64
	steps
}

// split returns the pieces that a range is made of, each with its steps.
func split(all steps, length int64) []piece {
	var out []piece
	for rest := all; !rest.empty(); {
		n := floorDiv(rest.first, length)
		p := piece{n, rest.upTo((n+1)*length - 1)}
		out = append(out, p)
		rest = rest.after(p.steps)
	}
	return out
}

// floorDiv rounds down, and not toward 1970.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// phase is where between two multiples of the step the steps are.
func (s steps) phase() int64 { return s.first - floorDiv(s.first, s.step)*s.step }
