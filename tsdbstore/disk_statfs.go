// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin

package tsdbstore

import "syscall"

// freeBytes is what an unprivileged writer may still use of dir's file system.
func freeBytes(dir string) (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * int64(stat.Bsize), nil //nolint:unconvert // Its type differs between systems.
}
