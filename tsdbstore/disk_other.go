// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin

package tsdbstore

import "errors"

// freeBytes cannot be told here: there is no low-water mark, and a full disk is
// met by fail-stop alone.
func freeBytes(string) (int64, error) {
	return 0, errors.ErrUnsupported
}
