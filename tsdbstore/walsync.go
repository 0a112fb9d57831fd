// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
)

// groupSync makes what was written to a TSDB's write logs durable, one sync for
// all commits that wait for it. The TSDB has no such call of its own, but a
// sync of a file covers what any descriptor wrote to it.
//
// Safe for concurrent use.
type groupSync struct {
	dirs []string
	// syncPath syncs a file or a directory; replaced in tests.
	syncPath func(path string) error

	mu   sync.Mutex
	next *syncRound // the round that new waiters join; nil: none is waiting

	running sync.Mutex
	synced  map[string]int // by directory: the newest segment already synced once
}

// syncRound is one sync and those who wait for it.
type syncRound struct {
	done    chan struct{}
	err     error
	waiters int
}

func newGroupSync(dirs ...string) *groupSync {
	return &groupSync{dirs: dirs, syncPath: syncPath, synced: make(map[string]int)}
}

// wait returns when everything written before the call is durable.
func (g *groupSync) wait() error {
	g.mu.Lock()
	if round := g.next; round != nil {
		// Not begun, so it will cover what this caller wrote.
		round.waiters++
		g.mu.Unlock()
		<-round.done
		return round.err
	}
	round := &syncRound{done: make(chan struct{}), waiters: 1}
	g.next = round
	g.mu.Unlock()

	g.running.Lock() // The round before this one.
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	round.err = g.sync()
	g.running.Unlock()
	close(round.done)
	return round.err
}

func (g *groupSync) sync() error {
	for _, dir := range g.dirs {
		if err := g.syncDir(dir); err != nil {
			return fmt.Errorf("sync write log %s: %w", dir, err)
		}
	}
	return nil
}

// syncDir syncs the segment last synced and all newer ones: the log may have
// gone on to a new one since.
func (g *groupSync) syncDir(dir string) error {
	segments, err := segments(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // No out-of-order window, no WBL.
	}
	if err != nil {
		return err
	}
	last, ok := g.synced[dir]
	if !ok {
		last = -1
	}
	for _, n := range segments {
		if n < last {
			continue
		}
		err := g.syncPath(segmentPath(dir, n))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // Truncated meanwhile.
			return err
		}
		if n > last {
			// The name of a new segment must be durable as well.
			if err := g.syncPath(dir); err != nil {
				return err
			}
			g.synced[dir] = n
		}
	}
	return nil
}

// segments lists the numbers of the segments in a write log's directory, ascending.
func segments(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir) // Sorted; names have a fixed width.
	if err != nil {
		return nil, err
	}
	var found []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil && !entry.IsDir() {
			found = append(found, n)
		}
	}
	return found, nil
}

// syncPath syncs a file or a directory.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
