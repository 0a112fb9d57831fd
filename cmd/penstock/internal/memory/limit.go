// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// runtimeShare of what the process may use is the runtime's limit. The rest is for
// what the runtime does not see: page tables, the page cache of mapped blocks that is
// being written, and the moment that it takes to collect.
const runtimeShare = 0.9

// SetLimit sets the memory limit of the Go runtime from that of the cgroup, or from the
// memory of the machine, unless GOMEMLIMIT is set, which is the operator's word.
func SetLimit(logger *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	available, source := Available(os.DirFS("/"), machineBytes())
	if available == 0 {
		logger.Warn("cannot tell how much memory there is; set GOMEMLIMIT to be protected against running out of it")
		return
	}
	limit := int64(runtimeShare * float64(available))
	debug.SetMemoryLimit(limit)
	logger.Info("set memory limit", "limit_bytes", limit, "available_bytes", available, "source", source)
}

// Available returns how many bytes this process may use and who says so: the strictest
// of the machine, whose memory is given, of its cgroup (version 1 or 2) and of those
// above it. It is 0 where nothing tells.
func Available(root fs.FS, machine int64) (bytes int64, source string) {
	bytes, source = math.MaxInt64, ""
	consider := func(n int64, from string) {
		if n > 0 && n < bytes {
			bytes, source = n, from
		}
	}
	consider(machine, "machine")
	membership, err := fs.ReadFile(root, "proc/self/cgroup")
	if err == nil {
		// A line is hierarchy:controllers:path; version 2 has no controllers.
		for line := range strings.Lines(string(membership)) {
			parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if len(parts) != 3 {
				continue
			}
			switch {
			case parts[1] == "":
				consider(strictest(root, "sys/fs/cgroup", parts[2], "memory.max"), "cgroup v2")
			case strings.Contains(","+parts[1]+",", ",memory,"):
				consider(strictest(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes"), "cgroup v1")
			}
		}
	}
	if source == "" {
		return 0, ""
	}
	return bytes, source
}

// strictest returns the smallest limit on the way from a cgroup to the root of its
// hierarchy; 0 is none. In a container the path may be that of the host, of which only
// the root is there.
func strictest(root fs.FS, mount, group, file string) int64 {
	least := int64(0)
	for group = path.Clean("/" + group); ; group = path.Dir(group) {
		if raw, err := fs.ReadFile(root, path.Join(mount, group, file)); err == nil {
			// Version 2 says "max" where there is no limit, version 1 a huge number.
			if n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64); err == nil && n > 0 && (least == 0 || n < least) {
				least = n
			}
		}
		if group == "/" {
			return least
		}
	}
}
