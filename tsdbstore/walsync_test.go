// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// syncCounter counts syncs of files, and can hold and fail them.
type syncCounter struct {
	files atomic.Int64
	held  chan struct{} // nil: not held
	began chan struct{}
	err   error
}

func (c *syncCounter) sync(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		c.files.Add(1)
	}
	if c.held != nil {
		select {
		case c.began <- struct{}{}:
		default:
		}
		<-c.held
	}
	return errors.Join(c.err, syncPath(path))
}

// TestCommitsShareASync: whoever comes while a sync is under way waits for the next
// one, together, and not for the one that may have begun before its write.
func TestCommitsShareASync(t *testing.T) {
	const waiters = 20
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(segmentPath(dir, 0), []byte("x"), 0o600))
	c := &syncCounter{held: make(chan struct{}), began: make(chan struct{}, 1)}
	g := newGroupSync(dir)
	g.syncPath = c.sync
	var wg sync.WaitGroup
	var failed atomic.Int64
	wait := func() {
		if g.wait() != nil {
			failed.Add(1)
		}
	}
	wg.Go(wait)
	<-c.began // The first sync is under way.
	for range waiters {
		wg.Go(wait)
	}
	// The round they wait for cannot begin before the first is over, so all that
	// matters is that they are in it.
	require.Eventually(t, func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.next != nil && g.next.waiters == waiters
	}, time.Minute, time.Millisecond)
	close(c.held)
	wg.Wait()
	require.Zero(t, failed.Load())
	require.Equal(t, int64(2), c.files.Load())
}

// TestCommitModeSyncsBeforeTheAck: both logs, at each commit, and a sync that fails is
// no acknowledgement and a reopen, because what the disk has is not known then.
func TestCommitModeSyncsBeforeTheAck(t *testing.T) {
	s := testStore(t, Config{WALSync: WALSyncCommit})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	c := &syncCounter{}
	inst := s.find("a").inst.Load()
	inst.sync.syncPath = c.sync
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
	require.Equal(t, int64(2), c.files.Load(), "one of the WAL, one of the WBL")
	c.err = errors.New("the disk is gone")
	require.ErrorIs(t, write(s, "a", 3000, 1, named("up")), ErrReopening)
	require.ErrorIs(t, write(s, "a", 3000, 1, named("up")), ErrReopening)
	require.NoError(t, s.mendAll(t.Context()))
	require.NoError(t, write(s, "a", 3000, 1, named("up")))
	require.Len(t, samples(t, s, "a")[named("up").String()], 3)
	require.Empty(t, s.Losses())

	none := testStore(t, Config{})
	require.NoError(t, write(none, "a", 1000, 1, named("up")))
	require.Nil(t, none.find("a").inst.Load().sync)
}

// TestSyncCoversNewSegments: the log went on to a new segment between two syncs.
func TestSyncCoversNewSegments(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	g := newGroupSync(dir, filepath.Join(dir, "none"))
	g.syncPath = func(path string) error {
		synced = append(synced, strings.TrimPrefix(path, dir))
		return nil
	}
	for n := range 4 {
		require.NoError(t, os.WriteFile(segmentPath(dir, n), nil, 0o600))
		if n == 1 {
			require.NoError(t, g.wait())
		}
	}
	synced = nil
	require.NoError(t, g.wait())
	require.Equal(t, []string{"/00000001", "/00000002", "", "/00000003", ""}, synced)
}
