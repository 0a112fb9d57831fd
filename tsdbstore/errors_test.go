// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestErrorsForSenders: the part of an error that leaves this node names no file of it.
func TestErrorsForSenders(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, Config{Dir: dir, MinFreeBytes: 1 << 20, freeBytes: func(string) (int64, error) { return 0, nil }})
	_, err := s.AppenderV2(t.Context(), "a")
	require.ErrorIs(t, err, ErrDiskLow)
	require.ErrorContains(t, err, dir)
	var u interface{ Unavailable() string }
	require.ErrorAs(t, err, &u)
	require.Equal(t, "storage is low on disk space", u.Unavailable())

	require.ErrorAs(t, fmt.Errorf("%w: %w", ErrReopening, errors.New("write "+dir)), &u)
	require.Equal(t, "storage is reopening after a failed write", u.Unavailable())
}

// TestCheckRoom: others that write to the disk leave what writes need, and are asked for their room without a mark as well.
func TestCheckRoom(t *testing.T) {
	for _, least := range []int64{10 << 20, -1} {
		s := testStore(t, Config{MinFreeBytes: least, freeBytes: func(string) (int64, error) { return 50 << 20, nil }})
		room := 50<<20 - max(least, 0)
		require.NoError(t, s.CheckRoom(room))
		require.ErrorIs(t, s.CheckRoom(room+1), ErrDiskLow)
	}
	s := testStore(t, Config{freeBytes: func(string) (int64, error) { return 0, errors.New("not on this system") }})
	require.NoError(t, s.CheckRoom(1<<40))
}
