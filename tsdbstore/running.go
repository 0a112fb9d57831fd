// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	runFile    = "running.json"
	runVersion = 1
	// bootIDFile names this start of the host. Linux has it; elsewhere a crash of the
	// host is not told from one of the process.
	bootIDFile = "/proc/sys/kernel/random/boot_id"
)

// runState is the content of the file (docs/format/layout.md): what the last process
// that had the directory did to it.
type runState struct {
	Version int    `json:"version"`
	BootID  string `json:"boot_id"`
	WALSync string `json:"wal_sync"`
	// Clean tells that every TSDB was closed, and so synced.
	Clean bool `json:"clean"`
	// Sizes are those of the files of heads and snapshots then, by directory and name.
	Sizes map[string]map[string]int64 `json:"sizes,omitempty"`
}

// SystemBootID is the default of Config.BootID.
func SystemBootID() (string, error) {
	raw, err := os.ReadFile(bootIDFile)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}

// noteStart looks at how the last process left the directory, records what was lost
// if the host crashed, and notes that this process has it now.
func (s *Store) noteStart(inUse bool) error {
	boot, err := s.cfg.BootID()
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	last, known, err := loadRunState(s.cfg.Dir)
	if err != nil {
		return err
	}
	if !known && inUse {
		s.logger.Warn("it is not known how the storage was left, taking it for a crash of the host", "file", runFile)
	}
	s.last = last
	if inUse && (!known || hostCrashed(last, boot)) {
		if err := s.loseUnsynced(); err != nil {
			return err
		}
	}
	return saveRunState(s.cfg.Dir, runState{BootID: boot, WALSync: s.cfg.WALSync})
}

// hostCrashed tells whether what was acknowledged may have been in memory of a host
// that is gone.
func hostCrashed(last runState, boot string) bool {
	return !last.Clean && last.WALSync != WALSyncCommit && boot != "" && last.BootID != "" && last.BootID != boot
}

// loseUnsynced records for each tenant that what its head had may be gone. Blocks are
// synced when they are cut; of the logs nothing is known to be, and a log whose end is
// missing looks whole.
func (s *Store) loseUnsynced() error {
	names, err := s.tenantDirs()
	if err != nil {
		return err
	}
	for _, name := range names {
		t := newTenant(s, name)
		if err := t.horizon.load(); err != nil {
			t.logger.Warn("cannot tell what was deleted here before", "err", err)
		}
		from, to, err := t.headRange()
		if err != nil {
			return err
		}
		_, err = s.AddLoss(Loss{
			Tenant: name, MinTime: from, MaxTime: to,
			Reason: "the host stopped without a clean stop of this node; with --storage.wal-sync=none what was not on disk is gone",
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tenantDirs are the names of the tenants that have a directory.
func (s *Store) tenantDirs() ([]string, error) {
	entries, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("list storage directory: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && validTenant(entry.Name()) {
			names = append(names, entry.Name())
		}
	}
	return names, nil
}

// noteStop records that all is closed. Without it the next start takes the logs for
// torn at worst, and after a restart of the host for incomplete.
func (s *Store) noteStop() error {
	boot, err := s.cfg.BootID()
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	names, err := s.tenantDirs()
	if err != nil {
		return err
	}
	state := runState{BootID: boot, WALSync: s.cfg.WALSync, Clean: true, Sizes: make(map[string]map[string]int64)}
	for _, name := range names {
		dirs, err := filepath.Glob(filepath.Join(s.cfg.Dir, name, "chunk_snapshot.*"))
		if err != nil {
			return err
		}
		for _, dir := range headDirs {
			dirs = append(dirs, filepath.Join(s.cfg.Dir, name, dir))
		}
		for _, dir := range dirs {
			rel, err := filepath.Rel(s.cfg.Dir, dir)
			if err != nil {
				return err
			}
			if state.Sizes[rel], err = fileSizes(dir); err != nil {
				return err
			}
		}
	}
	return saveRunState(s.cfg.Dir, state)
}

func fileSizes(dir string) (map[string]int64, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(entries))
	for _, entry := range entries {
		if entry.IsDir() {
			continue // A checkpoint; its segments end in a page of their own.
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		sizes[entry.Name()] = info.Size()
	}
	return sizes, nil
}

// tornIsLegal tells whether the end of a log may be torn: not after a clean stop.
func (t *tenant) tornIsLegal() bool { return !t.store.last.Clean || t.everOpen.Load() }

// closedSizes are the sizes of the files in a directory when the store was closed;
// none when it was not, or what is there was looked at since.
func (t *tenant) closedSizes(dir string) map[string]int64 {
	rel, err := filepath.Rel(t.store.cfg.Dir, dir)
	if err != nil || t.examined {
		return nil
	}
	return t.store.last.Sizes[rel]
}

// loadRunState reads the file. What cannot be read is not known.
func loadRunState(dir string) (state runState, known bool, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, runFile))
	if errors.Is(err, os.ErrNotExist) {
		return runState{}, false, nil
	}
	if err != nil {
		return runState{}, false, fmt.Errorf("read run file: %w", err)
	}
	if known = json.Unmarshal(raw, &state) == nil && state.Version == runVersion; !known {
		return runState{}, false, nil
	}
	return state, true, nil
}

func saveRunState(dir string, state runState) error {
	state.Version = runVersion
	raw, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode run file: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, runFile), append(raw, '\n')); err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	return nil
}
