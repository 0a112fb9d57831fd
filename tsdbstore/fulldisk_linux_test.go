// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// These tests fill a disk at one place at a time under eight writers. The mark for low
// space is off, as if another process were faster than any look at the disk.

// committers write from eight goroutines until they are stopped.
type committers struct {
	t      *testing.T
	s      *Store
	writer writer
	stop   atomic.Bool
	refuse atomic.Int64
	wg     sync.WaitGroup

	mu    sync.Mutex
	acked []ackedSample
}

func startCommitters(t *testing.T, s *Store) *committers {
	c := &committers{t: t, s: s}
	for worker := range storeWriters {
		c.wg.Go(func() { c.run(worker) })
	}
	t.Cleanup(func() { c.done() })
	return c
}

func (c *committers) run(worker int) {
	for n := 0; !c.stop.Load(); n++ {
		var batch []ackedSample
		app, err := c.s.AppenderV2(context.Background(), "tenant")
		if err == nil {
			batch, err = c.writer.batch(app, worker, n)
		}
		if err == nil {
			c.mu.Lock()
			c.acked = append(c.acked, batch...)
			c.mu.Unlock()
			time.Sleep(5 * time.Millisecond) // The disk is to be filled by the test, not by these.
			continue
		}
		c.refuse.Add(1)
		var unavailable interface{ Unavailable() string }
		var rejected interface{ Rejected() bool }
		if !errors.As(err, &unavailable) || errors.As(err, &rejected) {
			c.t.Errorf("not an error of the kind unavailable: %v", err)
			return
		}
		time.Sleep(time.Millisecond) // As a sender that backs off.
	}
}

// count is how many samples were acknowledged.
func (c *committers) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// grow waits until more was acknowledged.
func (c *committers) grow() {
	from := c.count()
	require.Eventually(c.t, func() bool { return c.count() > from+1000 }, time.Minute, time.Millisecond)
}

func (c *committers) done() []ackedSample {
	c.stop.Store(true)
	c.wg.Wait()
	return c.acked
}

// fillUp leaves nothing on the file system of a directory.
func fillUp(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	for size := 1 << 20; size >= 1; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() { require.NoError(t, os.Remove(path)) }
}

func runStore(t *testing.T, s *Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// diskStore is a store in which one path below the tenant, or all, is a small disk.
func diskStore(t *testing.T, small string, bytes int64) (s *Store, disk string) {
	t.Helper()
	dir := t.TempDir()
	disk = dir
	if small != "" {
		disk = filepath.Join(dir, "tenant", small)
		require.NoError(t, os.MkdirAll(disk, 0o700))
	}
	mountDisk(t, disk, bytes)
	return testStore(t, Config{Dir: dir, blockSegmentBytes: 1 << 20}), disk
}

func TestFullDisk(t *testing.T) {
	for name, small := range map[string]string{"all": "", "WAL": "wal", "WBL": "wbl"} {
		t.Run(name, func(t *testing.T) {
			s, disk := diskStore(t, small, 64<<20)
			runStore(t, s)
			c := startCommitters(t, s)
			c.grow()
			for range 2 {
				free := fillUp(t, disk)
				from := c.refuse.Load()
				require.Eventually(t, func() bool { return c.refuse.Load() > from+20 }, time.Minute, time.Millisecond)
				free()
				c.grow()
			}
			acked := c.done()
			require.Positive(t, testutil.ToFloat64(s.metrics.walFailures))
			require.Zero(t, missing(acked, samples(t, s, "tenant")))
			again := testStore(t, Config{Dir: killed(t, s)})
			require.Zero(t, missing(acked, samples(t, again, "tenant")), "of %d, after a kill", len(acked))
		})
	}
}

// TestFullDiskAtHeadChunks: the TSDB panics with its locks held. The process is to end,
// and the next one has everything.
func TestFullDiskAtHeadChunks(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, s *Store) error{
		// Full chunks are written out now and then.
		"in the background": func(t *testing.T, s *Store) error {
			return s.find("tenant").tend(t.Context())
		},
		// Those of late samples while these are committed.
		"in a commit": func(t *testing.T, s *Store) error {
			for ts := range int64(300) {
				if err := write(s, "tenant", baseTime-oldBy+ts, 2, named("up")); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, disk := diskStore(t, "chunks_head", 1<<20)
			for ts := range int64(300) {
				require.NoError(t, write(s, "tenant", baseTime+ts, 1, named("up")))
			}
			fillUp(t, disk)
			require.ErrorIs(t, meet(t, s), errWedged)
			require.ErrorIs(t, s.Run(t.Context()), errWedged)
			require.ErrorIs(t, write(s, "tenant", baseTime+1000, 1, named("up")), ErrReopening)
			again := testStore(t, Config{Dir: killed(t, s)})
			found := samples(t, again, "tenant")[named("up").String()]
			for ts := range int64(300) {
				require.Equal(t, 1.0, found[baseTime+ts])
			}
			require.Empty(t, again.Losses())
		})
	}
}

// TestFullDiskAtCut: a block that does not fit is not there, and the head stays.
func TestFullDiskAtCut(t *testing.T) {
	s, disk := diskStore(t, "", 64<<20)
	c := startCommitters(t, s)
	c.grow()
	acked := c.done()
	free := fillUp(t, disk)
	require.Error(t, s.FlushHead(t.Context(), "tenant"))
	require.Zero(t, missing(acked, samples(t, s, "tenant")))
	require.Positive(t, testutil.ToFloat64(s.metrics.cutFailures))
	free()
	require.NoError(t, s.mendAll(t.Context()))
	require.NoError(t, s.FlushHead(t.Context(), "tenant"))
	require.NotEmpty(t, s.Blocks("tenant"))
	require.Zero(t, missing(acked, samples(t, s, "tenant")))
	again := testStore(t, Config{Dir: killed(t, s)})
	require.Zero(t, missing(acked, samples(t, again, "tenant")))
	require.Empty(t, again.Losses())
}

// TestFullDiskAtClose: without a snapshot the next start replays the logs.
func TestFullDiskAtClose(t *testing.T) {
	s, disk := diskStore(t, "", 64<<20)
	c := startCommitters(t, s)
	c.grow()
	acked := c.done()
	free := fillUp(t, disk)
	require.Error(t, s.Close())
	free()
	s = testStore(t, Config{Dir: s.cfg.Dir})
	require.Zero(t, missing(acked, samples(t, s, "tenant")))
	require.Empty(t, s.Losses())
}

func TestFullDiskAtAddBlock(t *testing.T) {
	s, disk := diskStore(t, "", 64<<20)
	require.NoError(t, write(s, "tenant", baseTime, 1, named("up")))
	dir := makeBlock(t, s, nil, 7, named("refill"), baseTime)
	free := fillUp(t, disk)
	err := s.AddBlock(t.Context(), "tenant", dir)
	t.Logf("on a full disk: %v", err)
	free()
	require.NoError(t, s.mendAll(t.Context()))
	require.NoError(t, s.AddBlock(t.Context(), "tenant", dir))
	want := samples(t, s, "tenant")
	require.Len(t, want, 2)
	require.Equal(t, want, samples(t, testStore(t, Config{Dir: killed(t, s)}), "tenant"))
}

// TestFullDiskAtLoss: a loss that cannot be written is not taken for written.
func TestFullDiskAtLoss(t *testing.T) {
	s, disk := diskStore(t, "", 64<<20)
	free := fillUp(t, disk)
	_, err := s.AddLoss(Loss{Tenant: "a", MinTime: 1, MaxTime: 2, Reason: "test"})
	require.Error(t, err)
	require.Empty(t, s.Losses())
	free()
	_, err = s.AddLoss(Loss{Tenant: "a", MinTime: 1, MaxTime: 2, Reason: "test"})
	require.NoError(t, err)
	require.Len(t, testStore(t, Config{Dir: killed(t, s)}).Losses(), 1)
}

// TestLowWaterMark: writes are refused before any write log fails, and reads go on.
func TestLowWaterMark(t *testing.T) {
	dir := t.TempDir()
	mountDisk(t, dir, 64<<20)
	const mark = 8 << 20
	s := testStore(t, Config{Dir: dir, MinFreeBytes: mark})
	runStore(t, s)
	c := startCommitters(t, s)
	c.grow()
	ballast := filepath.Join(dir, "ballast")
	room, err := freeBytes(dir)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ballast, make([]byte, room-mark+1), 0o600))
	require.Eventually(t, func() bool { return c.refuse.Load() > 20 }, time.Minute, time.Millisecond)
	err = write(s, "tenant", baseTime, 1, named("up"))
	require.ErrorIs(t, err, ErrDiskLow)
	require.Contains(t, err.Error(), fmt.Sprintf("needs %d MiB", mark>>20))
	require.NotEmpty(t, samples(t, s, "tenant"), "reads go on")
	require.NoError(t, os.Remove(ballast))
	c.grow()
	acked := c.done()
	require.Zero(t, testutil.ToFloat64(s.metrics.walFailures), "refused before anything failed")
	require.Zero(t, missing(acked, samples(t, s, "tenant")))
}
