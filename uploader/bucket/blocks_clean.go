// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"
)

// DeletePartial removes what an upload that was given up, or a delete that was cut off, left of a block. It is false when the
// block has become visible since it was listed, or anything was written to it after the time given; then nothing is removed.
//
// An upload that goes on in this very moment may lose objects. It finds out before it is done, see PutBlock.
func (b *Blocks) DeletePartial(ctx context.Context, id ulid.ULID, notAfter time.Time) (bool, error) {
	active := false
	err := b.bucket.List(ctx, id.String()+"/", true, func(o Object) error {
		active = active || o.ModTime.After(notAfter)
		return nil
	})
	if err == nil && !active {
		_, err = b.Meta(ctx, id)
		// Visible, or of a version that is not ours.
		active = err == nil || (errors.Is(err, ErrBadMeta) && !errors.Is(err, errTorn))
		if active || errors.Is(err, ErrNotFound) || errors.Is(err, errTorn) {
			err = nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("clean partial block %s: %w", id, err)
	}
	if active {
		return false, nil
	}
	return true, b.Delete(ctx, id)
}
