// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import "syscall"

// offerCore has the kernel run another thread on this core, if one waits for it. It takes less than a microsecond if none does. The runtime knows of
// the call: what Go has to do meanwhile does not wait for this thread.
func offerCore() { _, _, _ = syscall.Syscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) } // It cannot fail.
