// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// ignoreMarkedAfter is when a block that is marked for deletion is no longer read. It is Thanos' rule for stores, half of
// the delay after which the block is really deleted: no query starts on a block that goes away meanwhile.
const ignoreMarkedAfter = 24 * time.Hour

// block is one block as queries see it.
type block struct {
	id         ulid.ULID
	mint, maxt int64         // ms, half-open.
	external   labels.Labels // Added to every series.
	resolution int64         // ms; 0 for raw samples.
	// files returns the files with their sizes. It costs a request where meta.json does not list them.
	files func(ctx context.Context) ([]bucket.File, error)
}

// view is what queries see of the bucket. It is never changed.
type view struct {
	listed  time.Time // When the listing began.
	number  int64     // Of the listing.
	ids     map[ulid.ULID]struct{}
	tenants map[string][]*block // By mint.
}

// filesOf finds the files of a block out.
type filesOf func(ctx context.Context, meta bucket.Meta) ([]bucket.File, error)

// newView is a pure function of its arguments.
func newView(listing bucket.Listing, files filesOf, defaultTenant string, now time.Time) *view {
	v := &view{listed: now, ids: map[ulid.ULID]struct{}{}, tenants: map[string][]*block{}}
	for _, l := range visible(listing.Blocks, now) {
		tenant, external := splitLabels(l.Meta.Thanos.Labels, defaultTenant)
		v.ids[l.Meta.ULID] = struct{}{}
		v.tenants[tenant] = append(v.tenants[tenant], &block{
			id: l.Meta.ULID, mint: l.Meta.MinTime, maxt: l.Meta.MaxTime,
			external: external, resolution: l.Meta.Thanos.Downsample.Resolution,
			files: func(ctx context.Context) ([]bucket.File, error) { return files(ctx, l.Meta) },
		})
	}
	for _, blocks := range v.tenants {
		slices.SortFunc(blocks, func(a, b *block) int {
			return cmp.Or(cmp.Compare(a.mint, b.mint), a.id.Compare(b.id))
		})
	}
	return v
}

// overlapping returns the tenant's blocks with samples in the closed interval [mint, maxt].
func (v *view) overlapping(tenant string, mint, maxt int64) []*block {
	var found []*block
	for _, b := range v.tenants[tenant] {
		if b.overlaps(mint, maxt) {
			found = append(found, b)
		}
	}
	return found
}

func (b *block) overlaps(mint, maxt int64) bool { return b.mint <= maxt && mint < b.maxt }

// splitLabels takes the tenant out of a block's external labels. Which member wrote a block is not part of a series either;
// every other label is, as it is in Thanos.
func splitLabels(external map[string]string, defaultTenant string) (tenant string, added labels.Labels) {
	tenant = defaultTenant
	b := labels.NewScratchBuilder(len(external))
	for name, value := range external {
		switch {
		case name == bucket.LabelTenant && value != "":
			tenant = value
		case name != bucket.LabelTenant && name != bucket.LabelReceiveReplica && value != "":
			b.Add(name, value)
		}
	}
	b.Sort()
	return tenant, b.Labels()
}

// visible leaves out what queries must not or need not read: blocks that were marked for deletion long ago, blocks whose
// content another block has, and downsampled blocks whose raw samples are all there.
func visible(blocks []bucket.Listed, now time.Time) []bucket.Listed {
	groups := map[string][]bucket.Listed{}
	for _, l := range blocks {
		if m := l.Marks.Deletion; m != nil && now.Sub(time.Unix(m.DeletionTime, 0)) > ignoreMarkedAfter {
			continue
		}
		key := groupKey(l.Meta)
		groups[key] = append(groups[key], l)
	}
	var found []bucket.Listed
	for _, group := range groups {
		found = append(found, withoutCovered(group)...)
	}
	slices.SortFunc(found, func(a, b bucket.Listed) int { return a.Meta.ULID.Compare(b.Meta.ULID) })
	return found
}

// groupKey tells apart blocks whose sources must not be compared. Compaction drops the member's label, so that a
// compacted block and its inputs differ in it.
func groupKey(m bucket.Meta) string {
	b := labels.NewBuilder(labels.FromMap(m.Thanos.Labels))
	return b.Del(bucket.LabelReceiveReplica).Labels().String()
}

// withoutCovered drops every block whose sources are a subset of those of another block of the same resolution; of equal
// ones the oldest stays. Then it drops downsampled blocks of which raw blocks have every source: until downsampled
// samples can be read they are of use to nobody, and where they are all that is left a query must be told.
func withoutCovered(group []bucket.Listed) []bucket.Listed {
	slices.SortFunc(group, func(a, b bucket.Listed) int {
		return cmp.Or(
			cmp.Compare(a.Meta.Thanos.Downsample.Resolution, b.Meta.Thanos.Downsample.Resolution),
			-cmp.Compare(len(sourcesOf(a)), len(sourcesOf(b))),
			a.Meta.ULID.Compare(b.Meta.ULID),
		)
	})
	type key struct {
		resolution int64
		source     ulid.ULID
	}
	having := map[key][]map[ulid.ULID]struct{}{} // The source sets of kept blocks that have a source.
	raw := map[ulid.ULID]struct{}{}              // All sources of kept raw blocks.
	var kept []bucket.Listed
	for _, l := range group {
		sources, resolution := sourcesOf(l), l.Meta.Thanos.Downsample.Resolution
		isCovered := func(set map[ulid.ULID]struct{}) bool {
			return !slices.ContainsFunc(sources, func(id ulid.ULID) bool { _, ok := set[id]; return !ok })
		}
		if slices.ContainsFunc(having[key{resolution, sources[0]}], isCovered) || (resolution > 0 && isCovered(raw)) {
			continue
		}
		set := make(map[ulid.ULID]struct{}, len(sources))
		for _, id := range sources {
			set[id] = struct{}{}
			if resolution == 0 {
				raw[id] = struct{}{}
			}
		}
		for id := range set {
			having[key{resolution, id}] = append(having[key{resolution, id}], set)
		}
		kept = append(kept, l)
	}
	return kept
}

// sourcesOf returns the blocks that went into a block: itself when it does not say.
func sourcesOf(l bucket.Listed) []ulid.ULID {
	if s := l.Meta.Compaction.Sources; len(s) > 0 {
		return s
	}
	return []ulid.ULID{l.Meta.ULID}
}

// readable is nil for blocks with raw samples.
func (b *block) readable() error {
	if b.resolution == 0 {
		return nil
	}
	return fmt.Errorf("block %s is downsampled to %s, which cannot be read yet, and no raw block holds its samples",
		b.id, time.Duration(b.resolution)*time.Millisecond)
}
