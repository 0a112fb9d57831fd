// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package hint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func openLog(t *testing.T, cfg Config) *Log {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	l, err := Open(cfg, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// sink takes hints, and refuses from the n-th on.
type sink struct {
	got   []string
	after int // 0: never refuses.
}

var errDown = errors.New("peer is down")

func (s *sink) send(_ context.Context, payload []byte) error {
	if s.after > 0 && len(s.got) >= s.after {
		return errDown
	}
	s.got = append(s.got, string(payload))
	return nil
}

func appendAll(t *testing.T, l *Log, member string, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		require.NoError(t, l.Append(member, []byte(p)))
	}
}

func segmentFiles(t *testing.T, l *Log, member string) []string {
	t.Helper()
	dir, err := dirName(member)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(l.cfg.Dir, dir, "*"+segmentSuffix))
	require.NoError(t, err)
	return files
}

func TestReplayIsInOrderAndFreesTheDisk(t *testing.T) {
	clk := &clock{time.UnixMilli(1_000_000)}
	l := openLog(t, Config{Now: clk.Now})
	appendAll(t, l, "m1", "a", "bb", "ccc")
	appendAll(t, l, "m2", "x")
	require.Equal(t, map[string]Stats{
		"m1": {Records: 3, Bytes: 3*recordOverhead + 6, Oldest: clk.now},
		"m2": {Records: 1, Bytes: recordOverhead + 1, Oldest: clk.now},
	}, l.Pending())

	var s sink
	n, err := l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	require.Equal(t, []string{"a", "bb", "ccc"}, s.got)
	require.NotContains(t, l.Pending(), "m1")
	require.Empty(t, segmentFiles(t, l, "m1"))
	require.EqualValues(t, headerBytes+recordOverhead+1, l.used.Load())

	n, err = l.Replay(t.Context(), "nobody", s.send)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, 3.0, testutil.ToFloat64(l.metrics.appended.WithLabelValues("m1")))
	require.Equal(t, 3.0, testutil.ToFloat64(l.metrics.replayed.WithLabelValues("m1")))
}

func TestReplayResumesWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	appendAll(t, l, "m1", "a", "b", "c", "d")
	s := sink{after: 2}
	n, err := l.Replay(t.Context(), "m1", s.send)
	require.ErrorIs(t, err, errDown)
	require.ErrorContains(t, err, `member "m1"`)
	require.Equal(t, 2, n)
	require.Equal(t, 2, l.Pending()["m1"].Records)
	appendAll(t, l, "m1", "e")

	// In the same process.
	s.after = 3
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.ErrorIs(t, err, errDown)
	require.Equal(t, []string{"a", "b", "c"}, s.got)

	// And in the next.
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Append("m1", []byte("x")), ErrClosed)
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.ErrorIs(t, err, ErrClosed)
	l = openLog(t, Config{Dir: dir})
	require.Equal(t, 2, l.Pending()["m1"].Records)
	appendAll(t, l, "m1", "f")
	s.after = 0
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d", "e", "f"}, s.got)
	require.Empty(t, l.Pending())
}

// TestKillLosesNothing: every position file and every segment that a kill may
// leave gives each hint at least once, in order.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Config{Dir: dir})
	var want []string
	for i := range 2 * positionEvery {
		want = append(want, fmt.Sprint(i))
	}
	appendAll(t, l, "m1", want...)
	for _, stop := range []int{1, positionEvery - 1, positionEvery, positionEvery + 1, 2*positionEvery - 1} {
		t.Run(fmt.Sprint(stop), func(t *testing.T) {
			copied := t.TempDir()
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			running := openLog(t, Config{Dir: copied})
			after := t.TempDir()
			var got []string
			_, err := running.Replay(t.Context(), "m1", func(_ context.Context, p []byte) error {
				if len(got) == stop { // Killed here: nothing is written any more.
					require.NoError(t, os.CopyFS(after, os.DirFS(copied)))
					return errDown
				}
				got = append(got, string(p))
				return nil
			})
			require.ErrorIs(t, err, errDown)

			var rest sink
			_, err = openLog(t, Config{Dir: after}).Replay(t.Context(), "m1", rest.send)
			require.NoError(t, err)
			overlap := len(got) + len(rest.got) - len(want)
			require.GreaterOrEqual(t, overlap, 0, "lost")
			require.Less(t, overlap, positionEvery, "sent again")
			require.Equal(t, want, append(got[:len(got)-overlap], rest.got...))
		})
	}
}

func TestAppendGoesOnDuringReplay(t *testing.T) {
	l := openLog(t, Config{})
	appendAll(t, l, "m1", "a", "b")
	var got []string
	n, err := l.Replay(t.Context(), "m1", func(_ context.Context, p []byte) error {
		got = append(got, string(p))
		return l.Append("m1", []byte(strings.ToUpper(string(p))))
	})
	require.NoError(t, err)
	require.Equal(t, 2, n, "what came later is for the next replay")
	require.Equal(t, 2, l.Pending()["m1"].Records)
	var s sink
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, []string{"A", "B"}, s.got)
}

func TestConcurrentAppendsAndReplays(t *testing.T) {
	l := openLog(t, Config{})
	const writers, each = 4, 200
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := l.Append("m1", fmt.Appendf(nil, "%d %d", w, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	next := make([]int, writers)
	send := func(_ context.Context, p []byte) error {
		var w, i int
		if _, err := fmt.Sscanf(string(p), "%d %d", &w, &i); err != nil || next[w] != i {
			return fmt.Errorf("got %q, want %d", p, next[w])
		}
		next[w]++
		return nil
	}
	for done := false; !done; {
		select {
		case <-written:
			done = true
		default:
		}
		_, err := l.Replay(context.Background(), "m1", send)
		require.NoError(t, err)
	}
	require.Equal(t, []int{each, each, each, each}, next)
}

func TestBoundOnBytes(t *testing.T) {
	l := openLog(t, Config{MaxBytes: 1000})
	payload := bytes.Repeat([]byte("x"), 280)
	for range 3 {
		require.NoError(t, l.Append("m1", payload))
	}
	err := l.Append("m2", payload)
	require.ErrorIs(t, err, ErrFull, "the bound is for all members")
	require.Equal(t, 1.0, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m2", dropFull)))
	var s sink
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.NoError(t, l.Append("m2", payload))

	require.ErrorContains(t, l.Append("m2", nil), "0 bytes")
	require.ErrorContains(t, l.Append("", payload), "member name")
}

func TestBoundOnAge(t *testing.T) {
	clk := &clock{time.UnixMilli(1_000_000)}
	l := openLog(t, Config{MaxAge: time.Hour, MaxBytes: 200, Now: clk.Now})
	appendAll(t, l, "m1", "old")
	clk.now = clk.now.Add(30 * time.Minute)
	appendAll(t, l, "m1", "young")
	clk.now = clk.now.Add(30*time.Minute + 1*time.Millisecond)

	var s sink
	_, err := l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, []string{"young"}, s.got)
	require.Equal(t, 1.0, testutil.ToFloat64(l.metrics.expired.WithLabelValues("m1")))

	// Whole segments go when room is needed, even those of a member that is gone.
	appendAll(t, l, "gone", strings.Repeat("x", 100))
	clk.now = clk.now.Add(time.Hour + time.Millisecond)
	require.NoError(t, l.Append("m1", bytes.Repeat([]byte("y"), 100)))
	require.NotContains(t, l.Pending(), "gone")
	require.Equal(t, 1.0, testutil.ToFloat64(l.metrics.expired.WithLabelValues("gone")))
}

func TestSegmentsAreCut(t *testing.T) {
	l := openLog(t, Config{Sync: true})
	payload := make([]byte, segmentBytes)
	require.NoError(t, l.Append("m1", payload))
	require.NoError(t, l.Append("m1", []byte("next")))
	require.Len(t, segmentFiles(t, l, "m1"), 2)
	s := sink{after: 1}
	_, err := l.Replay(t.Context(), "m1", s.send)
	require.ErrorIs(t, err, errDown)
	require.Len(t, segmentFiles(t, l, "m1"), 1, "a segment goes when all of it is sent")
}

func TestReplayStopsWithItsContext(t *testing.T) {
	l := openLog(t, Config{})
	appendAll(t, l, "m1", "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	n, err := l.Replay(ctx, "m1", func(context.Context, []byte) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, n)
	require.Equal(t, 1, l.Pending()["m1"].Records)
}

func TestMemberNames(t *testing.T) {
	for _, name := range []string{"node-1", "node.example.com", "..", ".", "a/b", "a%2Fb", "ü", "A_b", "a b"} {
		dir, err := dirName(name)
		require.NoError(t, err)
		require.Equal(t, dir, filepath.Base(dir))
		require.NotEqual(t, byte('.'), dir[0])
		back, ok := memberName(dir)
		require.True(t, ok)
		require.Equal(t, name, back)
	}
	_, err := dirName(strings.Repeat("x", memberNameBytesMax+1))
	require.Error(t, err)
	for _, dir := range []string{".hidden", "a%2", "a%41", "a b"} {
		_, ok := memberName(dir)
		require.False(t, ok, dir)
	}
}

func TestOpenNamesCauseAndRemedy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(Config{Dir: filepath.Join(file, "hints")}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "cannot make hint directory")
	_, err = Open(Config{}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "no directory given")
	_, err = Open(Config{Dir: file, MaxAge: -1}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "negative")

	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m1"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m1", "0000000000000001.hint"), versionedHeader(2), 0o600))
	_, err = Open(Config{Dir: dir}, slog.New(slog.DiscardHandler), nil)
	require.ErrorContains(t, err, "version 2, this build reads 1")
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	clk := &clock{time.UnixMilli(5_000)}
	l, err := Open(Config{Dir: t.TempDir(), Now: clk.Now}, slog.New(slog.DiscardHandler), reg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	appendAll(t, l, "m1", "abc")
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP penstock_hint_oldest_timestamp_seconds When the oldest hint that waits for a member was written; absent when none waits.
# TYPE penstock_hint_oldest_timestamp_seconds gauge
penstock_hint_oldest_timestamp_seconds{member="m1"} 5
# HELP penstock_hint_pending_bytes Bytes of hints that wait for a member.
# TYPE penstock_hint_pending_bytes gauge
penstock_hint_pending_bytes{member="m1"} 23
# HELP penstock_hint_pending_records Hints that wait for a member.
# TYPE penstock_hint_pending_records gauge
penstock_hint_pending_records{member="m1"} 1
`), "penstock_hint_oldest_timestamp_seconds", "penstock_hint_pending_bytes", "penstock_hint_pending_records"))
}

// TestFailedAppendIsUndone has an active file that cannot be written.
func TestFailedAppendIsUndone(t *testing.T) {
	l := openLog(t, Config{})
	appendAll(t, l, "m1", "a")
	m := l.members["m1"]
	readOnly, err := os.Open(m.path(1))
	require.NoError(t, err)
	writable := m.active
	m.active = readOnly
	require.Error(t, l.Append("m1", []byte("b")))
	require.NoError(t, writable.Close())
	require.Equal(t, 1.0, testutil.ToFloat64(l.metrics.dropped.WithLabelValues("m1", dropWriteError)))
	require.EqualValues(t, headerBytes+recordOverhead+1, l.used.Load())

	appendAll(t, l, "m1", "c") // In a new segment.
	var s sink
	_, err = l.Replay(t.Context(), "m1", s.send)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, s.got)
	require.Zero(t, l.used.Load())
}

func readSegment(raw []byte) (records []record, err error) {
	r, err := newSegmentReader(bytes.NewReader(raw), int64(len(raw)))
	for err == nil {
		var rec record
		if rec, err = r.next(); err == nil {
			records = append(records, record{at: rec.at, payload: bytes.Clone(rec.payload)})
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return records, err
}
