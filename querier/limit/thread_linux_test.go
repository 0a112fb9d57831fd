// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A thread asks for long slices as long as it computes for a query, and no longer.
func TestTurnsHaveLongSlices(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slice := func() time.Duration {
		attr, err := unix.SchedGetAttr(0, 0)
		require.NoError(t, err)
		return time.Duration(attr.Runtime)
	}
	usual := slice()
	if usual == 0 {
		t.Skip("this kernel knows no slices")
	}
	b := New(Config{Cores: 1}, slog.New(slog.DiscardHandler), nil)
	one := &turn{turns: b.turns, ctx: t.Context()}
	require.NoError(t, one.begin())
	require.Equal(t, longSlice, slice())
	back := one.pause()
	require.Equal(t, usual, slice())
	back()
	require.Equal(t, longSlice, slice())
	one.stop()
	require.Equal(t, usual, slice())

	done, err := b.Turn(t.Context())
	require.NoError(t, err)
	require.Equal(t, longSlice, slice())
	done()
	require.Equal(t, usual, slice())
}
