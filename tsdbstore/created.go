// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	storeFile    = "store.json"
	storeVersion = 1
)

// storeState is the content of the file (docs/format/layout.md).
type storeState struct {
	Version   int   `json:"version"`
	CreatedMS int64 `json:"created_ms"`
}

// loadCreated returns since when (Unix ms) the directory is in use, which is now
// if no Store used it before. The file is beside the TSDBs so that it goes when
// they are deleted: what is kept elsewhere would vouch for samples that are gone.
func loadCreated(dir string, now time.Time) (int64, error) {
	path := filepath.Join(dir, storeFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return createStoreFile(path, now.UnixMilli())
	}
	if err != nil {
		return 0, fmt.Errorf("read store file: %w", err)
	}
	var state storeState
	if err := json.Unmarshal(raw, &state); err != nil {
		return 0, fmt.Errorf("decode store file %s: %w: delete it, and older samples are looked for in the bucket as well", path, err)
	}
	if state.Version != storeVersion {
		return 0, fmt.Errorf("store file %s has version %d, this build reads %d: run the build that wrote it", path, state.Version, storeVersion)
	}
	return state.CreatedMS, nil
}

func createStoreFile(path string, created int64) (int64, error) {
	raw, err := json.Marshal(storeState{Version: storeVersion, CreatedMS: created})
	if err != nil {
		return 0, fmt.Errorf("encode store file: %w", err)
	}
	if err := replaceFile(path, raw); err != nil {
		return 0, fmt.Errorf("write store file: %w", err)
	}
	return created, nil
}
