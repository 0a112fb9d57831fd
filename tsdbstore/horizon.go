// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
)

const (
	retentionFile    = "retention.json"
	retentionVersion = 1
)

// horizon is the time before which a tenant's data may be missing here because
// a block was deleted. It only rises, and it is on disk before the block goes:
// a query that trusted a lower one would take a hole for an absence of samples.
//
// The commit point is the rename of the new file over the old. Safe for
// concurrent use.
type horizon struct {
	path string

	mu    sync.Mutex
	until int64 // Unix ms, exclusive; math.MaxInt64: not loaded, so nothing is known to be here
}

// retentionState is the content of the file (docs/format/layout.md).
type retentionState struct {
	Version      int   `json:"version"`
	DeletedUntil int64 `json:"deleted_until_ms"`
}

func newHorizon(dir string) *horizon {
	return &horizon{path: filepath.Join(dir, retentionFile), until: math.MaxInt64}
}

// load reads the file. Without one nothing was ever deleted.
func (h *horizon) load() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, err := os.ReadFile(h.path)
	if errors.Is(err, os.ErrNotExist) {
		h.until = math.MinInt64
		return nil
	}
	if err != nil {
		return fmt.Errorf("read retention file: %w", err)
	}
	var state retentionState
	if err := json.Unmarshal(raw, &state); err != nil {
		return fmt.Errorf("decode retention file %s: %w", h.path, err)
	}
	if state.Version != retentionVersion {
		return fmt.Errorf("retention file %s has version %d, this build reads %d: run the build that wrote it", h.path, state.Version, retentionVersion)
	}
	h.until = state.DeletedUntil
	return nil
}

func (h *horizon) get() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until
}

// raise makes it durable that data before until may be gone.
func (h *horizon) raise(until int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until <= h.until {
		return nil
	}
	raw, err := json.Marshal(retentionState{Version: retentionVersion, DeletedUntil: until})
	if err != nil {
		return fmt.Errorf("encode retention file: %w", err)
	}
	if err := replaceFile(h.path, raw); err != nil {
		return fmt.Errorf("write retention file: %w", err)
	}
	h.until = until
	return nil
}

// replaceFile writes path whole or not at all.
func replaceFile(path string, content []byte) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return syncPath(filepath.Dir(path))
}
