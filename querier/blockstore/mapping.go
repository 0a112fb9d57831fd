// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package blockstore

import (
	"os"
	"syscall"
)

// mapFile maps the beginning of a file for reading. What is written to the file later is seen.
func mapFile(f *os.File, length int64) ([]byte, error) {
	b, err := syscall.Mmap(int(f.Fd()), 0, int(length), syscall.PROT_READ, syscall.MAP_SHARED)
	return b, os.NewSyscallError("mmap", err)
}

func unmapFile(b []byte) error { return os.NewSyscallError("munmap", syscall.Munmap(b)) }
