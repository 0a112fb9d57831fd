// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package harness

import "syscall"

// dieWithParent does nothing where the kernel has no such wish.
func dieWithParent() *syscall.SysProcAttr { return nil }
