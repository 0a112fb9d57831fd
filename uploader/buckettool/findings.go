// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// Severity says what a finding means for the samples.
type Severity string

// The severities, the worst first.
const (
	Error   Severity = "error"   // Samples cannot be read, or will be lost.
	Warning Severity = "warning" // All can be read, and somebody should look.
	Note    Severity = "note"    // Nothing to do: it goes away by itself, or is as it should be.
)

// Finding is something that verify has found.
type Finding struct {
	Severity Severity    `json:"severity"`
	Kind     string      `json:"kind"`
	Blocks   []ulid.ULID `json:"blocks"` // The first is the one that it is about.
	Detail   string      `json:"detail"`
	Todo     string      `json:"todo,omitempty"`
	// Repaired says what was done about it, with --repair.
	Repaired string `json:"repaired,omitempty"`

	repair repair
}

// repair is what is safe to do about a finding: it deletes nothing, and can be taken back.
type repair int

const (
	noRepair       repair = iota
	markCovered           // Mark the first block for deletion: the second one has its samples.
	removeDeletion        // Take the deletion mark away.
	quarantine            // Keep the block out of compaction.
)

// Findings returns what is wrong with a bucket as far as meta.json, marks and names of objects tell, for the blocks of the
// filter. It is a function of its arguments.
func Findings(l bucket.Listing, filter Filter, rules CleanupRules) []Finding {
	var out []Finding
	out = append(out, partialFindings(l, filter, rules)...)
	covered := soundlyCovered(l.Blocks)
	for _, b := range l.Blocks {
		if filter.Matches(b.Meta) {
			out = append(out, blockFindings(b, covered, rules)...)
		}
	}
	return append(out, overlaps(l.Blocks, covered, filter)...)
}

// partialFindings is about what is not a block. External labels of such are not known, so that only a filter by name applies.
func partialFindings(l bucket.Listing, filter Filter, rules CleanupRules) []Finding {
	var out []Finding
	for _, p := range l.Partial {
		if len(filter.IDs) > 0 && !slices.Contains(filter.IDs, p.ID) {
			continue
		}
		f := Finding{Severity: Warning, Kind: "partial", Blocks: []ulid.ULID{p.ID}}
		f.Detail = fmt.Sprintf("%d objects of %d bytes without a meta.json, the newest of %s", p.Objects, p.Bytes, p.LastModified.UTC().Format(time.RFC3339))
		f.Todo = "`penstock bucket cleanup` removes them"
		if age := rules.Now.Sub(p.LastModified); age < rules.PartialAge {
			f.Severity, f.Todo = Note, "an upload or a delete may be under way"
		}
		if problem := problemOf(l.Problems, p.ID); problem != "" {
			f.Severity, f.Kind, f.Detail = Error, "meta", "meta.json cannot be understood: "+problem
			f.Todo = "if an upload broke, it is repeated by who made the block; or else put the meta.json of another copy of the block back"
			if !p.HasMeta {
				f.Todo += "; `penstock bucket cleanup` removes what is there"
			}
		}
		out = append(out, f)
	}
	for _, problem := range l.Problems {
		if errors.Is(problem, bucket.ErrBadMeta) {
			continue
		}
		id, ok := blockOf(problem)
		if !ok || (len(filter.IDs) > 0 && !slices.Contains(filter.IDs, id)) {
			continue
		}
		out = append(out, Finding{
			Severity: Warning, Kind: "mark", Blocks: []ulid.ULID{id}, Detail: problem.Error() + "; it counts as absent",
			Todo: "`penstock bucket mark --remove`, and mark the block again if that was meant",
		})
	}
	return out
}

// blockOf returns the block that a problem of a listing begins with.
func blockOf(problem error) (ulid.ULID, bool) {
	text, found := strings.CutPrefix(problem.Error(), "block ")
	if !found || len(text) < ulid.EncodedSize {
		return ulid.ULID{}, false
	}
	id, err := ulid.ParseStrict(text[:ulid.EncodedSize])
	return id, err == nil
}

// problemOf returns what is wrong with the meta.json of a block, or "".
func problemOf(problems []error, id ulid.ULID) string {
	for _, p := range problems {
		if of, ok := blockOf(p); ok && of == id && errors.Is(p, bucket.ErrBadMeta) {
			return p.Error()
		}
	}
	return ""
}

// blockFindings is about one block.
func blockFindings(b bucket.Listed, covered map[ulid.ULID]ulid.ULID, rules CleanupRules) []Finding {
	m, id := b.Meta, b.Meta.ULID
	var out []Finding
	add := func(f Finding) { out = append(out, f) }
	if len(m.Thanos.Labels) == 0 {
		add(Finding{Severity: Error, Kind: "labels", Blocks: []ulid.ULID{id}, Detail: "it has no external labels: nobody can tell whose it is", Todo: "import it again with labels"})
	}
	if m.MinTime >= m.MaxTime {
		add(Finding{Severity: Error, Kind: "time", Blocks: []ulid.ULID{id}, Detail: fmt.Sprintf("its time from %d to %d is empty", m.MinTime, m.MaxTime), Todo: "`penstock bucket verify --id` says what is in it"})
	}
	if n := b.Marks.NoCompact; n != nil {
		add(Finding{
			Severity: Warning, Kind: "no-compact", Blocks: []ulid.ULID{id}, Detail: strings.TrimSpace("it is kept out of compaction: " + n.Reason + " " + n.Details),
			Todo: "once the cause is gone, `penstock bucket mark --marker=no-compact --remove`",
		})
	}
	by, isCovered := covered[id]
	switch d := b.Marks.Deletion; {
	case d == nil && isCovered:
		add(Finding{
			Severity: Warning, Kind: "no-deletion-mark", Blocks: []ulid.ULID{id, by}, Detail: fmt.Sprintf("block %s has all its sources, and it is not marked for deletion", by),
			Todo: "compaction marks it at its next pass; if it does not, --repair", repair: markCovered,
		})
	case d != nil && d.Superseded() && !isCovered:
		add(Finding{
			Severity: Error, Kind: "deletion-mark", Blocks: []ulid.ULID{id}, Detail: "it is marked as " + d.Details + ", and no block that can be read has its sources: its samples would be lost",
			Todo: "--repair takes the mark away, as does `penstock bucket mark --marker=deletion --remove`", repair: removeDeletion,
		})
	case d != nil && rules.Now.Sub(time.Unix(d.DeletionTime, 0)) >= rules.DeletionDelay:
		add(Finding{
			Severity: Note, Kind: "deletable", Blocks: []ulid.ULID{id}, Detail: "it was marked for deletion at " + time.Unix(d.DeletionTime, 0).UTC().Format(time.RFC3339),
			Todo: "compaction deletes it, or `penstock bucket cleanup`",
		})
	}
	return out
}

// overlaps finds blocks of one group, that is of the same external labels and resolution, with time in common. Those that
// compaction will leave out are not merged by anybody, and the others are.
func overlaps(blocks []bucket.Listed, covered map[ulid.ULID]ulid.ULID, filter Filter) []Finding {
	groups := map[string][]bucket.Listed{}
	for _, b := range blocks {
		if _, ok := covered[b.Meta.ULID]; !ok && b.Marks.Deletion == nil {
			key := fmt.Sprint(b.Meta.Thanos.Downsample.Resolution, labels.FromMap(b.Meta.Thanos.Labels))
			groups[key] = append(groups[key], b)
		}
	}
	var out []Finding
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		group := groups[key]
		slices.SortFunc(group, func(a, b bucket.Listed) int {
			return cmp.Or(cmp.Compare(a.Meta.MinTime, b.Meta.MinTime), a.Meta.ULID.Compare(b.Meta.ULID))
		})
		widest := 0 // The block that ends last of those before.
		for i := 1; i < len(group); i++ {
			a, b := group[widest], group[i]
			if b.Meta.MinTime < a.Meta.MaxTime && (filter.Matches(a.Meta) || filter.Matches(b.Meta)) {
				out = append(out, overlap(a, b))
			}
			if b.Meta.MaxTime > a.Meta.MaxTime {
				widest = i
			}
		}
	}
	return out
}

func overlap(a, b bucket.Listed) Finding {
	until := min(a.Meta.MaxTime, b.Meta.MaxTime)
	f := Finding{Severity: Note, Kind: "overlap", Blocks: []ulid.ULID{b.Meta.ULID, a.Meta.ULID}}
	f.Detail = fmt.Sprintf("blocks of one group have %s in common, from %s", time.Duration(until-b.Meta.MinTime)*time.Millisecond,
		time.UnixMilli(b.Meta.MinTime).UTC().Format(time.RFC3339))
	f.Todo = "compaction merges them; Thanos' compactor stops at them unless vertical compaction is on"
	switch {
	case a.Marks.NoCompact != nil || b.Marks.NoCompact != nil:
		f.Severity, f.Todo = Warning, "one of them is kept out of compaction, so that nobody merges them; queries do"
	case a.Meta.Thanos.Downsample.Resolution > 0:
		f.Severity, f.Todo = Warning, "blocks of aggregates cannot be merged; mark one for deletion if the other has its samples"
	}
	return f
}
