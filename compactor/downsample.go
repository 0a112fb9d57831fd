// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"context"
	"slices"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
)

// Downsampler makes a block of aggregates of a block.
type Downsampler interface {
	// Downsample reads the block in the directory src and writes one of the given resolution in ms into a new directory below
	// dst, which is named by the ULID that it returns. It is false when there is nothing to aggregate, and then nothing is
	// left in dst. Sources and time range of the new block are those of the old one.
	Downsample(ctx context.Context, src string, resolution int64, dst string) (ulid.ULID, bool, error)
}

// The ages at which blocks are downsampled, in units of the shortest range: Thanos' 40 h and 10 d for blocks of 2h.
const (
	downsample5mRanges = 20
	downsample1hRanges = 120
)

// DownsampleTask is a block that is to be aggregated.
type DownsampleTask struct {
	Group      Group // The part of a group that the block is in.
	Block      bucket.Listed
	Resolution int64 // ms, of what is to be made.
}

// PlanDownsampling returns the blocks that are long enough to be aggregated, and whose aggregates are not all there. Raw
// blocks become blocks of 5m, and those of 5m become blocks of 1h. Blocks that overlap others are to be merged first: the
// aggregates of copies would count samples twice. It is a function of its arguments.
func PlanDownsampling(blocks []bucket.Listed, rules Rules, owns func(Group) bool) []DownsampleTask {
	shortest := rules.Ranges[0]
	there := aggregated(blocks)
	covered := bucket.Covered(blocks)
	var tasks []DownsampleTask
	for _, g := range groupBlocks(blocks) {
		next, least := int64(0), int64(0)
		switch g.Resolution {
		case 0:
			next, least = downsample.FiveMinutes, downsample5mRanges*shortest
		case downsample.FiveMinutes:
			next, least = downsample.OneHour, downsample1hRanges*shortest
		}
		if next == 0 || (g.Foreign && !rules.Foreign) {
			continue
		}
		g.blocks = slices.DeleteFunc(g.blocks, func(b bucket.Listed) bool {
			_, isCovered := covered[b.Meta.ULID]
			return isCovered || b.Marks.Deletion != nil || isBroken(b.Marks)
		})
		for i, b := range g.blocks {
			part := g.in(b.Meta, rules.longest())
			if !owns(part) || b.Marks.NoDownsample != nil || b.Meta.MaxTime-b.Meta.MinTime < least || toBeMerged(g.blocks, i) {
				continue
			}
			if slices.ContainsFunc(bucket.SourcesOf(b.Meta), func(id ulid.ULID) bool {
				return !there[aggregatedSource{bucket.CopyGroup(b.Meta), next, id}]
			}) {
				tasks = append(tasks, DownsampleTask{Group: part, Block: b, Resolution: next})
			}
		}
	}
	return tasks
}

type aggregatedSource struct {
	group      string
	resolution int64
	source     ulid.ULID
}

// aggregated returns the sources of the blocks of each resolution, by any number of blocks.
func aggregated(blocks []bucket.Listed) map[aggregatedSource]bool {
	there := map[aggregatedSource]bool{}
	for _, b := range blocks {
		if b.Marks.Deletion != nil || isBroken(b.Marks) {
			continue
		}
		for _, source := range bucket.SourcesOf(b.Meta) {
			there[aggregatedSource{bucket.CopyGroup(b.Meta), b.Meta.Thanos.Downsample.Resolution, source}] = true
		}
	}
	return there
}

// toBeMerged says whether block i overlaps another one and nothing keeps the two from being merged. The blocks are in order
// of time.
func toBeMerged(blocks []bucket.Listed, i int) bool {
	if blocks[i].Marks.NoCompact != nil {
		return false
	}
	own := spanOf(blocks[i])
	for j, b := range blocks {
		if b.Meta.MinTime >= own.maxt {
			return false
		}
		if i != j && b.Marks.NoCompact == nil && own.overlaps(spanOf(b)) {
			return true
		}
	}
	return false
}

func isBroken(m bucket.Marks) bool {
	return m.NoCompact != nil && m.NoCompact.Reason == bucket.ReasonBroken
}
