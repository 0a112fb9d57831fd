// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// BlockObject is one object below the directory of a block.
type BlockObject struct {
	RelPath string // Such as "chunks/000001"; marks, and what is unknown, are listed too.
	Bytes   int64
	ModTime time.Time
	Mark    bool // One of the marks.
	File    bool // One of the files of a block.
}

// Objects lists what there is of a block, visible or not, in the order of the keys.
func (b *Blocks) Objects(ctx context.Context, id ulid.ULID) ([]BlockObject, error) {
	var found []BlockObject
	err := b.bucket.List(ctx, id.String()+"/", true, func(o Object) error {
		if _, rel, ok := parseKey(o.Key); ok {
			found = append(found, BlockObject{RelPath: rel, Bytes: o.Size, ModTime: o.ModTime, Mark: isMark(rel), File: isBlockFile(rel)})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list objects of block %s: %w", id, err)
	}
	return found, nil
}

// MarkKind names a kind of mark as operators know it.
type MarkKind string

// The kinds of marks.
const (
	MarkDeletion     MarkKind = "deletion"
	MarkNoCompact    MarkKind = "no-compact"
	MarkNoDownsample MarkKind = "no-downsample"
)

func (k MarkKind) file() (string, error) {
	switch k {
	case MarkDeletion, MarkNoCompact, MarkNoDownsample:
		return string(k) + "-mark.json", nil
	default:
		return "", fmt.Errorf("%q is not a kind of mark", k)
	}
}

// RemoveMark takes a mark away, readable or not. It is no error when there is none.
func (b *Blocks) RemoveMark(ctx context.Context, id ulid.ULID, kind MarkKind) error {
	file, err := kind.file()
	if err == nil {
		err = b.bucket.Delete(ctx, key(id, file))
	}
	if err != nil {
		return fmt.Errorf("remove %s mark of block %s: %w", kind, id, err)
	}
	return nil
}
