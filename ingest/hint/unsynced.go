// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	unsyncedFile    = "unsynced.json"
	unsyncedVersion = 1
	// unsyncedRest is how soon after its hints began a member may be taken off the list, so
	// that a peer which is slow now and then does not cost a write to the disk each time.
	unsyncedRest = time.Minute
)

// unsynced is the durable list of the members of whose hints some may be in memory of the host
// only. After the host has crashed nothing else tells of a hint that was lost: the end of a
// segment is cut like one that was never written, and the first segment of a member may be
// missing as a whole. So a member is on the list before its first hint counts as kept, and
// off it when all are delivered. Safe for concurrent use.
//
// Nil is a list that nobody needs: each hint is synced, or a crash of the host cannot be told
// from one of the process.
type unsynced struct {
	dir, boot string
	logger    *slog.Logger

	mu    sync.Mutex
	since map[string]time.Time // By member; when its first hint that was not delivered was received.
}

// unsyncedJSON is the content of the file.
type unsyncedJSON struct {
	Version int                  `json:"version"`
	BootID  string               `json:"boot_id"`
	Members map[string]time.Time `json:"members"`
}

// openUnsynced reads the list of the last process. What that left on another boot of the host
// becomes debts.
func openUnsynced(cfg Config, debts *debts, logger *slog.Logger) (*unsynced, error) {
	u := &unsynced{dir: cfg.Dir, boot: cfg.BootID, logger: logger, since: map[string]time.Time{}}
	path := filepath.Join(cfg.Dir, unsyncedFile)
	raw, err := os.ReadFile(path)
	var file unsyncedJSON
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the list of hints that may be lost: %w", err)
	default:
		if err := json.Unmarshal(raw, &file); err != nil || file.Version != unsyncedVersion {
			logger.Error("the list of hints that may be lost is damaged; members may miss writes without being refilled", "kept_as", path+".damaged", "err", err)
			if err := os.Rename(path, path+".damaged"); err != nil {
				return nil, err
			}
		}
	}
	if len(file.Members) > 0 && cfg.BootID != "" && file.BootID != cfg.BootID {
		for _, member := range slices.Sorted(maps.Keys(file.Members)) {
			logger.Warn("the host stopped while hints were not on disk; the member will be refilled", "member", member, "since", file.Members[member])
			debts.add(member, file.Members[member], cfg.Now(), dropCrash)
		}
		file.Members = nil
	}
	if cfg.Sync || cfg.BootID == "" {
		return nil, nil //nolint:nilnil // Nil is a list, too.
	}
	maps.Copy(u.since, file.Members)
	return u, u.save()
}

// cover returns when the list has the member, whose hint was received at a time.
func (u *unsynced) cover(member string, at time.Time) error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.since[member]; known {
		return nil
	}
	u.since[member] = at
	if err := u.save(); err != nil {
		delete(u.since, member)
		return fmt.Errorf("note that hints are not synced: %w", err)
	}
	return nil
}

// delivered takes a member off the list, all whose hints are sent. The caller keeps others from
// appending one.
func (u *unsynced) delivered(member string, now time.Time) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	since, known := u.since[member]
	if !known || now.Sub(since) < unsyncedRest {
		return
	}
	delete(u.since, member)
	if err := u.save(); err != nil {
		u.since[member] = since
		u.logger.Warn("cannot note that all hints are delivered", "member", member, "err", err)
	}
}

// clear empties the list: all hints are synced.
func (u *unsynced) clear() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.since)
	return u.save()
}

// save writes the file; mu is held, or nobody else knows the list.
func (u *unsynced) save() error {
	raw, err := json.MarshalIndent(unsyncedJSON{unsyncedVersion, u.boot, u.since}, "", "\t")
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(u.dir, unsyncedFile), append(raw, '\n'))
}
