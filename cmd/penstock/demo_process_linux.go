// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// childAttributes puts a child in its own group and has the kernel kill it when
// the demo dies, even by SIGKILL. The kernel ties that to the thread that
// started the child; threads of a Go program end only with the program, unless
// a goroutine that locked one ends, and this program locks none.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
