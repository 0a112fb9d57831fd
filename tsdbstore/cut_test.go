// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

const minute = int64(time.Minute / time.Millisecond)

func TestCutMakesBlocksOfWholeRanges(t *testing.T) {
	s := testStore(t, Config{BlockDuration: time.Minute, Now: (&clock{time.UnixMilli(4 * minute)}).Now})
	for ts := int64(0); ts < 4*minute; ts += 10_000 {
		require.NoError(t, write(s, "a", ts, float64(ts), named("up")))
	}
	s.cutAll(t.Context())
	blocks := s.Blocks("a")
	require.Len(t, blocks, 3) // The newest sample is at 3m50s: a range and a half behind it stays in the head.
	for i, b := range blocks {
		require.Equal(t, int64(i)*minute, b.MinTime)
		require.Equal(t, int64(i+1)*minute, b.MaxTime)
		require.Equal(t, 1, b.Compaction.Level)
	}
	require.Len(t, samples(t, s, "a")[named("up").String()], 24)
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.cuts))
}

func TestFlushHeadCutsAllOfIt(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, Config{Dir: dir, BlockDuration: time.Minute})
	for _, ts := range []int64{30_000, 70_000, 100 * minute, 100*minute + 5} {
		require.NoError(t, write(s, "a", ts, 1, named("up")))
	}
	require.NoError(t, write(s, "a", 99*minute, 1, named("up")), "out of order")
	before := samples(t, s, "a")
	require.Len(t, before[named("up").String()], 5)

	require.NoError(t, s.FlushHead(t.Context(), "a"))
	require.Zero(t, s.find("a").headSeries())
	blocks := s.Blocks("a")
	for _, b := range blocks {
		require.Equal(t, b.MinTime/minute, (b.MaxTime-1)/minute, "a block must not cross a range")
	}
	require.Len(t, blocks, 4)
	require.Equal(t, before, samples(t, s, "a"))
	require.NoError(t, write(s, "a", 100*minute+6, 1, named("up")), "the next sample goes on in order")
	require.NoError(t, s.FlushHead(t.Context(), "nobody"))

	require.NoError(t, s.Close())
	s = testStore(t, Config{Dir: dir, BlockDuration: time.Minute})
	require.Len(t, samples(t, s, "a")[named("up").String()], 6)
}

func TestFlushKeepsAppendsOutAndWaitsForThem(t *testing.T) {
	s := testStore(t, Config{BlockDuration: time.Minute})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	app, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)

	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	ended := make(chan error, 1)
	go func() { ended <- s.FlushHead(ctx, "a") }()
	for s.find("a").gate.enterAppend() == nil { // Until the flush has closed the gate.
		s.find("a").gate.leaveAppend()
	}
	require.ErrorIs(t, write(s, "a", 2000, 1, named("up")), ErrFlushing)
	cancel(stop)
	require.ErrorIs(t, <-ended, stop)
	require.NoError(t, app.Rollback())
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
	require.Empty(t, s.Blocks("a"))
}

func TestSilentTenantIsCut(t *testing.T) {
	clk := &clock{time.UnixMilli(10 * minute)}
	s := testStore(t, Config{BlockDuration: time.Minute, OutOfOrderWindow: 5 * time.Minute, Now: clk.Now})
	require.NoError(t, write(s, "a", 10*minute, 1, named("up")))
	clk.now = clk.now.Add(6*time.Minute + 30*time.Second)
	s.cutAll(t.Context())
	require.Empty(t, s.Blocks("a"), "a late sample may still come")
	clk.now = clk.now.Add(time.Millisecond)
	s.cutAll(t.Context())
	require.Len(t, s.Blocks("a"), 1)
	s.cutAll(t.Context())
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.idleFlushes), "an empty head is not cut again")
	require.NoError(t, write(s, "a", 17*minute, 1, named("up")))
}

func TestSilenceIsRememberedOverRestart(t *testing.T) {
	dir := t.TempDir()
	clk := &clock{time.UnixMilli(10 * minute)}
	cfg := Config{Dir: dir, BlockDuration: time.Minute, OutOfOrderWindow: time.Minute, Now: clk.Now}
	s := testStore(t, cfg)
	require.NoError(t, write(s, "a", 10*minute, 1, named("up")))
	require.NoError(t, s.Close())
	clk.now = clk.now.Add(time.Hour)
	s = testStore(t, cfg)
	s.cutAll(t.Context())
	require.Len(t, s.Blocks("a"), 1)
}

func TestDeletable(t *testing.T) {
	block := func(n uint64, maxTime, bytes int64, held bool) localBlock {
		id := ulid.ULID{}
		require.NoError(t, id.SetTime(n))
		return localBlock{Tenant: "a", ID: id, MaxTime: maxTime, Bytes: bytes, Held: held}
	}
	times := func(blocks []localBlock) []int64 {
		out := []int64{}
		for _, b := range blocks {
			out = append(out, b.MaxTime)
		}
		return out
	}
	blocks := []localBlock{block(3, 30, 10, true), block(1, 10, 10, true), block(2, 20, 10, false), block(4, 40, 10, true)}
	f := func(limits retentionLimits, wantChosen, wantOverdue []int64) {
		t.Helper()
		chosen, overdue := deletable(blocks, limits)
		require.Equal(t, wantChosen, times(chosen))
		require.Equal(t, wantOverdue, times(overdue))
	}
	f(retentionLimits{OlderThan: math.MinInt64}, []int64{}, []int64{})
	f(retentionLimits{OlderThan: 9}, []int64{}, []int64{})
	f(retentionLimits{OlderThan: 10}, []int64{10}, []int64{})
	f(retentionLimits{OlderThan: 30}, []int64{10, 30}, []int64{20})
	f(retentionLimits{OlderThan: math.MinInt64, Bytes: 40}, []int64{}, []int64{})
	f(retentionLimits{OlderThan: math.MinInt64, Bytes: 39}, []int64{10}, []int64{})
	f(retentionLimits{OlderThan: math.MinInt64, Bytes: 20}, []int64{10, 30}, []int64{20})
	f(retentionLimits{OlderThan: math.MinInt64, Bytes: 1}, []int64{10, 30, 40}, []int64{20})
	f(retentionLimits{OlderThan: 10, Bytes: 30}, []int64{10}, []int64{})
}

func TestRetentionDeletesOnlyWhatIsHeld(t *testing.T) {
	dir := t.TempDir()
	created := time.UnixMilli(minute / 2)
	clk := &clock{created}
	held := map[ulid.ULID]bool{}
	cfg := Config{
		Dir: dir, BlockDuration: time.Minute, Retention: 5 * time.Minute, Now: clk.Now,
		Held: func(_ string, id ulid.ULID) bool { return held[id] },
	}
	s := testStore(t, cfg)
	clk.now = time.UnixMilli(10 * minute)
	for _, m := range []int64{1, 2, 8} {
		require.NoError(t, write(s, "a", m*minute, 1, named("up")))
	}
	require.NoError(t, s.FlushHead(t.Context(), "a"))
	require.Len(t, s.Blocks("a"), 3, "two are past retention, and held nowhere")
	require.EqualValues(t, 2, s.find("a").overdue.Load())
	require.Equal(t, created.UnixMilli(), s.LocalStart("a"))
	require.Equal(t, created.UnixMilli(), s.LocalStart("nobody"))

	second := s.Blocks("a")[1]
	held[second.ULID] = true
	require.NoError(t, s.find("a").inst.Load().db.Compact(t.Context())) // Nothing to cut.
	require.NoError(t, s.Close())
	s = testStore(t, cfg) // Opening applies retention, too.
	require.Len(t, s.Blocks("a"), 2)
	require.Equal(t, second.MaxTime, s.LocalStart("a"))
	require.FileExists(t, filepath.Join(dir, "a", retentionFile))
}

func TestBlocksStayWhenTheirEndCannotBeRecorded(t *testing.T) {
	clk := &clock{time.UnixMilli(10 * minute)}
	s := testStore(t, Config{BlockDuration: time.Minute, Retention: 5 * time.Minute, Now: clk.Now})
	require.NoError(t, write(s, "a", 9*minute, 1, named("up")))
	// A directory in the way of the file.
	require.NoError(t, os.MkdirAll(filepath.Join(s.TenantDir("a"), retentionFile), 0o700))
	clk.now = clk.now.Add(time.Hour)
	require.NoError(t, s.FlushHead(t.Context(), "a"))
	require.Len(t, s.Blocks("a"), 1)
	require.Positive(t, testutil.ToFloat64(s.metrics.retentionFailures))
}

func TestSampleRetentionFile(t *testing.T) {
	h := newHorizon("testdata")
	require.Equal(t, int64(math.MaxInt64), h.get(), "before it is loaded nothing is known to be local")
	require.NoError(t, h.load())
	require.Equal(t, int64(1_700_000_000_000), h.get())

	dir := t.TempDir()
	h = newHorizon(dir)
	require.NoError(t, h.load())
	require.Equal(t, int64(math.MinInt64), h.get())
	require.NoError(t, h.raise(10))
	require.NoError(t, h.raise(5))
	require.Equal(t, int64(10), h.get())
	require.NoError(t, os.WriteFile(filepath.Join(dir, retentionFile), []byte(`{"version":2}`), 0o600))
	require.ErrorContains(t, h.load(), "version 2, this build reads 1")
}

func TestLocalStartMovesWithTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tsdb")
	clk := &clock{time.UnixMilli(10 * minute)}
	cfg := Config{Dir: dir, Now: clk.Now}
	s := testStore(t, cfg)
	require.NoError(t, write(s, "a", 9*minute, 1, named("up")))
	require.NoError(t, s.Close())

	clk.now = time.UnixMilli(20 * minute)
	s = testStore(t, cfg)
	require.EqualValues(t, 10*minute, s.LocalStart("a"), "a restart loses nothing")
	require.NoError(t, s.Close())

	require.NoError(t, os.RemoveAll(dir))
	s = testStore(t, cfg)
	require.EqualValues(t, 20*minute, s.LocalStart("a"), "what was deleted by hand is not local any more")
}

func TestSampleStoreFile(t *testing.T) {
	created, err := loadCreated("testdata", time.Now())
	require.NoError(t, err)
	require.EqualValues(t, 1_700_000_000_000, created)

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, storeFile), []byte(`{"version":2}`), 0o600))
	_, err = Open(Config{Dir: dir}, testLogger(), nil)
	require.ErrorContains(t, err, "version 2, this build reads 1")
	require.NoError(t, os.WriteFile(filepath.Join(dir, storeFile), []byte(`{`), 0o600))
	_, err = Open(Config{Dir: dir}, testLogger(), nil)
	require.ErrorContains(t, err, "delete it")
}

func TestStripesAndDelay(t *testing.T) {
	const many = 1000
	require.Equal(t, stripesMin, stripes(many, 0))
	require.Equal(t, stripesMin, stripes(many, stripesMin*stripeWALBytes))
	require.Equal(t, 2*stripesMin, stripes(many, stripesMin*stripeWALBytes+1))
	require.Equal(t, stripesMax, stripes(many, math.MaxInt64))
	require.Equal(t, stripesFresh, stripes(1, 0), "a lone tenant")
	require.Equal(t, 2*stripesFresh, stripes(1, stripesFresh*stripeWALBytes+1), "a lone tenant that has grown")
	require.Equal(t, stripesFresh, stripes(8, 0))
	require.Equal(t, stripesFresh/2, stripes(9, 0))
	require.Equal(t, stripesMin, stripes(100, 0))

	require.Zero(t, cutDelay("", "a", time.Hour))
	require.Equal(t, cutDelay("m1", "a", time.Hour), cutDelay("m1", "a", time.Hour))
	require.NotEqual(t, cutDelay("m1", "a", time.Hour), cutDelay("m2", "a", time.Hour))
	require.Less(t, cutDelay("m1", "a", time.Hour), 6*time.Minute)
}
