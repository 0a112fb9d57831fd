// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// VerifyOptions say what is verified.
type VerifyOptions struct {
	Filter  Filter
	Rules   CleanupRules
	Data    bool   // Read the blocks, and not only what is said of them.
	Scratch string // Directory with room for the largest block.
	Repair  bool
	// Started is called before a block is read, and Read with bytes that were; they may be nil.
	Started func(blocks int, bytes int64)
	Read    func(id ulid.ULID, bytes int64)
}

// VerifyReport is what verify found. Its JSON is stable.
type VerifyReport struct {
	Blocks   int       `json:"blocks"` // That the filter means.
	Read     int       `json:"read"`   // Of them, from the first byte to the last.
	Bytes    int64     `json:"bytes"`
	Findings []Finding `json:"findings"`
}

// Worst returns the worst severity that was found and not repaired, or "".
func (r VerifyReport) Worst() Severity {
	for _, s := range []Severity{Error, Warning, Note} {
		if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity == s && f.Repaired == "" }) {
			return s
		}
	}
	return ""
}

// Verify looks for everything that is wrong with the blocks of the filter. What is wrong is in the report; an error says that
// it could not go on. The report is of what was verified until then.
func Verify(ctx context.Context, blocks *bucket.Blocks, opts VerifyOptions) (VerifyReport, error) {
	l, err := blocks.Metas(ctx)
	if err != nil {
		return VerifyReport{}, err
	}
	if err := opts.Filter.CheckIDs(l); err != nil {
		return VerifyReport{}, err
	}
	chosen := opts.Filter.Select(l.Blocks)
	r := VerifyReport{Blocks: len(chosen), Findings: Findings(l, opts.Filter, opts.Rules)}
	if opts.Data {
		err = verifyData(ctx, blocks, l, chosen, opts, &r)
	}
	if err == nil && opts.Repair {
		err = repairAll(ctx, blocks, opts, r.Findings)
	}
	rank := map[Severity]int{Error: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return rank[a.Severity] - rank[b.Severity] })
	return r, err
}

func verifyData(ctx context.Context, blocks *bucket.Blocks, l bucket.Listing, chosen []bucket.Listed, opts VerifyOptions, r *VerifyReport) error {
	if opts.Started != nil {
		total := int64(0)
		for _, b := range chosen {
			total += b.Bytes
		}
		opts.Started(len(chosen), total)
	}
	for _, b := range chosen {
		found, err := CheckBlock(ctx, blocks, b.Meta, opts.Scratch, func(n int64) {
			if opts.Read != nil {
				opts.Read(b.Meta.ULID, n)
			}
		})
		if err != nil {
			return err
		}
		copies := copiesOf(l, b)
		for i := range found {
			if found[i].Severity == Error && copies != "" {
				found[i].Todo += "; " + copies
			}
		}
		r.Findings = append(r.Findings, found...)
		r.Read++
		r.Bytes += b.Bytes
	}
	return nil
}

// copiesNamed bounds how many blocks a finding names: a block of two weeks has the time of hundreds of others.
const copiesNamed = 5

// copiesOf names other blocks that hold copies of the series of a block, at its time.
func copiesOf(l bucket.Listing, b bucket.Listed) string {
	var ids []string
	for _, o := range l.Blocks {
		if o.Meta.ULID != b.Meta.ULID && o.Marks.Deletion == nil && bucket.CopyGroup(o.Meta) == bucket.CopyGroup(b.Meta) &&
			o.Meta.Thanos.Downsample.Resolution == b.Meta.Thanos.Downsample.Resolution &&
			o.Meta.MinTime < b.Meta.MaxTime && b.Meta.MinTime < o.Meta.MaxTime {
			ids = append(ids, o.Meta.ULID.String())
		}
	}
	if len(ids) == 0 {
		return ""
	}
	if more := len(ids) - copiesNamed; more > 0 {
		ids = append(ids[:copiesNamed], fmt.Sprintf("and %d more", more))
	}
	return "copies of series of its time are in " + strings.Join(ids, ", ")
}

// repairAll does what is safe about findings: it marks what another block has in full, if that one was read and is sound; it
// takes away marks that would lose samples; and it keeps damaged blocks out of compaction.
func repairAll(ctx context.Context, blocks *bucket.Blocks, opts VerifyOptions, findings []Finding) error {
	var errs []error
	marked := map[ulid.ULID]bool{}
	for i := range findings {
		f := &findings[i]
		id := f.Blocks[0]
		var err error
		switch f.repair {
		case markCovered:
			by := f.Blocks[1]
			var sound bool
			if sound, err = isSound(ctx, blocks, by, opts.Scratch); sound {
				if err = blocks.Mark(ctx, bucket.NewSupersededMark(id, opts.Rules.Now, by)); err == nil {
					f.Repaired = "marked for deletion"
				}
			}
		case removeDeletion:
			if err = blocks.RemoveMark(ctx, id, bucket.MarkDeletion); err == nil {
				f.Repaired = "deletion mark removed"
			}
		case quarantine:
			// Still an error: the samples are as unreadable as before.
			if !marked[id] {
				marked[id] = true
				if err = blocks.Mark(ctx, bucket.NewNoCompactMark(id, opts.Rules.Now, bucket.ReasonBroken, f.Kind+": "+f.Detail)); err == nil {
					f.Todo = "it is kept out of compaction now; " + f.Todo
				}
			}
		case noRepair:
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("repair: %w", err))
		}
	}
	return errors.Join(errs...)
}

// isSound says whether a block is there and nothing is wrong with it.
func isSound(ctx context.Context, blocks *bucket.Blocks, id ulid.ULID, scratch string) (bool, error) {
	meta, err := blocks.Meta(ctx, id)
	if err != nil {
		return false, err
	}
	found, err := CheckBlock(ctx, blocks, meta, scratch, nil)
	if err != nil || len(found) > 0 {
		return false, err
	}
	return blocks.Exists(ctx, id)
}
