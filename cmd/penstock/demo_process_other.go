// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "syscall"

// childAttributes puts a child in its own group. Here the children of a demo
// that is killed by SIGKILL go on; every other end of it stops them.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
