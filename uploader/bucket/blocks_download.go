// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/oklog/ulid/v2"
)

const (
	downloadDirMode  = 0o750
	downloadFileMode = 0o640
)

// ErrBroken says that the files of a block in the bucket are not those that its meta.json describes. A way to the
// bucket that truncates answers looks the same, so that it takes more than one download to be sure.
var ErrBroken = errors.New("the block is not what its meta.json says")

// Download writes a block into dir, which must not exist or be empty, as a directory that TSDB can open: chunks, index and
// meta.json. Sizes are checked, and checksums where meta.json has them. It returns the bytes that it read from the bucket.
// ErrNotFound when the block is not visible, ErrBadMeta, ErrBroken.
//
// On an error dir holds parts of the block; the caller removes it. The content may be in the page cache only: it is for work on
// the block, and there again in the bucket. Whoever wants to keep it makes it durable.
func (b *Blocks) Download(ctx context.Context, id ulid.ULID, dir string) (int64, error) {
	n, err := b.download(ctx, id, dir)
	if err != nil {
		return n, fmt.Errorf("download block %s: %w", id, err)
	}
	return n, nil
}

func (b *Blocks) download(ctx context.Context, id ulid.ULID, dir string) (int64, error) {
	if err := os.MkdirAll(filepath.Join(dir, chunksDir), downloadDirMode); err != nil {
		return 0, err
	}
	meta, err := b.Meta(ctx, id)
	if err != nil {
		return 0, err
	}
	files, err := b.filesOf(ctx, meta)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, f := range files {
		n, err := b.downloadFile(ctx, id, dir, f)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// filesOf returns the files of a block in upload order. Blocks of old writers do not list them in meta.json, and then the
// bucket is asked.
func (b *Blocks) filesOf(ctx context.Context, meta Meta) ([]File, error) {
	files := make([]File, 0, len(meta.Thanos.Files))
	for _, f := range meta.Thanos.Files {
		if isBlockFile(f.RelPath) {
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		sizes, err := b.sizes(ctx, meta.ULID)
		if err != nil {
			return nil, err
		}
		for rel, size := range sizes {
			if isBlockFile(rel) {
				files = append(files, File{RelPath: rel, SizeBytes: size})
			}
		}
	}
	if !slices.ContainsFunc(files, func(f File) bool { return f.RelPath == metaFile }) {
		files = append(files, File{RelPath: metaFile})
	}
	uploadOrder(files)
	return files, nil
}

func (b *Blocks) downloadFile(ctx context.Context, id ulid.ULID, dir string, file File) (n int64, err error) {
	name := filepath.Join(dir, filepath.FromSlash(file.RelPath))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, downloadFileMode)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	n, err = b.FetchFile(ctx, id, file.RelPath, io.MultiWriter(f, sum))
	if errors.Is(err, ErrNotFound) && file.RelPath != metaFile {
		return n, b.missing(ctx, id, err)
	}
	if err != nil {
		return n, err
	}
	if file.SizeBytes > 0 && n != file.SizeBytes {
		return n, fmt.Errorf("%w: %s has %d bytes, want %d", ErrBroken, file.RelPath, n, file.SizeBytes)
	}
	if h := file.Hash; h != nil && h.Func == hashSHA256 {
		if got := hex.EncodeToString(sum.Sum(nil)); got != h.Value {
			return n, fmt.Errorf("%w: %s has SHA-256 %s, want %s", ErrBroken, file.RelPath, got, h.Value)
		}
	}
	return n, nil
}

// missing tells a block that lacks a file from one that is being deleted, which begins with its meta.json.
func (b *Blocks) missing(ctx context.Context, id ulid.ULID, cause error) error {
	there, err := b.Exists(ctx, id)
	switch {
	case err != nil:
		return errors.Join(err, cause)
	case there:
		return fmt.Errorf("%w: %s", ErrBroken, cause.Error()) // It must not be taken for a block that is gone.
	default:
		return cause
	}
}
