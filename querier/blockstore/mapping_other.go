// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package blockstore

import (
	"errors"
	"os"
)

// canPunch says that space cannot be given back in the middle of a file: the cache evicts whole blocks.
const canPunch = false

func punchHole(*os.File, int64, int64) error { return errors.ErrUnsupported }
