// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTestFilesystem(t *testing.T, dir string) *Filesystem {
	t.Helper()
	b, err := NewFilesystem(dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func TestFilesystemDoesNotFollowLinksOutside(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	secret := filepath.Join(outside, "secret")
	require.NoError(t, os.WriteFile(secret, []byte("secret"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "dir")))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "link")))
	b := newTestFilesystem(t, dir)
	for _, key := range []string{"dir/secret", "link"} {
		_, err := b.Get(t.Context(), key)
		require.Error(t, err, key)
		_, err = b.Attributes(t.Context(), key)
		require.Error(t, err, key)
	}
	require.Error(t, b.Put(t.Context(), "dir/new", strings.NewReader("x"), 1))
	require.Error(t, b.Delete(t.Context(), "dir/secret"))
	require.NoError(t, b.List(t.Context(), "", true, func(o Object) error {
		t.Errorf("listed %q", o.Key)
		return nil
	}))
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestFilesystemClearsWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	newTestFilesystem(t, dir)
	old, fresh := filepath.Join(dir, fsTempDir, "old"), filepath.Join(dir, fsTempDir, "fresh")
	for _, name := range []string{old, fresh} {
		require.NoError(t, os.WriteFile(name, nil, 0o600))
	}
	past := time.Now().Add(-2 * tempAgeMax)
	require.NoError(t, os.Chtimes(old, past, past))
	newTestFilesystem(t, dir)
	require.NoFileExists(t, old)
	require.FileExists(t, fresh, "another process may be writing it")
}

func TestFilesystemObjectAndDirectory(t *testing.T) {
	b := newTestFilesystem(t, t.TempDir())
	require.NoError(t, b.Put(t.Context(), "a/b", strings.NewReader("x"), 1))
	require.ErrorContains(t, b.Put(t.Context(), "a", strings.NewReader("x"), 1), "cannot hold both")
	require.Error(t, b.Put(t.Context(), "a/b/c", strings.NewReader("x"), 1))
	require.ErrorIs(t, b.Put(t.Context(), fsTempDir+"/x", strings.NewReader("x"), 1), ErrInvalidKey)
	entries, err := os.ReadDir(filepath.Join(b.dir, fsTempDir))
	require.NoError(t, err)
	require.Empty(t, entries, "failed writes leave nothing")
}

// TestFilesystemSharedByProcesses counts with two Filesystems on one directory, which know nothing of each other, as two
// processes would: no increment may be lost.
func TestFilesystemSharedByProcesses(t *testing.T) {
	dir := t.TempDir()
	_, err := newTestFilesystem(t, dir).PutIfAbsent(t.Context(), "counter", strings.NewReader(""), 0)
	require.NoError(t, err)
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 4 {
		b := newTestFilesystem(t, dir)
		wg.Go(func() {
			for range 100 {
				attrs, err := b.Attributes(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				content := strings.Repeat("x", int(attrs.Size)+1)
				if _, err := b.PutIfMatch(t.Context(), "counter", attrs.ETag, strings.NewReader(content), attrs.Size+1); err == nil {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	attrs, err := newTestFilesystem(t, dir).Attributes(t.Context(), "counter")
	require.NoError(t, err)
	require.Equal(t, done.Load(), attrs.Size)
	require.GreaterOrEqual(t, done.Load(), int64(100))
}
