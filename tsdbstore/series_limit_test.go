// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// liveLimits can be changed while a store uses them.
type liveLimits struct{ atomic.Pointer[Limits] }

func newLiveLimits(l Limits) *liveLimits {
	live := &liveLimits{}
	live.Store(&l)
	return live
}

func (l *liveLimits) get(string) Limits { return *l.Load() }

func numbered(n int) labels.Labels { return labels.FromStrings("__name__", "s", "n", strconv.Itoa(n)) }

// requireCounted compares the census with what the TSDBs say.
func requireCounted(t *testing.T, s *Store) {
	t.Helper()
	total := 0
	for _, name := range s.Tenants() {
		n := int(s.find(name).inst.Load().db.Head().NumSeries())
		require.Equal(t, n, s.HeadSeries(name))
		total += n
	}
	require.EqualValues(t, total, s.series.Load())
}

func TestSeriesLimits(t *testing.T) {
	limits := newLiveLimits(Limits{MaxTenants: 10, MaxSeries: 2, MaxNodeSeries: 3})
	s := testStore(t, Config{Limits: limits.get})
	refused := func(want string, err error) {
		t.Helper()
		var final interface{ Rejected() bool }
		require.ErrorAs(t, err, &final)
		require.True(t, final.Rejected())
		require.EqualError(t, err, want)
	}
	require.NoError(t, write(s, "a", 1, 1, numbered(1), numbered(2)))
	refused(`active series limit 2 of tenant "a" on this node reached; existing series are not affected (max_series in --limits.config-file)`,
		write(s, "a", 2, 1, numbered(3)))
	require.NoError(t, write(s, "a", 2, 1, numbered(1), numbered(2)), "existing series flow")

	require.NoError(t, write(s, "b", 1, 1, numbered(1)))
	refused(`active series limit 3 of this node reached; existing series are not affected (node.max_series in --limits.config-file)`,
		write(s, "b", 1, 1, numbered(2)))

	limits.Store(&Limits{MaxTenants: 10})
	require.NoError(t, write(s, "a", 3, 1, numbered(3)), "a limit that is taken away is gone at once")
	limits.Store(&Limits{MaxTenants: 10, MaxSeries: 1})
	refused(`active series limit 1 of tenant "a" on this node reached; existing series are not affected (max_series in --limits.config-file)`,
		write(s, "a", 4, 1, numbered(4)))
	require.NoError(t, write(s, "a", 4, 1, numbered(1), numbered(3)), "more than a stricter limit stay")
	requireCounted(t, s)
}

// What was acknowledged before a restart is loaded whatever the limit is now, from the
// logs and from the snapshot, and is counted once.
func TestSeriesLimitsDoNotTouchReplay(t *testing.T) {
	dir := t.TempDir()
	limits := newLiveLimits(Limits{MaxTenants: 10})
	s := testStore(t, Config{Dir: dir, Limits: limits.get})
	for n := range 10 {
		require.NoError(t, write(s, "a", 1, 1, numbered(n)))
	}
	requireCounted(t, s)
	s.find("a").fail(s.find("a").inst.Load(), errors.New("test"))
	require.NoError(t, s.find("a").mend(t.Context()), "from the write-ahead log")
	requireCounted(t, s)
	require.NoError(t, s.Close())

	limits.Store(&Limits{MaxTenants: 10, MaxSeries: 3})
	s = testStore(t, Config{Dir: dir, Limits: limits.get})
	require.Equal(t, 10, s.HeadSeries("a"))
	require.Len(t, samples(t, s, "a"), 10)
	requireCounted(t, s)
	require.Error(t, write(s, "a", 2, 1, numbered(10)))
	require.NoError(t, write(s, "a", 2, 1, numbered(9)))

	require.NoError(t, s.FlushHead(t.Context(), "a"))
	requireCounted(t, s)
	require.Zero(t, s.HeadSeries("a"), "a cut head has none")
	require.NoError(t, write(s, "a", s.cfg.BlockDuration.Milliseconds()*3, 1, numbered(10)), "there is room again")
}

// An error of AdmitSeries is passed on as it is, and concerns new series only.
func TestAdmitSeries(t *testing.T) {
	var short atomic.Bool
	errShort := errors.New("short of memory")
	s := testStore(t, Config{AdmitSeries: func() error {
		if short.Load() {
			return errShort
		}
		return nil
	}})
	require.NoError(t, write(s, "a", 1, 1, numbered(1)))
	short.Store(true)
	require.ErrorIs(t, write(s, "a", 2, 1, numbered(2)), errShort)
	require.NoError(t, write(s, "a", 2, 1, numbered(1)))
	short.Store(false)
	require.NoError(t, write(s, "a", 2, 1, numbered(2)))
}

// Writers at the same time exceed a limit by no more than there are of them.
func TestSeriesLimitUnderConcurrentWrites(t *testing.T) {
	const writers, limit, each = 4, 100, 200
	limits := newLiveLimits(Limits{MaxTenants: 10, MaxSeries: limit})
	s := testStore(t, Config{Limits: limits.get})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				_ = write(s, "a", 1, 1, numbered(w*each+n)) // Most are refused.
			}
		})
	}
	wg.Wait()
	require.GreaterOrEqual(t, s.HeadSeries("a"), limit)
	require.Less(t, s.HeadSeries("a"), limit+writers)
	requireCounted(t, s)
}
