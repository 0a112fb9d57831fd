// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// TestFullDisk fills a disk of its own under eight writers, frees it, and fills it
// again: what was kept is replayed whole and in order, what was not is counted.
func TestFullDisk(t *testing.T) {
	for name, sync := range map[string]bool{"written": false, "synced": true} {
		t.Run(name, func(t *testing.T) { testFullDisk(t, sync) })
	}
}

func testFullDisk(t *testing.T, withSync bool) {
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4194304")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("needs the right to mount a tmpfs (root), to fill a disk of its own")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	l := openLog(t, Config{Dir: filepath.Join(dir, "hints"), Sync: withSync})

	const writers = 8
	var (
		next, failed atomic.Int64
		mu           sync.Mutex
		kept         = make(map[uint64]bool)
	)
	// appendUntil lets all writers append until enough of one kind happened.
	appendUntil := func(count *atomic.Int64, more int64) {
		until := count.Load() + more
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for count.Load() < until {
					n := uint64(next.Add(1))
					payload := append(binary.BigEndian.AppendUint64(nil, n), bytes.Repeat([]byte{byte(n)}, int(n%3000))...)
					if err := l.Append("m1", payload); err != nil {
						failed.Add(1)
						continue
					}
					mu.Lock()
					kept[n] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
	}
	appendUntil(&next, 100)
	for range 3 {
		ballast := filepath.Join(dir, "ballast")
		require.Error(t, os.WriteFile(ballast, make([]byte, 8<<20), 0o600))
		appendUntil(&failed, 100)
		require.NoError(t, os.Remove(ballast))
		appendUntil(&next, 100)
	}
	require.Equal(t, float64(failed.Load()), testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropWriteError)))
	require.Equal(t, len(kept), l.Pending()["m1"].Records)

	// A full disk is no reason not to replay.
	require.Error(t, os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 8<<20), 0o600))
	got := make(map[uint64]bool)
	stop := errors.New("stop")
	send := func(after int) func(context.Context, []byte) error {
		return func(_ context.Context, payload []byte) error {
			if len(got) == after {
				return stop
			}
			n := binary.BigEndian.Uint64(payload)
			require.False(t, got[n], "sent twice")
			require.Equal(t, bytes.Repeat([]byte{byte(n)}, int(n%3000)), payload[8:])
			got[n] = true
			return nil
		}
	}
	_, err = l.Replay(t.Context(), "m1", send(20))
	require.ErrorIs(t, err, stop)
	_, err = l.Replay(t.Context(), "m1", send(-1))
	require.NoError(t, err)
	require.Equal(t, kept, got)
	require.Zero(t, testutil.ToFloat64(l.metrics.torn.WithLabelValues("m1")))
	require.Zero(t, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropCorrupt)))
	require.Empty(t, l.Pending())
}

// TestNoRoomIsCounted: hints stop before they take what others need to finish.
func TestNoRoomIsCounted(t *testing.T) {
	full := errors.New("the disk is low")
	var err error
	l := openLog(t, Config{Dir: t.TempDir(), Room: func() error { return err }})
	appendAll(t, l, "m1", "a")
	err = full
	require.ErrorIs(t, l.Append("m1", []byte("b")), full)
	require.Equal(t, 1.0, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropDisk)))
	err = nil
	appendAll(t, l, "m1", "c")
	require.Equal(t, 2, l.Pending()["m1"].Records)
}
