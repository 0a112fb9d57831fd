// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// List implements Bucket. An object that is written or deleted meanwhile may or may not be listed.
func (f *Filesystem) List(ctx context.Context, prefix string, recursive bool, fn func(Object) error) error {
	dir := "." // The deepest directory that holds everything below prefix.
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
		if err := ValidateKey(dir); err != nil {
			return fmt.Errorf("list: prefix: %w", err)
		}
	}
	l := fsListing{fsys: f.root.FS(), prefix: prefix, recursive: recursive, fn: fn}
	return l.walk(ctx, dir)
}

type fsListing struct {
	fsys      fs.FS
	prefix    string
	recursive bool
	fn        func(Object) error
}

func (l fsListing) walk(ctx context.Context, dir string) error {
	entries, err := fs.ReadDir(l.fsys, dir)
	if errors.Is(err, fs.ErrNotExist) || isNotDirectory(err) {
		return nil // Not there, or gone since its parent was read.
	}
	if err != nil {
		return fmt.Errorf("list %q: %w", l.prefix, err)
	}
	// Keys below the directory "a" come after the key "a-b", since "-" sorts before "/".
	sortKey := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortKey(a), sortKey(b)) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.visit(ctx, dir, e); err != nil {
			return err
		}
	}
	return nil
}

func (l fsListing) visit(ctx context.Context, dir string, e fs.DirEntry) error {
	key := e.Name()
	if dir != "." {
		key = dir + "/" + key
	} else if key == fsTempDir || key == fsLockFile {
		return nil
	}
	if e.IsDir() {
		sub := key + "/"
		if !strings.HasPrefix(sub, l.prefix) {
			return nil
		}
		if l.recursive {
			return l.walk(ctx, key)
		}
		return l.fn(Object{Key: sub, Prefix: true})
	}
	if !strings.HasPrefix(key, l.prefix) || !e.Type().IsRegular() {
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %q: %w", l.prefix, err)
	}
	return l.fn(Object{Key: key, Size: info.Size(), ModTime: info.ModTime(), ETag: etagOf(info)})
}
