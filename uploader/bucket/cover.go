// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"cmp"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// ReasonBroken is the reason of a no-compact mark on a block that cannot be read in full.
const ReasonBroken = "broken-block"

// SourcesOf returns the level 1 blocks that went into a block: itself when it does not say.
func SourcesOf(m Meta) []ulid.ULID {
	if s := m.Compaction.Sources; len(s) > 0 {
		return s
	}
	return []ulid.ULID{m.ULID}
}

// CopyGroup names what a block is a part of: the sources of blocks with another name must not be compared. The member that
// wrote a block is left out, because compaction drops it, so that a compacted block and its inputs differ in it.
func CopyGroup(m Meta) string {
	b := labels.NewBuilder(labels.FromMap(m.Thanos.Labels))
	return b.Del(LabelReceiveReplica).Labels().String()
}

// Covered returns the blocks that need not be read, because another one has everything that went into them, with that
// other one. It is the rule by which readers, compaction and deletion all tell what is superfluous:
//
//   - a block is covered when all its sources are among those of another block of the same resolution and copy group;
//   - of several with equal sources the oldest is not covered;
//   - a block that is quarantined because it cannot be read covers none that can, and one that is marked for deletion none
//     that is there to stay.
//
// That is an order without circles, so that whatever is deleted for being covered, what covers it stays. It is a pure
// function, and the order of the blocks does not matter.
func Covered(blocks []Listed) map[ulid.ULID]ulid.ULID {
	sorted := slices.Clone(blocks)
	slices.SortFunc(sorted, func(a, b Listed) int {
		return cmp.Or(
			cmp.Compare(trust(a.Marks), trust(b.Marks)),
			-cmp.Compare(len(SourcesOf(a.Meta)), len(SourcesOf(b.Meta))),
			a.Meta.ULID.Compare(b.Meta.ULID),
		)
	})
	type key struct {
		group      string
		resolution int64
		source     ulid.ULID
	}
	type kept struct {
		id      ulid.ULID
		sources map[ulid.ULID]struct{}
	}
	having := map[key][]kept{} // Blocks that are not covered, by each of their sources.
	covered := map[ulid.ULID]ulid.ULID{}
	for _, l := range sorted {
		sources := SourcesOf(l.Meta)
		k := key{CopyGroup(l.Meta), l.Meta.Thanos.Downsample.Resolution, sources[0]}
		i := slices.IndexFunc(having[k], func(o kept) bool {
			return !slices.ContainsFunc(sources, func(id ulid.ULID) bool { _, ok := o.sources[id]; return !ok })
		})
		if i >= 0 {
			covered[l.Meta.ULID] = having[k][i].id
			continue
		}
		own := kept{l.Meta.ULID, make(map[ulid.ULID]struct{}, len(sources))}
		for _, id := range sources {
			own.sources[id] = struct{}{}
		}
		for id := range own.sources {
			k.source = id
			having[k] = append(having[k], own)
		}
	}
	return covered
}

// trust orders blocks by how long they can be read: tomorrow as well, today, or not at all.
func trust(m Marks) int {
	switch {
	case m.NoCompact != nil && m.NoCompact.Reason == ReasonBroken:
		return 2
	case m.Deletion != nil:
		return 1
	default:
		return 0
	}
}
