// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/downsample"
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
	group      string        // The external labels as text: blocks of other groups have other series.
	cover      downsample.Block
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
			external: external, group: external.String(),
			cover: downsample.Block{
				ID: l.Meta.ULID, Mint: l.Meta.MinTime, Maxt: l.Meta.MaxTime,
				Resolution: l.Meta.Thanos.Downsample.Resolution, Sources: bucket.SourcesOf(l.Meta),
			},
			files: func(ctx context.Context) ([]bucket.File, error) { return files(ctx, l.Meta) },
		})
	}
	for _, blocks := range v.tenants {
		markBehind(blocks)
		slices.SortFunc(blocks, func(a, b *block) int {
			return cmp.Or(cmp.Compare(a.mint, b.mint), a.id.Compare(b.id))
		})
	}
	return v
}

// markBehind finds the downsampled blocks that were made before all samples of their time were there.
func markBehind(blocks []*block) {
	groups := map[string][]*block{}
	for _, b := range blocks {
		groups[b.group] = append(groups[b.group], b)
	}
	for _, group := range groups {
		all := make([]downsample.Block, len(group))
		for i, b := range group {
			all[i] = b.cover
		}
		downsample.MarkBehind(all)
		for i, b := range group {
			b.cover.Behind = all[i].Behind
		}
	}
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

// version is another one when there are other blocks of the tenant in the closed interval [mint, maxt].
func (v *view) version(tenant string, mint, maxt int64) uint64 {
	h := xxhash.New()
	for _, b := range v.overlapping(tenant, mint, maxt) {
		_, _ = h.Write(b.id[:]) // It never fails.
	}
	return h.Sum64()
}

// raw tells whether raw blocks have all of the time in [mint, maxt] that downsampled ones have: then none of these is read unless a
// question wants it.
func (v *view) raw(tenant string, mint, maxt int64) bool {
	groups := map[string][]downsample.Block{}
	coarse := false
	for _, b := range v.overlapping(tenant, mint, maxt) {
		coarse = coarse || b.cover.Resolution > downsample.Raw
		groups[b.group] = append(groups[b.group], b.cover)
	}
	if !coarse {
		return true
	}
	for _, group := range groups {
		pieces, _ := downsample.Cover(group, mint, maxt, downsample.Limit{})
		if slices.ContainsFunc(pieces, func(p downsample.Piece) bool { return group[p.Block].Resolution > downsample.Raw }) {
			return false
		}
	}
	return true
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

// visible leaves out what queries must not or need not read: blocks that were marked for deletion long ago, and blocks whose
// content another block of the same resolution has. One that was marked because another had its content, which is there no
// more, is read for as long as it is there.
func visible(blocks []bucket.Listed, now time.Time) []bucket.Listed {
	covered := bucket.Covered(blocks)
	var found []bucket.Listed
	for _, l := range blocks {
		m := l.Marks.Deletion
		if m != nil && !m.Superseded() && now.Sub(time.Unix(m.DeletionTime, 0)) > ignoreMarkedAfter {
			continue
		}
		if _, ok := covered[l.Meta.ULID]; !ok {
			found = append(found, l)
		}
	}
	slices.SortFunc(found, func(a, b bucket.Listed) int { return a.Meta.ULID.Compare(b.Meta.ULID) })
	return found
}
