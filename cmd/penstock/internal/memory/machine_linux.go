// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import "syscall"

// machineBytes is the memory of the machine; 0 if it cannot be told. The call works
// where a service may not see /proc/meminfo.
func machineBytes() int64 {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
