// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"cmp"
	"slices"

	"github.com/oklog/ulid/v2"
)

// Block is what has to be known of a block to find out whether it is to be read.
type Block struct {
	ID         ulid.ULID
	Mint, Maxt int64 // ms, half-open.
	Resolution int64
	Sources    []ulid.ULID // The blocks that were written first and of which this one has the samples.
	// Behind says that a finer block of the same time has samples that are not in this one. See MarkBehind.
	Behind bool
}

// Piece is the part of a block's time for which it answers: the closed interval [Mint, Maxt].
type Piece struct {
	Block      int // The index in what Cover was given.
	Mint, Maxt int64
}

// Cover chooses the blocks of one group that answer for [mint, maxt], so that each moment is answered for by blocks of one
// resolution: the coarsest that the limit allows, finer ones where it is absent, and, if the limit is not strict, coarser
// ones where nothing else is. Several blocks of one resolution may be of the same time; they hold different series or
// copies. Pieces are in the order of time.
//
// left are the times that only blocks coarser than a strict limit could have answered for.
//
// A block that is behind is passed over while finer ones can stand for it: it was made before a late block came. So is a
// coarse one that reaches into the time from which on the answer is joined to raw samples of others (see Limit).
func Cover(blocks []Block, mint, maxt int64, limit Limit) (pieces []Piece, left []Piece) {
	open := []timeSpan{{mint, maxt}}
	for _, second := range []bool{false, true} {
		for _, resolution := range preference(blocks, limit) {
			var found []Piece
			for i, b := range blocks {
				if b.Resolution == resolution && (b.Behind || b.reaches(limit.Joined)) == second {
					found = append(found, piecesOf(i, b, open)...)
				}
			}
			open = without(open, found)
			pieces = append(pieces, found...)
		}
	}
	byTime(pieces)
	if limit.Strict {
		for i, b := range blocks {
			if b.Resolution > limit.Max {
				left = append(left, piecesOf(i, b, open)...)
			}
		}
		byTime(left)
	}
	return pieces, left
}

func (b Block) reaches(joined int64) bool { return joined > 0 && b.Resolution > Raw && b.Maxt > joined }

// preference returns the resolutions of the blocks that may be read, in the order in which they are wanted.
func preference(blocks []Block, limit Limit) []int64 {
	var allowed, coarser []int64
	for _, b := range blocks {
		if b.Resolution <= limit.Max || b.Resolution == Raw {
			allowed = append(allowed, b.Resolution)
		} else if !limit.Strict {
			coarser = append(coarser, b.Resolution)
		}
	}
	slices.SortFunc(allowed, func(a, b int64) int { return cmp.Compare(b, a) })
	slices.Sort(coarser)
	return append(slices.Compact(allowed), slices.Compact(coarser)...)
}

// piecesOf returns the open times that are the block's.
func piecesOf(i int, b Block, open []timeSpan) []Piece {
	var found []Piece
	for _, s := range open {
		if p := (Piece{i, max(s.mint, b.Mint), min(s.maxt, b.Maxt-1)}); p.Mint <= p.Maxt {
			found = append(found, p)
		}
	}
	return found
}

// without takes the times of the pieces out of the spans, which are in order and do not touch.
func without(spans []timeSpan, pieces []Piece) []timeSpan {
	for _, p := range pieces {
		var rest []timeSpan
		for _, s := range spans {
			if before := (timeSpan{s.mint, min(s.maxt, p.Mint-1)}); before.mint <= before.maxt {
				rest = append(rest, before)
			}
			if after := (timeSpan{max(s.mint, p.Maxt+1), s.maxt}); after.mint <= after.maxt {
				rest = append(rest, after)
			}
		}
		spans = rest
	}
	return spans
}

func byTime(pieces []Piece) {
	slices.SortStableFunc(pieces, func(a, b Piece) int { return cmp.Compare(a.Mint, b.Mint) })
}

// MarkBehind sets Behind of the blocks of one group, which must be all that there are. A coarse block has what finer ones
// had when it was made. A finer one of the same time, of which no block of the coarse resolution has every source, came
// later, or its own downsampling is still to come.
func MarkBehind(blocks []Block) {
	sources := map[int64]map[ulid.ULID]struct{}{}
	for _, b := range blocks {
		if sources[b.Resolution] == nil {
			sources[b.Resolution] = map[ulid.ULID]struct{}{}
		}
		for _, id := range b.Sources {
			sources[b.Resolution][id] = struct{}{}
		}
	}
	if len(sources) == 1 && sources[Raw] != nil {
		return
	}
	for i := range blocks {
		coarse := &blocks[i]
		coarse.Behind = slices.ContainsFunc(blocks, func(b Block) bool {
			return b.Resolution < coarse.Resolution && b.Mint < coarse.Maxt && coarse.Mint < b.Maxt &&
				!hasAll(sources[coarse.Resolution], b.Sources)
		})
	}
}

func hasAll(set map[ulid.ULID]struct{}, ids []ulid.ULID) bool {
	return !slices.ContainsFunc(ids, func(id ulid.ULID) bool { _, ok := set[id]; return !ok })
}

// Union returns the times of the pieces, in order and without overlap. The index is not set.
func Union(pieces []Piece) []Piece {
	sorted := slices.Clone(pieces)
	byTime(sorted)
	var all []Piece
	for _, p := range sorted {
		if n := len(all); n > 0 && p.Mint <= all[n-1].Maxt+1 {
			all[n-1].Maxt = max(all[n-1].Maxt, p.Maxt)
		} else {
			all = append(all, Piece{Mint: p.Mint, Maxt: p.Maxt})
		}
	}
	return all
}
