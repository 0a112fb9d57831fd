// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/compression"
	"github.com/stretchr/testify/require"
)

// These tests fill a real, small disk under a writer in a process of its own,
// free it, let the writer go on, and kill it. What it was told is stored must be
// there. The first one shows on the bare TSDB what the store is built against.

const (
	diskBytes = 16 << 20
	// roomBytes is what is left when the disk "fills up".
	roomBytes = 256 << 10
	// oldBy puts samples inside the out-of-order window.
	oldBy = int64(time.Hour / time.Millisecond)

	writerEnv    = "PENSTOCK_TEST_WRITER"
	writerDirEnv = "PENSTOCK_TEST_WRITER_DIR"
)

// baseTime is the time of the first commit; any will do.
const baseTime = int64(1_700_000_000_000)

func TestRawTSDBLosesAcknowledgedSamples(t *testing.T) {
	dir := smallDisk(t)
	acked := runWriter(t, "raw", dir)

	db, err := tsdb.Open(filepath.Join(dir, "db"), quiet(testLogger()), nil, rawOptions(), nil)
	require.NoError(t, err)
	defer db.Close()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer q.Close()

	lost := missing(acked, readAll(t, q))
	t.Logf("acknowledged %d samples, lost %d", len(acked), lost)
	require.Positive(t, lost, "the TSDB loses nothing any more after a full disk: upstream has mended it, "+
		"so see whether the fail-stop is still needed")
}

func TestStoreLosesNothingOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	acked := runWriter(t, "store", dir)

	s := testStore(t, Config{Dir: filepath.Join(dir, "db")})
	lost := missing(acked, samples(t, s, "tenant"))
	t.Logf("acknowledged %d samples, lost %d", len(acked), lost)
	require.Zero(t, lost)
}

// TestCommitSeesFailedWBL gives the WBL a disk of its own and fills it: the
// TSDB's Commit goes on returning nil, the store's must not.
func TestCommitSeesFailedWBL(t *testing.T) {
	dir := t.TempDir()
	wbl := filepath.Join(dir, "tenant", "wbl")
	require.NoError(t, os.MkdirAll(wbl, 0o700))
	mountDisk(t, wbl, 1<<20)
	s := testStore(t, Config{Dir: dir})

	w := &writer{dir: wbl}
	free, err := w.fill()
	require.NoError(t, err)
	old := make([]labels.Labels, 500)
	for i := range old {
		old[i] = named(fmt.Sprintf("series_%d", i))
	}
	require.NoError(t, write(s, "tenant", baseTime, 1, old...))
	acked := int64(0)
	for {
		if err = write(s, "tenant", baseTime-oldBy+acked, float64(acked), old...); err != nil {
			break
		}
		acked++
		require.Less(t, acked, int64(1000), "commits succeed although the WBL has no room")
	}
	require.ErrorIs(t, err, ErrReopening)
	require.ErrorIs(t, write(s, "tenant", baseTime+1, 2, old...), ErrReopening, "acknowledged after a failure")

	require.NoError(t, free())
	require.NoError(t, s.mendAll(t.Context()))
	require.NoError(t, write(s, "tenant", baseTime+1, 2, old...))
	found := samples(t, s, "tenant")
	for _, ls := range old {
		for n := range acked {
			require.Contains(t, found[ls.String()], baseTime-oldBy+n)
		}
	}
}

// ackedSample is a sample whose Commit returned nil.
type ackedSample struct {
	series string
	ts     int64
	value  float64
}

func missing(acked []ackedSample, found map[string]map[int64]float64) (lost int) {
	for _, a := range acked {
		if v, ok := found[a.series][a.ts]; !ok || v != a.value {
			lost++
		}
	}
	return lost
}

// smallDisk mounts a tmpfs for the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mountDisk(t, dir, diskBytes)
	return dir
}

func mountDisk(t *testing.T, dir string, bytes int64) {
	t.Helper()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skip("needs the right to mount a tmpfs (root), to fill a disk of its own")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
}

// runWriter runs TestWriterProcess in a process of its own, kills it when it says
// that it is done, and returns what was acknowledged to it.
func runWriter(t *testing.T, kind, dir string) []ackedSample {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestWriterProcess$")
	cmd.Env = append(os.Environ(), writerEnv+"="+kind, writerDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())

	var acked []ackedSample
	done := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "done ") {
			t.Log(lines.Text())
			done = true
			break
		}
		series, rest, _ := strings.Cut(lines.Text(), " ")
		var a ackedSample
		if n, _ := fmt.Sscanf(rest, "%d %g", &a.ts, &a.value); n == 2 {
			a.series = series
			acked = append(acked, a)
		}
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGKILL))
	require.Error(t, cmd.Wait(), "the writer was to be killed")
	require.True(t, done, "the writer ended before it was done")
	return acked
}

// TestWriterProcess is the writer; it does nothing in the test run itself.
func TestWriterProcess(t *testing.T) {
	w := &writer{dir: os.Getenv(writerDirEnv), out: bufio.NewWriter(os.Stdout)}
	var err error
	switch os.Getenv(writerEnv) {
	case "":
		t.Skip("runs as the child of other tests")
	case "raw":
		err = w.raw()
	case "store":
		err = w.store()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "writer:", err)
		os.Exit(1)
	}
	fmt.Fprintf(w.out, "done failures=%d reopens=%d\n", w.failures.Load(), w.reopens)
	_ = w.out.Flush() // The parent sees it, or fails.
	select {}         // Until killed.
}

// writer commits and tells on out what was acknowledged.
type writer struct {
	dir      string
	failures atomic.Int64
	reopens  uint64

	mu  sync.Mutex
	out *bufio.Writer
}

func rawOptions() *tsdb.Options {
	opts := tsdb.DefaultOptions()
	opts.WALCompression = compression.Snappy
	opts.OutOfOrderTimeWindow = (2 * time.Hour).Milliseconds()
	return opts
}

// batch is one commit: in-order samples for some series, and, from the second
// on, one for the first series that is an hour older than its newest.
func (w *writer) batch(app storage.AppenderV2, worker, n int) ([]ackedSample, error) {
	rnd := rand.New(rand.NewPCG(uint64(worker), uint64(n)))
	now := baseTime + int64(n)*10
	var batch []ackedSample
	add := func(i int, ts int64) error {
		ls := labels.FromStrings(model.MetricNameLabel, fmt.Sprintf("series_%d_%d", worker, i))
		a := ackedSample{series: ls.String(), ts: ts, value: rnd.Float64()} // Random, so that it does not compress.
		batch = append(batch, a)
		_, err := app.Append(0, ls, 0, a.ts, a.value, nil, nil, storage.AOptions{})
		return err
	}
	for i := range 40 {
		if err := add(i, now); err != nil {
			return nil, errors.Join(err, app.Rollback())
		}
	}
	if n > 0 {
		if err := add(0, now-oldBy); err != nil {
			return nil, errors.Join(err, app.Rollback())
		}
	}
	if err := app.Commit(); err != nil {
		return nil, err
	}
	return batch, nil
}

func (w *writer) report(batch []ackedSample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range batch {
		fmt.Fprintln(w.out, a.series, a.ts, a.value)
	}
}

// fill leaves roomBytes on the disk; the returned function frees it again.
func (w *writer) fill() (free func() error, err error) {
	room, err := freeBytes(w.dir)
	if err != nil {
		return nil, err
	}
	ballast := filepath.Join(w.dir, "ballast")
	return func() error { return os.Remove(ballast) }, os.WriteFile(ballast, make([]byte, room-roomBytes), 0o600)
}

// raw is a writer that goes on as soon as commits succeed again.
func (w *writer) raw() error {
	db, err := tsdb.Open(filepath.Join(w.dir, "db"), quiet(testLogger()), nil, rawOptions(), nil)
	if err != nil {
		return err
	}
	free, err := w.fill()
	if err != nil {
		return err
	}
	n := 0
	for ; w.failures.Load() < 200; n++ {
		if batch, err := w.batch(db.AppenderV2(context.Background()), 0, n); err != nil {
			w.failures.Add(1)
		} else {
			w.report(batch)
		}
	}
	if err := free(); err != nil {
		return err
	}
	for end := n + 200; n < end; n++ {
		batch, err := w.batch(db.AppenderV2(context.Background()), 0, n)
		if err != nil {
			return fmt.Errorf("commit after the disk was freed: %w", err)
		}
		w.report(batch)
	}
	return nil
}

const (
	storeWriters = 8
	// commitsAfter is how many each writer commits once the disk was freed.
	commitsAfter = 100
)

// store is eight writers at once on a Store. It does not see the disk filling up,
// as it would not if another process filled it between two looks; from the first
// failure on it does.
func (w *writer) store() error {
	s, err := Open(Config{
		Dir:          filepath.Join(w.dir, "db"),
		MinFreeBytes: 4 << 20,
		freeBytes: func(dir string) (int64, error) {
			if w.failures.Load() == 0 {
				return math.MaxInt64, nil
			}
			return freeBytes(dir)
		},
	}, testLogger(), nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if err := s.Replay(ctx); err != nil {
		return err
	}
	go func() { _ = s.Run(ctx) }() // Until killed.

	free, err := w.fill()
	if err != nil {
		return err
	}
	var freed atomic.Bool
	errs := make(chan error, storeWriters)
	for worker := range storeWriters {
		go func() { errs <- w.storeWriter(s, worker, &freed) }()
	}
	for w.failures.Load() < 50 {
		time.Sleep(time.Millisecond)
	}
	if err := free(); err != nil {
		return err
	}
	freed.Store(true)
	for range storeWriters {
		if err := <-errs; err != nil {
			return err
		}
	}
	w.reopens = s.generations.Load() - 1
	if w.reopens == 0 {
		return errors.New("nothing was reopened, so the test showed nothing")
	}
	return nil
}

func (w *writer) storeWriter(s *Store, worker int, freed *atomic.Bool) error {
	for n, after := 0, 0; after < commitsAfter; n++ {
		app, err := s.AppenderV2(context.Background(), "tenant")
		if err == nil {
			var batch []ackedSample
			if batch, err = w.batch(app, worker, n); err == nil {
				w.report(batch)
				if freed.Load() {
					after++
				}
				continue
			}
		}
		w.failures.Add(1)
		if !errors.Is(err, ErrReopening) && !errors.Is(err, ErrDiskLow) && !errors.Is(err, ErrNotReady) {
			return fmt.Errorf("commit: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}
