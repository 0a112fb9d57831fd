// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/ingest/hint"
)

var errNoSpace = errors.New("no space left on device")

// hints is the real hint log with crash points around it, on a disk that can be full.
type hints struct {
	p   *process
	log *hint.Log
	off bool // In a mutation: hints are accepted and dropped.

	// turn is held by one append at a time. It is not a mutex: whoever waits for one
	// keeps the virtual clock from going on.
	turn chan struct{}
}

// Append implements ingest.HintLog. Appends go one by one, so that one which dies in the
// middle is the last.
func (h *hints) Append(member string, payload []byte) error {
	if err := h.p.reach("hint.before"); err != nil {
		return err
	}
	if h.off {
		return nil
	}
	h.turn <- struct{}{}
	defer func() { <-h.turn }()
	if err := h.p.gate(); err != nil {
		return err
	}
	if err := h.log.Append(member, payload); err != nil {
		h.p.w.events.add("%s cannot keep a hint for %s: %v", h.p.host.name, member, err)
		return err
	}
	if err := h.p.reach("hint.torn"); err != nil {
		tear(filepath.Join(h.p.disk.hintDir, member), len(payload), h.p.w.plan.seed.rand("tear", payload).IntN(len(payload))+1)
		return err
	}
	h.p.w.events.detail("  %s keeps a hint of %d bytes for %s", h.p.addr, len(payload), member)
	return h.p.reach("hint.after")
}

// NoteShort implements ingest.HintLog.
func (h *hints) NoteShort(members string) {
	if !h.p.w.safety.debtsOff && h.p.gate() == nil {
		h.log.NoteShort(members)
	}
}

// room is hint.Config.Room: the low-water mark, below which there is still place for a debt.
func (h *hints) room() error {
	h.p.disk.mu.Lock()
	defer h.p.disk.mu.Unlock()
	if h.p.disk.failing {
		return errNoSpace
	}
	return nil
}

// Pending implements ingest.HintLog.
func (h *hints) Pending() map[string]hint.Stats { return h.log.Pending() }

// Replay implements ingest.HintReplayer.
func (h *hints) Replay(ctx context.Context, member string, send func(context.Context, []byte) error) (int, error) {
	return h.log.Replay(ctx, member, func(ctx context.Context, payload []byte) error {
		if err := h.p.reach("replay.before"); err != nil {
			return err
		}
		if err := send(ctx, payload); err != nil {
			h.p.w.events.detail("  %s cannot give a hint to %s: %v", h.p.addr, member, err)
			return err
		}
		h.p.w.events.detail("  %s gave a hint of %d bytes to %s", h.p.addr, len(payload), member)
		return h.p.reach("replay.after")
	})
}

// closeKilled closes the files of a hint log as the end of its process does, without what Close notes
// beyond that.
func closeKilled(log *hint.Log, dir string) {
	const note = "unsynced.json"
	before, err := os.ReadFile(filepath.Join(dir, note))
	_ = log.Close() // Its errors have no reader.
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, note), before, 0o600)
	}
	if err != nil && !os.IsNotExist(err) {
		panic(err)
	}
}

// tear takes some bytes off the newest segment of a member, whose last record nobody was
// promised.
func tear(dir string, payload, by int) {
	files := segments(dir)
	if len(files) == 0 {
		return
	}
	last := files[len(files)-1]
	info, err := os.Stat(last)
	if err == nil && info.Size() > int64(payload) {
		err = os.Truncate(last, info.Size()-int64(by))
	}
	if err != nil {
		panic(err)
	}
}

// segments lists the files of a hint log.
func segments(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".hint") {
			files = append(files, path)
		}
		return nil
	})
	slices.Sort(files)
	return files
}

// forgetPositions is a crash before the note of how far a replay came was written.
func forgetPositions(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == "position.json" {
			_ = os.Remove(path)
		}
		return nil
	})
}
