// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package limit

// offerCore does nothing where there is no such call.
func offerCore() {}
