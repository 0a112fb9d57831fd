// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"os"
	"syscall"
)

// punchHole gives the space of a part of a file back; it reads as zeros after that.
func punchHole(f *os.File, off, length int64) error {
	const keepSize, punch = 0x1, 0x2 // FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE.
	return os.NewSyscallError("fallocate", syscall.Fallocate(int(f.Fd()), keepSize|punch, off, length))
}
