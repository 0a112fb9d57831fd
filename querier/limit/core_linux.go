// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import "golang.org/x/sys/unix"

// offerCore has the kernel run another thread on this core, if one waits for it. It takes less than a microsecond if none does. The runtime knows of
// the call: what Go has to do meanwhile does not wait for this thread.
func offerCore() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) } // It cannot fail.
