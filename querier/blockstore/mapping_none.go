// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package blockstore

import (
	"errors"
	"os"
)

// Without mappings no block in a bucket can be read; everything else works.
func mapFile(*os.File, int64) ([]byte, error) { return nil, errors.ErrUnsupported }

func unmapFile([]byte) error { return nil }
