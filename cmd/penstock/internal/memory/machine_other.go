// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package memory

// machineBytes is not known here; GOMEMLIMIT says it.
func machineBytes() int64 { return 0 }
