// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package uploader_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/require"
)

// TestFullDisk: an upload that cannot be recorded is not taken for one, so nothing is
// deleted for it, and the next pass finds the block in the bucket.
func TestFullDisk(t *testing.T) {
	f := newFixture(t, "a")
	dir := f.tenants[0].Dir
	require.NoError(t, os.MkdirAll(dir, 0o700))
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=2097152")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("needs the right to mount a tmpfs (root), to fill a disk of its own")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	elsewhere := t.TempDir()
	id := addBlock(t, elsewhere) // A block takes room for more than it has while it is made.
	require.NoError(t, os.CopyFS(filepath.Join(dir, id.String()), os.DirFS(filepath.Join(elsewhere, id.String()))))
	ballast := filepath.Join(dir, "ballast")
	require.Error(t, os.WriteFile(ballast, make([]byte, 4<<20), 0o600))

	u := f.start(1)
	for range 3 {
		got, err := u.Sync(t.Context())
		require.ErrorContains(t, err, "write shipper file")
		require.Empty(t, got)
		f.now = f.now.Add(24 * time.Hour)
		require.False(t, u.Held("a", id), "it must not be deleted")
	}
	require.NoError(t, os.Remove(ballast))
	got, err := u.Sync(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ulid.ULID{id}, got)
	f.now = f.now.Add(24 * time.Hour)
	require.True(t, u.Held("a", id))
}
