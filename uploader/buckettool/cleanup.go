// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package buckettool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

const (
	// DefaultDeletionDelay is how long a marked block can still be read: twice the time after which readers stop using it.
	DefaultDeletionDelay = 48 * time.Hour
	// DefaultPartialAge is when an upload that makes no progress counts as given up. It is Thanos' time.
	DefaultPartialAge = 48 * time.Hour
)

// CleanupRules say what may go.
type CleanupRules struct {
	Now           time.Time
	DeletionDelay time.Duration // Since the deletion mark.
	PartialAge    time.Duration // Since the newest object of what is not a block.
}

// Removal is something that may go, or that may not although it looks as if.
type Removal struct {
	ID      ulid.ULID `json:"ulid"`
	Partial bool      `json:"partial"` // Not a block: what an upload or a delete left.
	Bytes   int64     `json:"bytes"`
	Since   time.Time `json:"since"` // When it was marked, or last written to.
	Reason  string    `json:"reason"`
	Kept    string    `json:"kept,omitempty"` // Why it stays after all.

	foreign bool // There is a meta.json that this version does not understand.
}

// PlanCleanup returns what may be deleted, by ULID, blocks first. It is a function of its arguments. A block that was marked
// because another one has its samples stays while that is not so: it may be all that is left of them.
func PlanCleanup(l bucket.Listing, rules CleanupRules) []Removal {
	covered := soundlyCovered(l.Blocks)
	var out []Removal
	for _, b := range l.Blocks {
		mark := b.Marks.Deletion
		if mark == nil {
			continue
		}
		since := time.Unix(mark.DeletionTime, 0).UTC()
		if rules.Now.Sub(since) < rules.DeletionDelay {
			continue
		}
		r := Removal{ID: b.Meta.ULID, Bytes: b.Bytes, Since: since, Reason: "marked for deletion"}
		if mark.Details != "" {
			r.Reason += ": " + mark.Details
		}
		if _, ok := covered[b.Meta.ULID]; mark.Superseded() && !ok {
			r.Kept = "no other block has its samples, although the mark says so; `penstock bucket verify` says more"
		}
		out = append(out, r)
	}
	for _, p := range l.Partial {
		r := Removal{ID: p.ID, Partial: true, Bytes: p.Bytes, Since: p.LastModified.UTC(), Reason: "upload given up"}
		if p.Marks.Deletion != nil {
			r.Reason = "delete cut off"
		}
		if rules.Now.Sub(p.LastModified) < rules.PartialAge {
			continue
		}
		if p.HasMeta {
			r.foreign = true
			r.Reason, r.Kept = "meta.json cannot be understood", "another version may understand it; `penstock bucket mark` it for deletion if nobody does"
			if d := p.Marks.Deletion; d != nil && rules.Now.Sub(time.Unix(d.DeletionTime, 0)) >= rules.DeletionDelay {
				r.Reason, r.Kept = "marked for deletion, and meta.json cannot be understood", ""
			}
		}
		out = append(out, r)
	}
	return out
}

// Cleanup deletes what PlanCleanup returned and nothing protects. It goes on after an error. Done is called for each removal
// with what became of it; it may be nil.
func Cleanup(ctx context.Context, blocks *bucket.Blocks, plan []Removal, done func(Removal, error)) error {
	var errs []error
	for _, r := range plan {
		if r.Kept != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		err := remove(ctx, blocks, r)
		if err != nil {
			errs = append(errs, err)
		}
		if done != nil {
			done(r, err)
		}
	}
	return errors.Join(errs...)
}

func remove(ctx context.Context, blocks *bucket.Blocks, r Removal) error {
	if r.foreign {
		if _, err := blocks.Meta(ctx, r.ID); !errors.Is(err, bucket.ErrBadMeta) {
			return errors.Join(err, fmt.Errorf("block %s is not as it was, and stays", r.ID))
		}
	}
	if !r.Partial || r.foreign {
		return blocks.Delete(ctx, r.ID)
	}
	removed, err := blocks.DeletePartial(ctx, r.ID, r.Since)
	if err == nil && !removed {
		err = fmt.Errorf("partial block %s was written to meanwhile, and stays", r.ID)
	}
	return err
}

// soundlyCovered is bucket.Covered without what is covered by a block that cannot be read.
func soundlyCovered(blocks []bucket.Listed) map[ulid.ULID]ulid.ULID {
	broken := map[ulid.ULID]bool{}
	for _, b := range blocks {
		broken[b.Meta.ULID] = isBroken(b.Marks)
	}
	covered := bucket.Covered(blocks)
	maps.DeleteFunc(covered, func(_, by ulid.ULID) bool { return broken[by] })
	return covered
}

func isBroken(m bucket.Marks) bool {
	return m.NoCompact != nil && m.NoCompact.Reason == bucket.ReasonBroken
}
