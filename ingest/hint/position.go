// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	positionFile    = "position.json"
	positionVersion = 1
)

// position is how far a member's oldest segment was replayed. It is written when
// a replay stops and now and then while it runs; what was sent after it is sent
// again. The file is replaced by rename; deleting a segment makes it void.
type position struct {
	Version int    `json:"version"`
	Segment uint64 `json:"segment"`
	Offset  int64  `json:"offset"`
}

// loadPosition returns the zero position when there is none.
func loadPosition(dir string) (position, error) {
	raw, err := os.ReadFile(filepath.Join(dir, positionFile))
	if errors.Is(err, os.ErrNotExist) {
		return position{}, nil
	}
	if err != nil {
		return position{}, fmt.Errorf("read replay position: %w", err)
	}
	var p position
	if err := json.Unmarshal(raw, &p); err != nil {
		return position{}, fmt.Errorf("decode replay position: %w", err)
	}
	if p.Version != positionVersion {
		return position{}, fmt.Errorf("replay position has version %d, this build reads %d", p.Version, positionVersion)
	}
	return p, nil
}

func savePosition(dir string, p position) error {
	p.Version = positionVersion
	raw, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode replay position: %w", err)
	}
	path := filepath.Join(dir, positionFile)
	// No sync: an older position only means that more is sent again.
	if err := os.WriteFile(path+".tmp", raw, 0o666); err != nil {
		return fmt.Errorf("write replay position: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write replay position: %w", err)
	}
	return nil
}
