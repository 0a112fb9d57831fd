// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Filter says which blocks are meant. The zero value means all.
type Filter struct {
	IDs         []ulid.ULID       // Any of these.
	Matchers    []*labels.Matcher // On external labels; all must match.
	Tenants     []string          // Any of these; see TenantOf.
	Resolutions []int64           // ms; any of these.
	From, Until time.Time         // Blocks with a sample at or after From, and before Until. Zero: no bound.

	DefaultTenant string // The tenant of blocks that name none.
}

// Matches says whether a block is meant.
func (f Filter) Matches(m bucket.Meta) bool {
	for _, matcher := range f.Matchers {
		if !matcher.Matches(m.Thanos.Labels[matcher.Name]) {
			return false
		}
	}
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, m.ULID),
		len(f.Tenants) > 0 && !slices.Contains(f.Tenants, TenantOf(m, f.DefaultTenant)),
		len(f.Resolutions) > 0 && !slices.Contains(f.Resolutions, m.Thanos.Downsample.Resolution),
		!f.From.IsZero() && m.MaxTime <= f.From.UnixMilli(),
		!f.Until.IsZero() && m.MinTime >= f.Until.UnixMilli():
		return false
	}
	return true
}

// Select returns the blocks that are meant.
func (f Filter) Select(blocks []bucket.Listed) []bucket.Listed {
	var out []bucket.Listed
	for _, b := range blocks {
		if f.Matches(b.Meta) {
			out = append(out, b)
		}
	}
	return out
}

// CheckIDs fails when a block was named that is not in the bucket.
func (f Filter) CheckIDs(l bucket.Listing) error {
	for _, id := range f.IDs {
		if !slices.ContainsFunc(l.Blocks, func(b bucket.Listed) bool { return b.Meta.ULID == id }) &&
			!slices.ContainsFunc(l.Partial, func(p bucket.Partial) bool { return p.ID == id }) {
			return fmt.Errorf("block %s is not in the bucket", id)
		}
	}
	return nil
}

// TenantOf returns whose a block is.
func TenantOf(m bucket.Meta, byDefault string) string {
	return cmp.Or(m.Thanos.Labels[bucket.LabelTenant], byDefault)
}

// Row is a block as ls shows it. Its JSON is stable.
type Row struct {
	ULID       string            `json:"ulid"`
	MinTime    int64             `json:"min_time"` // ms.
	MaxTime    int64             `json:"max_time"` // ms, exclusive.
	Level      int               `json:"level"`
	Resolution int64             `json:"resolution"` // ms, 0 for raw samples.
	Tenant     string            `json:"tenant"`
	Labels     map[string]string `json:"labels"` // External labels, with the tenant.
	Source     string            `json:"source"`
	Bytes      int64             `json:"bytes"`
	Series     uint64            `json:"series"`
	Chunks     uint64            `json:"chunks"`
	Samples    uint64            `json:"samples"`
	Sources    int               `json:"sources"` // Level 1 blocks that went in.
	Uploaded   *time.Time        `json:"uploaded,omitempty"`
	Marks      []RowMark         `json:"marks"`
}

// RowMark is a mark as ls shows it.
type RowMark struct {
	Kind    bucket.MarkKind `json:"kind"`
	Time    time.Time       `json:"time"`
	Reason  string          `json:"reason,omitempty"`
	Details string          `json:"details,omitempty"`
}

// RowOf describes a block.
func RowOf(b bucket.Listed, defaultTenant string) Row {
	m := b.Meta
	r := Row{
		ULID: m.ULID.String(), MinTime: m.MinTime, MaxTime: m.MaxTime, Level: m.Compaction.Level, Resolution: m.Thanos.Downsample.Resolution,
		Tenant: TenantOf(m, defaultTenant), Labels: maps.Clone(m.Thanos.Labels), Source: m.Thanos.Source, Bytes: b.Bytes,
		Series: m.Stats.NumSeries, Chunks: m.Stats.NumChunks, Samples: m.Stats.NumSamples, Sources: len(bucket.SourcesOf(m)),
		Marks: rowMarks(b.Marks),
	}
	if t := m.Thanos.UploadTime; !t.IsZero() {
		r.Uploaded = &t
	}
	return r
}

func rowMarks(m bucket.Marks) []RowMark {
	marks := []RowMark{}
	if d := m.Deletion; d != nil {
		marks = append(marks, RowMark{bucket.MarkDeletion, time.Unix(d.DeletionTime, 0).UTC(), "", d.Details})
	}
	if n := m.NoCompact; n != nil {
		marks = append(marks, RowMark{bucket.MarkNoCompact, time.Unix(n.NoCompactTime, 0).UTC(), n.Reason, n.Details})
	}
	if n := m.NoDownsample; n != nil {
		marks = append(marks, RowMark{bucket.MarkNoDownsample, time.Unix(n.NoDownsampleTime, 0).UTC(), n.Reason, n.Details})
	}
	return marks
}

// orders are the ways in which blocks can be sorted. Each ends with the ULID, so that equal listings look equal.
var orders = map[string]func(a, b bucket.Listed) int{
	"ulid": func(bucket.Listed, bucket.Listed) int { return 0 },
	"from": func(a, b bucket.Listed) int {
		return cmp.Or(cmp.Compare(a.Meta.MinTime, b.Meta.MinTime), cmp.Compare(a.Meta.MaxTime, b.Meta.MaxTime))
	},
	"until": func(a, b bucket.Listed) int { return cmp.Compare(a.Meta.MaxTime, b.Meta.MaxTime) },
	"size":  func(a, b bucket.Listed) int { return cmp.Compare(b.Bytes, a.Bytes) },
	"series": func(a, b bucket.Listed) int {
		return cmp.Compare(b.Meta.Stats.NumSeries, a.Meta.Stats.NumSeries)
	},
	"samples": func(a, b bucket.Listed) int {
		return cmp.Compare(b.Meta.Stats.NumSamples, a.Meta.Stats.NumSamples)
	},
	"labels": func(a, b bucket.Listed) int {
		return cmp.Or(
			labels.Compare(labels.FromMap(a.Meta.Thanos.Labels), labels.FromMap(b.Meta.Thanos.Labels)),
			cmp.Compare(a.Meta.Thanos.Downsample.Resolution, b.Meta.Thanos.Downsample.Resolution),
			cmp.Compare(a.Meta.MinTime, b.Meta.MinTime),
		)
	},
}

// Orders are the names that Sort takes.
func Orders() []string { return slices.Sorted(maps.Keys(orders)) }

// Sort brings blocks into the named order: times and labels ascending, sizes and counts descending.
func Sort(blocks []bucket.Listed, order string) {
	by := orders[order]
	slices.SortFunc(blocks, func(a, b bucket.Listed) int { return cmp.Or(by(a, b), a.Meta.ULID.Compare(b.Meta.ULID)) })
}
