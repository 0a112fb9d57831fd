// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"

	"github.com/penstock-io/penstock/downsample"
)

// need is a block with the times for which it answers, of which no block of another resolution does.
type need struct {
	*block
	pieces []downsample.Piece
}

// plan is what answers one question.
type plan struct {
	needs    []need // In the order of the blocks.
	limit    downsample.Limit
	mixed    bool // They are of several resolutions.
	coarse   bool // Some are downsampled.
	warnings annotations.Annotations
}

// newPlan chooses among the blocks of a tenant that may have series in the closed interval [mint, maxt]. Blocks of other
// external labels have other series, and are chosen on their own.
func newPlan(blocks []*block, mint, maxt int64, limit downsample.Limit, hints *storage.SelectHints) plan {
	p := plan{limit: limit.For(hints)}
	if !slices.ContainsFunc(blocks, func(b *block) bool { return b.cover.Resolution > downsample.Raw }) {
		for _, b := range blocks {
			p.needs = append(p.needs, need{b, []downsample.Piece{{Mint: max(mint, b.mint), Maxt: min(maxt, b.maxt-1)}}})
		}
		return p
	}
	bearable := downsample.Bearable(hints)
	var sparse []downsample.Piece
	groups := map[string][]int{}
	for i, b := range blocks {
		groups[b.group] = append(groups[b.group], i)
	}
	pieces := make([][]downsample.Piece, len(blocks))
	for _, members := range groups {
		group := make([]downsample.Block, len(members))
		for i, at := range members {
			group[i] = blocks[at].cover
		}
		found, left := downsample.Cover(group, mint, maxt, p.limit)
		for _, piece := range found {
			at := members[piece.Block]
			r := blocks[at].cover.Resolution
			if r > bearable {
				sparse = append(sparse, piece)
			}
			if piece.Mint == mint && r > downsample.Raw {
				piece.Mint = max(blocks[at].mint, mint-r) // The window before says how the first one began.
			}
			pieces[at] = append(pieces[at], piece)
		}
		if len(left) > 0 {
			p.warnings.Add(tooCoarse(left, p.limit))
		}
	}
	if len(sparse) > 0 {
		p.warnings.Add(tooSparse(sparse, hints))
	}
	for i, b := range blocks {
		if len(pieces[i]) == 0 {
			continue
		}
		p.needs = append(p.needs, need{b, pieces[i]})
		p.coarse = p.coarse || b.cover.Resolution > downsample.Raw
		p.mixed = p.mixed || b.cover.Resolution != p.needs[0].cover.Resolution
	}
	return p
}

// tooCoarse is what an answer says that a strict limit made short.
func tooCoarse(left []downsample.Piece, limit downsample.Limit) error {
	from, to := ends(left)
	return fmt.Errorf("between %s and %s no samples are kept that are %s apart or less: leave max_source_resolution out to get coarser ones",
		from, to, downsample.Duration(limit.Max))
}

// tooSparse is what an answer says in which a function finds fewer samples than it needs.
func tooSparse(pieces []downsample.Piece, hints *storage.SelectHints) error {
	from, to := ends(pieces)
	return fmt.Errorf("between %s and %s the samples that are kept are too far apart for %s over %s: take a longer range",
		from, to, hints.Func, downsample.Duration(hints.Range))
}

func ends(pieces []downsample.Piece) (from, to string) {
	all := downsample.Union(pieces)
	return utc(all[0].Mint), utc(all[len(all)-1].Maxt)
}

func utc(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// downsampled returns for which times downsampled blocks answer.
func (p *plan) downsampled() []downsample.Piece {
	var all []downsample.Piece
	for _, n := range p.needs {
		if n.cover.Resolution > downsample.Raw {
			all = append(all, n.pieces...)
		}
	}
	return all
}

// hintsFor returns the hints for one of the blocks: the time of its pieces, and chunks that are not cut, since one that is
// downsampled cannot be.
func (n need) hintsFor(hints *storage.SelectHints) *storage.SelectHints {
	var h storage.SelectHints
	if hints != nil {
		h = *hints
	}
	h.Start, h.End = n.pieces[0].Mint, n.pieces[len(n.pieces)-1].Maxt
	h.DisableTrimming = true
	return &h
}
