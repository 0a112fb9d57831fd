// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

const (
	// fsTempDir holds objects that are being written. It lies inside the root so that a rename out of it is atomic.
	fsTempDir = ".penstock-tmp"
	// fsLockFile is locked while an object changes, so that several processes can share one root.
	fsLockFile = ".penstock-lock"
	// tempAgeMax is when a file in fsTempDir must be what a crash left behind: no single object takes a day to write.
	tempAgeMax = 24 * time.Hour

	dirMode  = 0o750
	fileMode = 0o640
)

// Filesystem is a Bucket in a directory, one file per object, for one machine or a shared mount. Several processes may
// use one directory at once.
//
// Keys cannot escape the directory, neither by their elements nor through symbolic links (os.Root). As on any file
// system there cannot be an object "a" and an object "a/b" at once, and one element of a key has at most 255 bytes.
type Filesystem struct {
	dir  string
	root *os.Root
	mu   sync.Mutex // Held together with fsLockFile, which does not tell apart the goroutines of one process.
	lock *os.File
}

// NewFilesystem opens the directory, which is created if need be, and clears what a crash left in it.
func NewFilesystem(dir string) (*Filesystem, error) {
	if dir == "" {
		return nil, errors.New("open filesystem bucket: no directory given")
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("open filesystem bucket: %w; choose a directory that this user may create and write", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open filesystem bucket: %w", err)
	}
	f := &Filesystem{dir: dir, root: root}
	if err := f.prepare(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open filesystem bucket: %w", err)
	}
	return f, nil
}

func (f *Filesystem) prepare() error {
	if err := f.root.Mkdir(fsTempDir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := f.root.OpenFile(fsLockFile, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	f.lock = lock
	entries, err := fs.ReadDir(f.root.FS(), fsTempDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > tempAgeMax {
			// A failure here costs only space, and another process may have been faster.
			_ = f.root.Remove(path.Join(fsTempDir, e.Name()))
		}
	}
	return nil
}

// Name implements Bucket.
func (f *Filesystem) Name() string { return "file://" + filepath.ToSlash(f.dir) }

// Close implements Bucket.
func (f *Filesystem) Close() error { return errors.Join(f.lock.Close(), f.root.Close()) }

// Get implements Bucket.
func (f *Filesystem) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	file, _, err := f.open(ctx, "get", key)
	if err != nil {
		return nil, err
	}
	return file, nil
}

// GetRange implements Bucket.
func (f *Filesystem) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	file, info, err := f.open(ctx, "get range of", key)
	if err != nil {
		return nil, err
	}
	from, to, err := rangeOf(off, length, info.Size())
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("get range of %q: %w", key, err)
	}
	return rangeReader{io.NewSectionReader(file, from, to-from), file}, nil
}

type rangeReader struct {
	io.Reader
	io.Closer
}

// Attributes implements Bucket.
func (f *Filesystem) Attributes(ctx context.Context, key string) (Attributes, error) {
	info, err := f.stat(ctx, "stat", key)
	if err != nil {
		return Attributes{}, err
	}
	return Attributes{Size: info.Size(), ModTime: info.ModTime(), ETag: etagOf(info)}, nil
}

// Exists implements Bucket.
func (f *Filesystem) Exists(ctx context.Context, key string) (bool, error) {
	_, err := f.stat(ctx, "stat", key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (f *Filesystem) open(ctx context.Context, op, key string) (*os.File, fs.FileInfo, error) {
	if err := f.check(ctx, op, key); err != nil {
		return nil, nil, err
	}
	file, err := f.root.Open(filepath.FromSlash(key))
	if err != nil {
		return nil, nil, fsError(op, key, err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		file.Close()
		return nil, nil, fsError(op, key, err)
	}
	return file, info, nil
}

func (f *Filesystem) stat(ctx context.Context, op, key string) (fs.FileInfo, error) {
	if err := f.check(ctx, op, key); err != nil {
		return nil, err
	}
	info, err := f.root.Stat(filepath.FromSlash(key))
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fsError(op, key, err)
	}
	return info, nil
}

func (f *Filesystem) check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ValidateKey(key); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// etagOf tells versions of a file apart without reading it: every write stamps its file with the time in nanoseconds, and
// commit never lets two versions in a row have the same stamp.
func etagOf(info fs.FileInfo) string {
	return strconv.FormatInt(info.ModTime().UnixNano(), 36) + "-" + strconv.FormatInt(info.Size(), 36)
}

// fsError gives an error of the file system the meaning that it has for a bucket.
func fsError(op, key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), isNotDirectory(err):
		err = ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: %w", ErrAccessDenied, err)
	}
	return fmt.Errorf("%s %q: %w", op, key, err)
}
