// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/alecthomas/kingpin/v2"
	"github.com/oklog/ulid/v2"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// reasonManual is Thanos' reason for a mark that somebody made by hand.
const reasonManual = "manual"

func addBucketMark(parent *kingpin.CmdClause, cfg *bucketConfig) (string, command) {
	cmd := parent.Command("mark", "Mark blocks, or take marks away. A mark that is there stays as it is: the delay of a deletion runs from the first one.")
	ids := cmd.Flag("id", "Block to mark. Repeatable.").PlaceHolder("ULID").Strings()
	marker := cmd.Flag("marker", "Kind of mark: deletion, no-compact or no-downsample.").Required().
		Enum(string(bucket.MarkDeletion), string(bucket.MarkNoCompact), string(bucket.MarkNoDownsample))
	details := cmd.Flag("details", "Text that is kept with the mark: why, and by whom.").PlaceHolder("TEXT").String()
	remove := cmd.Flag("remove", "Take the mark away.").Bool()
	return cmd.FullCommand(), func(ctx context.Context, out io.Writer) error {
		blockIDs, err := someIDs(*ids)
		if err != nil {
			return err
		}
		return cfg.withBlocks(ctx, func(blocks *bucket.Blocks) error {
			// A mark on a name that was mistyped would be all that there is of it. All or none: look at all first.
			for _, id := range blockIDs {
				objects, err := blocks.Objects(ctx, id)
				if err != nil {
					return err
				}
				if len(objects) == 0 {
					return fmt.Errorf("block %s is not in the bucket", id)
				}
			}
			for _, id := range blockIDs {
				kind, done := bucket.MarkKind(*marker), "marked"
				if *remove {
					done, err = "mark removed", blocks.RemoveMark(ctx, id, kind)
				} else {
					err = blocks.Mark(ctx, cfg.newMark(kind, id, *details))
				}
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "%s  %s: %s\n", id, kind, done)
			}
			return nil
		})
	}
}

func (c *bucketConfig) newMark(kind bucket.MarkKind, id ulid.ULID, details string) bucket.Mark {
	switch kind {
	case bucket.MarkDeletion:
		return bucket.NewDeletionMark(id, c.now(), details)
	case bucket.MarkNoCompact:
		return bucket.NewNoCompactMark(id, c.now(), reasonManual, details)
	default:
		return bucket.NewNoDownsampleMark(id, c.now(), reasonManual, details)
	}
}
