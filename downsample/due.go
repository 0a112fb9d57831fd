// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package downsample

import (
	"cmp"
	"slices"

	"github.com/oklog/ulid/v2"
)

// How much time a block must have to be downsampled, in ms. It follows that it is as old. Thanos has the same bounds, which
// give two chunks a series at least; they must be met by the ranges to which blocks are compacted.
const (
	fiveMinutesRange = int64(40 * 60 * 60 * 1000)      // To 5m: blocks of two days.
	oneHourRange     = int64(10 * 24 * 60 * 60 * 1000) // To 1h: blocks of two weeks.
)

// Task is a block that is to be downsampled.
type Task struct {
	Block      int // The index in what Due was given.
	Resolution int64
}

// Due returns which of the blocks of one group are to be downsampled, the oldest first: those with enough time of which not
// all sources are in blocks of the next resolution. What a task makes can be due itself.
func Due(blocks []Block) []Task {
	sources := map[int64]map[ulid.ULID]struct{}{FiveMinutes: {}, OneHour: {}}
	for _, b := range blocks {
		for _, id := range b.Sources {
			if set := sources[b.Resolution]; set != nil {
				set[id] = struct{}{}
			}
		}
	}
	var tasks []Task
	for i, b := range blocks {
		next, least := FiveMinutes, fiveMinutesRange
		if b.Resolution == FiveMinutes {
			next, least = OneHour, oneHourRange
		}
		if b.Resolution < next && b.Maxt-b.Mint >= least && !hasAll(sources[next], b.Sources) {
			tasks = append(tasks, Task{i, next})
		}
	}
	slices.SortStableFunc(tasks, func(a, b Task) int {
		return cmp.Or(cmp.Compare(blocks[a.Block].Mint, blocks[b.Block].Mint), blocks[a.Block].ID.Compare(blocks[b.Block].ID))
	})
	return tasks
}
