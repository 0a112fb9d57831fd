// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// DefaultTenant has what is sent without a tenant.
const DefaultTenant = "default-tenant"

// AddBlocks links the blocks in dir into the data directory of a Prometheus that is not started yet.
func (s *Servers) AddBlocks(dir string) error {
	return LinkBlocks(dir, filepath.Join(s.Dir, "data"))
}

// AddNodeBlocks links the blocks in dir into those of the default tenant of nodes that are not started yet. The nodes are
// in use since a given time, so that they are the ones who have all that is younger.
func (s *Servers) AddNodeBlocks(dir string, nodes int, since time.Time) error {
	for n := range nodes {
		if err := LinkBlocks(dir, TenantDir(s.NodeDir(n), DefaultTenant)); err != nil {
			return err
		}
		if err := UsedSince(s.NodeDir(n), since); err != nil {
			return err
		}
	}
	return nil
}

// TenantDir is where a node with a data directory has the blocks of a tenant.
func TenantDir(dataDir, tenant string) string { return filepath.Join(dataDir, "tsdb", tenant) }

// UsedSince makes the data directory of a node that is not started yet one that has been in use since a time and was stopped
// cleanly. See tsdbstore/docs/format/layout.md.
func UsedSince(dataDir string, since time.Time) error {
	tsdb := filepath.Join(dataDir, "tsdb")
	if err := os.MkdirAll(tsdb, 0o755); err != nil {
		return fmt.Errorf("make the data directory of a node: %w", err)
	}
	state := fmt.Sprintf("{\"version\":1,\"created_ms\":%d}\n", since.UnixMilli())
	if err := os.WriteFile(filepath.Join(tsdb, "store.json"), []byte(state), 0o644); err != nil {
		return fmt.Errorf("write since when the node is in use: %w", err)
	}
	// Without it the blocks are taken for what a crash of the host left, and are refilled beside themselves.
	if err := os.WriteFile(filepath.Join(tsdb, "running.json"), []byte(`{"version":1,"wal_sync":"none","clean":true}`), 0o644); err != nil {
		return fmt.Errorf("write that the node was stopped cleanly: %w", err)
	}
	return nil
}

// LinkBlocks links the files below one directory to the same places below another. Nobody changes files of blocks.
func LinkBlocks(from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
	if err != nil {
		return fmt.Errorf("link blocks: %w", err)
	}
	return nil
}
