// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// TestZeroAtStart stores a zero at the start timestamp of the first sample only when it
// is asked to, and never twice.
func TestZeroAtStart(t *testing.T) {
	for _, inject := range []bool{false, true} {
		s := testStore(t, Config{ZeroAtStart: inject})
		for _, ts := range []int64{1000, 2000, 2000} {
			app, err := s.AppenderV2(t.Context(), "a")
			require.NoError(t, err)
			_, err = app.Append(0, named("counter"), 400, ts, 5, nil, nil, storage.AOptions{})
			require.NoError(t, err)
			require.NoError(t, app.Commit())
		}
		want := map[int64]float64{1000: 5, 2000: 5}
		if inject {
			want[400] = 0
		}
		require.Equal(t, want, samples(t, s, "a")[named("counter").String()])
	}
}

// TestNothingWaitsForReplay: everything that a request can call answers while a TSDB is
// being opened and does not come to an end.
func TestNothingWaitsForReplay(t *testing.T) {
	cfg := Config{BlockDuration: time.Minute, Retention: time.Minute, Now: (&clock{time.UnixMilli(100 * minute)}).Now}
	before := testStore(t, cfg)
	require.NoError(t, write(before, "slow", 99*minute, 1, named("up")))
	require.NoError(t, before.FlushHead(t.Context(), "slow"))
	require.NoError(t, write(before, "fast", 99*minute, 1, named("up")))

	// The TSDB asks what may be deleted while it opens its blocks.
	opening, release := make(chan struct{}), make(chan struct{})
	cfg.Dir, cfg.MinFreeBytes = killed(t, before), -1
	cfg.Held = func(string, ulid.ULID) bool {
		select {
		case opening <- struct{}{}:
		default:
		}
		<-release
		return true
	}
	reg := prometheus.NewRegistry()
	s, err := Open(cfg, testLogger(), reg)
	require.NoError(t, err)
	defer s.Close()
	replayed := make(chan error, 1)
	go func() { replayed <- s.Replay(t.Context()) }()
	<-opening
	for name, call := range map[string]func() error{
		"write":              func() error { return write(s, "slow", 99*minute, 1, named("up")) },
		"write another":      func() error { return write(s, "fast", 99*minute, 1, named("up")) },
		"write a new one":    func() error { return write(s, "new", 99*minute, 1, named("up")) },
		"append an exemplar": func() error { _, err := s.Appender(t.Context(), "slow"); return err },
		"query":              func() error { _, err := s.Querier("slow", 0, 1); return err },
		"query chunks":       func() error { _, err := s.ChunkQuerier("slow", 0, 1); return err },
		"query exemplars":    func() error { _, err := s.ExemplarQuerier(t.Context(), "slow"); return err },
		"query a new one":    func() error { _, err := s.Querier("new", 0, 1); return err },
		"read the head":      func() error { return s.ReadHead("slow", nil) },
		"flush":              func() error { return s.FlushHead(t.Context(), "slow") },
		"add a block":        func() error { return s.AddBlock(t.Context(), "slow", s.RefillDir()) },
	} {
		done := make(chan error, 1)
		go func() { done <- call() }()
		select {
		case err := <-done:
			if !errors.Is(err, ErrReopening) { // Of a flush.
				require.ErrorIs(t, err, ErrNotReady, name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s waits for the replay", name)
		}
	}
	plain := make(chan struct{})
	go func() {
		defer close(plain)
		s.Blocks("slow")
		s.LocalStart("slow")
		s.HeadSeries("slow")
		s.Tenants()
		s.Status()
		s.Losses()
		_, err := s.AddLoss(Loss{Tenant: "slow", MinTime: 1, MaxTime: 2, Reason: "test"})
		assertNoError(t, err)
		_, err = reg.Gather()
		assertNoError(t, err)
	}()
	select {
	case <-plain:
	case <-time.After(time.Minute):
		t.Fatal("something waits for the replay")
	}
	require.False(t, s.Ready())
	close(release)
	require.NoError(t, <-replayed)
	require.True(t, s.Ready())
	require.NoError(t, write(s, "slow", 99*minute, 1, named("up")))
}

// assertNoError is for goroutines, which must not end the test.
func assertNoError(t *testing.T, err error) {
	if err != nil {
		t.Error(err)
	}
}
