// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Blocks keeps TSDB blocks in a bucket in Thanos' layout. A block is visible from the moment its meta.json is written and
// until it is deleted, and while it is visible it is whole. All methods are safe for concurrent use, by any number of
// processes on one bucket.
type Blocks struct {
	bucket Bucket
	now    func() time.Time

	mu    sync.Mutex
	cache map[string]cachedContent // meta.json and marks by key, as of the last listing.
}

// NewBlocks returns the blocks of b. A nil now is time.Now; it stamps what is written.
func NewBlocks(b Bucket, now func() time.Time) *Blocks {
	if now == nil {
		now = time.Now
	}
	return &Blocks{bucket: b, now: now, cache: map[string]cachedContent{}}
}

// Name returns the name of the bucket, for logs.
func (b *Blocks) Name() string { return b.bucket.Name() }

// Exists says whether a block is visible.
func (b *Blocks) Exists(ctx context.Context, id ulid.ULID) (bool, error) {
	ok, err := b.bucket.Exists(ctx, key(id, metaFile))
	if err != nil {
		return false, fmt.Errorf("look for block %s: %w", id, err)
	}
	return ok, nil
}

// Meta reads the meta.json of a block. ErrNotFound when the block is not visible, ErrBadMeta.
func (b *Blocks) Meta(ctx context.Context, id ulid.ULID) (Meta, error) {
	content, err := b.read(ctx, key(id, metaFile))
	if err != nil {
		return Meta{}, fmt.Errorf("read meta.json of block %s: %w", id, err)
	}
	m, err := ParseMeta(id, content)
	if err != nil {
		return Meta{}, fmt.Errorf("block %s: %w", id, err)
	}
	return m, nil
}

// read returns the content of one of the small JSON objects.
func (b *Blocks) read(ctx context.Context, k string) ([]byte, error) {
	r, err := b.bucket.Get(ctx, k)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(r, metaBytesMax+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if len(content) > metaBytesMax {
		return nil, fmt.Errorf("%s has more than %d bytes", k, metaBytesMax)
	}
	return content, nil
}

// FetchFile writes the content of one file of a block, such as "index", to w.
func (b *Blocks) FetchFile(ctx context.Context, id ulid.ULID, rel string, w io.Writer) (int64, error) {
	if err := checkRel(rel); err != nil {
		return 0, fmt.Errorf("fetch from block %s: %w", id, err)
	}
	r, err := b.bucket.Get(ctx, key(id, rel))
	if err != nil {
		return 0, fmt.Errorf("fetch from block %s: %w", id, err)
	}
	n, err := copyAll(w, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return n, fmt.Errorf("fetch %s of block %s: %w", rel, id, err)
	}
	return n, nil
}

// ReadRange returns length bytes from off of one file of a block, with the rules of Bucket.GetRange.
func (b *Blocks) ReadRange(ctx context.Context, id ulid.ULID, rel string, off, length int64) (io.ReadCloser, error) {
	if err := checkRel(rel); err != nil {
		return nil, fmt.Errorf("read from block %s: %w", id, err)
	}
	r, err := b.bucket.GetRange(ctx, key(id, rel), off, length)
	if err != nil {
		return nil, fmt.Errorf("read from block %s: %w", id, err)
	}
	return r, nil
}

// Delete removes a block: meta.json first, so that nobody sees half a block, and the deletion mark last, so that a delete
// that was interrupted is seen as such and repeated.
func (b *Blocks) Delete(ctx context.Context, id ulid.ULID) error {
	keys := []string{key(id, metaFile)}
	err := b.bucket.List(ctx, id.String()+"/", true, func(o Object) error {
		if o.Key != key(id, metaFile) && o.Key != key(id, deletionMarkFile) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete block %s: %w", id, err)
	}
	for _, k := range append(keys, key(id, deletionMarkFile)) {
		if err := b.bucket.Delete(ctx, k); err != nil {
			return fmt.Errorf("delete block %s: %w", id, err)
		}
	}
	return nil
}
