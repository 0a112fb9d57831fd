// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package limit

// thread does nothing where the kernel cannot be told how to schedule one.
type thread struct{}

func (*thread) enter() {}
func (*thread) leave() {}
