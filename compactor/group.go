// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package compactor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Group is what may be merged with each other: blocks of one tenant, one set of external labels and one resolution.
type Group struct {
	Key        string            // Tells groups apart, and the windows of one that are worked on alone; see in.
	Labels     map[string]string // External labels of what is made of the group. Not to be changed.
	Tenant     string            // Empty when no label names one.
	Resolution int64             // ms; 0 for raw samples.
	// Foreign groups are those with labels that Penstock does not write. They keep every label.
	Foreign bool
}

// ours says whether the external labels are those of a block that Penstock wrote: a tenant, perhaps a member, and nothing else.
func ours(external map[string]string) bool {
	for name := range external {
		if name != bucket.LabelTenant && name != bucket.LabelReceiveReplica {
			return false
		}
	}
	return external[bucket.LabelTenant] != ""
}

// groupOf returns the group of a block.
func groupOf(m bucket.Meta) Group {
	g := Group{
		Labels:     maps.Clone(m.Thanos.Labels),
		Tenant:     m.Thanos.Labels[bucket.LabelTenant],
		Resolution: m.Thanos.Downsample.Resolution,
		Foreign:    !ours(m.Thanos.Labels),
	}
	if !g.Foreign {
		delete(g.Labels, bucket.LabelReceiveReplica)
	}
	g.Key = fmt.Sprintf("%d@%s", g.Resolution, labels.FromMap(g.Labels))
	return g
}

// in returns the part of the group that a block is worked on with: the blocks of the same one of the longest windows, or
// those that fit into none. No step has blocks of two parts, so that several members can work on one group.
func (g Group) in(b bucket.Meta, longest int64) Group {
	if start, ok := windowOf(b, longest); ok {
		g.Key += "@" + strconv.FormatInt(start, 10)
	}
	return g
}

// parts splits a group. The blocks of each part are in order of time.
func (g grouped) parts(longest int64) (all []grouped) {
	at := map[string]int{}
	for _, b := range g.blocks {
		part := g.in(b.Meta, longest)
		if _, ok := at[part.Key]; !ok {
			at[part.Key] = len(all)
			all = append(all, grouped{Group: part})
		}
		i := at[part.Key]
		all[i].blocks = append(all[i].blocks, b)
	}
	return all
}

// grouped is a group with its blocks, in order of time.
type grouped struct {
	Group
	blocks []bucket.Listed
}

// groupBlocks sorts blocks into groups, by key.
func groupBlocks(blocks []bucket.Listed) []grouped {
	byKey := map[string]*grouped{}
	for _, b := range blocks {
		g := groupOf(b.Meta)
		if byKey[g.Key] == nil {
			byKey[g.Key] = &grouped{Group: g}
		}
		byKey[g.Key].blocks = append(byKey[g.Key].blocks, b)
	}
	groups := make([]grouped, 0, len(byKey))
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		g := byKey[key]
		slices.SortFunc(g.blocks, byTime)
		groups = append(groups, *g)
	}
	return groups
}

// byTime is the order in which blocks are merged.
func byTime(a, b bucket.Listed) int {
	return cmp.Or(
		cmp.Compare(a.Meta.MinTime, b.Meta.MinTime),
		cmp.Compare(a.Meta.MaxTime, b.Meta.MaxTime),
		a.Meta.ULID.Compare(b.Meta.ULID),
	)
}

// indexBytes is the size of a block's index, or 0 when its meta.json does not tell.
func indexBytes(m bucket.Meta) int64 {
	for _, f := range m.Thanos.Files {
		if f.RelPath == "index" {
			return f.SizeBytes
		}
	}
	return 0
}
