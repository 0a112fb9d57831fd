// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestAvailable(t *testing.T) {
	const gib = 1 << 30
	f := func(want int64, source string, files ...string) {
		t.Helper()
		root := fstest.MapFS{}
		for i := 0; i < len(files); i += 2 {
			root[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
		}
		got, from := Available(root, 8*gib)
		require.Equal(t, want, got)
		require.Equal(t, source, from)
	}
	f(8*gib, "machine")
	// A container with a cgroup namespace.
	f(2*gib, "cgroup v2", "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "2147483648\n")
	f(8*gib, "machine", "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n")
	f(8*gib, "machine", "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "99999999999\n")
	// A service of systemd, bounded by its slice.
	f(1*gib, "cgroup v2", "proc/self/cgroup", "0::/system.slice/penstock.service\n",
		"sys/fs/cgroup/system.slice/penstock.service/memory.max", "2147483648\n",
		"sys/fs/cgroup/system.slice/memory.max", "1073741824\n")
	// Version 1: at the path, and in a container that sees the host's path.
	const v1 = "9:name=systemd:/\n5:cpu,memory:/docker/abc\n0::/\n"
	f(3*gib, "cgroup v1", "proc/self/cgroup", v1,
		"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "3221225472\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
	f(3*gib, "cgroup v1", "proc/self/cgroup", v1, "sys/fs/cgroup/memory/memory.limit_in_bytes", "3221225472\n")
	// Nonsense is nothing.
	f(8*gib, "machine", "proc/self/cgroup", "0::/../..\n\nx\n", "sys/fs/cgroup/memory.max", "0\n")

	got, source := Available(fstest.MapFS{}, 0)
	require.Zero(t, got)
	require.Empty(t, source)
}

// The limit of the process is put back: it is shared by all tests of the package.
func TestSetLimitLeavesTheOperatorsWord(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	logger := slog.New(slog.DiscardHandler)

	t.Setenv("GOMEMLIMIT", "off")
	debug.SetMemoryLimit(math.MaxInt64)
	SetLimit(logger)
	require.Equal(t, int64(math.MaxInt64), debug.SetMemoryLimit(-1))

	t.Setenv("GOMEMLIMIT", "")
	SetLimit(logger)
	available, _ := Available(os.DirFS("/"), machineBytes())
	if available == 0 {
		t.Skip("this machine does not tell how much memory it has")
	}
	require.EqualValues(t, int64(runtimeShare*float64(available)), debug.SetMemoryLimit(-1))
}
