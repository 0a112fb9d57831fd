// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"
)

// Put implements Bucket.
func (f *Filesystem) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	_, err := f.put(ctx, key, r, size, func(fs.FileInfo) bool { return true })
	return err
}

// PutIfAbsent implements Bucket.
func (f *Filesystem) PutIfAbsent(ctx context.Context, key string, r io.Reader, size int64) (string, error) {
	return f.put(ctx, key, r, size, func(old fs.FileInfo) bool { return old == nil })
}

// PutIfMatch implements Bucket.
func (f *Filesystem) PutIfMatch(ctx context.Context, key, etag string, r io.Reader, size int64) (string, error) {
	return f.put(ctx, key, r, size, func(old fs.FileInfo) bool { return old != nil && etagOf(old) == etag })
}

// put writes a temporary file, makes it durable and renames it into place: the rename is the commit. allowed sees the
// object that would be replaced, nil for none, and decides under the lock.
func (f *Filesystem) put(
	ctx context.Context, key string, r io.Reader, size int64, allowed func(fs.FileInfo) bool,
) (string, error) {
	if err := f.check(ctx, "put", key); err != nil {
		return "", err
	}
	temp := path.Join(fsTempDir, rand.Text())
	if err := f.writeTemp(temp, r, size); err != nil {
		return "", errors.Join(fsError("put", key, err), f.removeTemp(temp))
	}
	var etag string
	err := f.locked(ctx, func() (err error) {
		etag, err = f.commit(temp, key, allowed)
		return err
	})
	if err != nil {
		return "", errors.Join(fsError("put", key, err), f.removeTemp(temp))
	}
	return etag, nil
}

func (f *Filesystem) writeTemp(temp string, r io.Reader, size int64) error {
	file, err := f.root.OpenFile(filepath.FromSlash(temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	n, err := io.Copy(file, io.LimitReader(r, size))
	switch {
	case err != nil:
	case n < size || size < 0:
		err = fmt.Errorf("%w: %d of %d bytes", ErrSizeMismatch, n, size)
	default:
		err = expectEOF(r, size)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f *Filesystem) removeTemp(temp string) error {
	if err := f.root.Remove(filepath.FromSlash(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// commit runs under the lock.
func (f *Filesystem) commit(temp, key string, allowed func(fs.FileInfo) bool) (string, error) {
	temp, name := filepath.FromSlash(temp), filepath.FromSlash(key)
	old, err := f.root.Stat(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !isNotDirectory(err) {
			return "", err
		}
		old = nil
	}
	if old != nil && old.IsDir() {
		return "", fmt.Errorf("there are objects below %q/, and a file system cannot hold both", key)
	}
	if !allowed(old) {
		return "", ErrPrecondition
	}
	stamp := time.Now()
	if old != nil && !stamp.After(old.ModTime()) {
		stamp = old.ModTime().Add(time.Nanosecond)
	}
	if err := f.root.Chtimes(temp, stamp, stamp); err != nil {
		return "", err
	}
	if err := f.root.MkdirAll(filepath.Dir(name), dirMode); err != nil {
		return "", err
	}
	if err := f.root.Rename(temp, name); err != nil {
		return "", err
	}
	info, err := f.root.Stat(name)
	if err != nil {
		return "", err
	}
	return etagOf(info), f.syncDirs(filepath.Dir(name))
}

// Delete implements Bucket. Directories that become empty go too.
func (f *Filesystem) Delete(ctx context.Context, key string) error {
	if err := f.check(ctx, "delete", key); err != nil {
		return err
	}
	name := filepath.FromSlash(key)
	return f.locked(ctx, func() error {
		info, err := f.root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) || isNotDirectory(err) || (err == nil && info.IsDir()) {
			return nil
		}
		if err == nil {
			err = f.root.Remove(name)
		}
		if err != nil {
			return fsError("delete", key, err)
		}
		dir := filepath.Dir(name)
		for ; dir != "."; dir = filepath.Dir(dir) {
			if f.root.Remove(dir) != nil { // Not empty: there are other objects.
				break
			}
		}
		if err := f.syncDirs(dir); err != nil {
			return fsError("delete", key, err)
		}
		return nil
	})
}

// syncDirs makes the entries of dir and of its parents durable: a crash must not undo an acknowledged write.
func (f *Filesystem) syncDirs(dir string) error {
	for ; ; dir = filepath.Dir(dir) {
		d, err := f.root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}
	}
}

// lockPollInterval is short beside the sync of a directory, which is what another process holds the lock for.
const lockPollInterval = 2 * time.Millisecond

// locked runs fn while no other goroutine and no other process changes an object. The kernel drops the lock of a
// process that dies.
func (f *Filesystem) locked(ctx context.Context, fn func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		err := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock the bucket: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPollInterval):
		}
	}
	err := fn()
	if unlockErr := syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN); unlockErr != nil {
		err = errors.Join(err, fmt.Errorf("unlock the bucket: %w", unlockErr))
	}
	return err
}

// isNotDirectory says that an element in the middle of a path is a file.
func isNotDirectory(err error) bool { return errors.Is(err, syscall.ENOTDIR) }
