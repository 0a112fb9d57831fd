// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/oklog/ulid/v2"
)

// IndexFile is the path of the index of a block, for ReadRange.
const IndexFile = indexFile

// IsChunkFile says that rel is the path of a chunk segment. Their order is that of their names.
func IsChunkFile(rel string) bool { return isChunkFile(rel) }

// Files returns the files of a block with their sizes: what meta.json lists or, of old writers that do not list them, what is
// in the bucket, which costs a request. ErrNotFound when there is nothing.
func (b *Blocks) Files(ctx context.Context, meta Meta) ([]File, error) {
	unsized := func(f File) bool { return f.RelPath != metaFile && f.SizeBytes <= 0 }
	if slices.ContainsFunc(meta.Thanos.Files, unsized) {
		meta.Thanos.Files = nil
	}
	files, err := b.filesOf(ctx, meta)
	if err != nil {
		return nil, fmt.Errorf("list files of block %s: %w", meta.ULID, err)
	}
	if len(files) <= 1 { // meta.json is always there.
		return nil, fmt.Errorf("list files of block %s: %w", meta.ULID, ErrNotFound)
	}
	return files, nil
}

// ReadFull fills p from off of one file of a block. A file that ends before, or a store that sends fewer bytes than it was
// asked for, is an error.
func (b *Blocks) ReadFull(ctx context.Context, id ulid.ULID, rel string, off int64, p []byte) error {
	r, err := b.ReadRange(ctx, id, rel, off, int64(len(p)))
	if err != nil {
		return err
	}
	n, err := io.ReadFull(r, p)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("read %d bytes from %d of %s of block %s: got %d: %w", len(p), off, rel, id, n, err)
	}
	return nil
}
