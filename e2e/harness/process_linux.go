// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import "syscall"

// dieWithParent has the kernel kill a child when the test process dies, also by a timeout or a signal, which run no
// cleanup.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
