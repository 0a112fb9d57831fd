// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package blockstore

import (
	"errors"
	"os"
)

func punchHole(*os.File, int64, int64) error { return errors.ErrUnsupported }
