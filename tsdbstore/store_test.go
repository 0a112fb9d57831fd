// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

func TestStoreKeepsSamplesOverRestart(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, Config{Dir: dir})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	require.NoError(t, write(s, "b", 2000, 2, named("up")))
	require.NoError(t, write(s, "b", 1000, 3, named("up")), "out of order, inside the window")
	require.Equal(t, []string{"a", "b"}, s.Tenants())
	require.NoError(t, s.Close())

	s = testStore(t, Config{Dir: dir})
	require.Equal(t, []string{"a", "b"}, s.Tenants())
	require.Equal(t, map[string]map[int64]float64{`{__name__="up"}`: {1000: 1}}, samples(t, s, "a"))
	require.Equal(t, map[string]map[int64]float64{`{__name__="up"}`: {1000: 3, 2000: 2}}, samples(t, s, "b"))
}

func TestUnknownTenantIsEmptyAndNotMade(t *testing.T) {
	s := testStore(t, Config{})
	require.Empty(t, samples(t, s, "nobody"))
	cq, err := s.ChunkQuerier("nobody", 0, 1)
	require.NoError(t, err)
	require.NoError(t, cq.Close())
	eq, err := s.ExemplarQuerier(t.Context(), "nobody")
	require.NoError(t, err)
	res, err := eq.Select(0, 1)
	require.NoError(t, err)
	require.Empty(t, res)
	require.NoError(t, s.ReadHead("nobody", nil))
	require.Empty(t, s.Tenants())
	require.NoDirExists(t, s.TenantDir("nobody"))
}

func TestReadyOnlyAfterReplay(t *testing.T) {
	dir := t.TempDir()
	s := testStore(t, Config{Dir: dir})
	require.NoError(t, write(s, "a", 1, 1, named("up")))
	require.NoError(t, s.Close())
	require.ErrorIs(t, write(s, "a", 2, 1, named("up")), ErrClosed)

	s, err := Open(Config{Dir: dir, MinFreeBytes: -1}, testLogger(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.False(t, s.Ready())
	require.ErrorIs(t, write(s, "a", 2, 1, named("up")), ErrNotReady)
	_, err = s.Querier("a", 0, 1)
	require.ErrorIs(t, err, ErrNotReady, "an empty answer would be a lie")

	require.NoError(t, s.Replay(t.Context()))
	require.True(t, s.Ready())
	opened, total := s.Status()
	require.Equal(t, [2]int{1, 1}, [2]int{opened, total})
	require.NoError(t, write(s, "a", 2, 1, named("up")))
}

func TestReadyStaysFalseWhileATenantDoesNotOpen(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "bad"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "good"), 0o700))
	file := filepath.Join(dir, "bad", retentionFile)
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))

	s, err := Open(Config{Dir: dir, MinFreeBytes: -1}, testLogger(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	err = s.Replay(t.Context())
	require.ErrorContains(t, err, `tenant "bad"`)
	require.NotContains(t, err.Error(), "good")
	require.False(t, s.Ready())
	opened, total := s.Status()
	require.Equal(t, [2]int{1, 2}, [2]int{opened, total})
	_, err = s.Querier("bad", 0, 1)
	require.ErrorIs(t, err, ErrNotReady)
	require.ErrorContains(t, err, "retention file")

	require.NoError(t, os.Remove(file))
	s.find("bad").retryAt = time.Time{}
	require.NoError(t, s.mendAll(t.Context()))
	require.True(t, s.Ready())
}

func TestTenantsAreLimitedAndValidated(t *testing.T) {
	s := testStore(t, Config{Limits: func(string) Limits { return Limits{MaxTenants: 2} }})
	require.NoError(t, write(s, "a", 1, 1, named("up")))
	require.NoError(t, write(s, "b", 1, 1, named("up")))

	rejected := func(err error) bool {
		var r interface{ Rejected() bool }
		return errors.As(err, &r) && r.Rejected()
	}
	err := write(s, "c", 1, 1, named("up"))
	require.True(t, rejected(err), "%v", err)
	require.EqualError(t, err, `tenant "c" refused: this node already has its limit of 2 tenants (node.max_tenants in --limits.config-file)`)
	for _, name := range []string{"", ".", "..", "a/b", "ä", "a\x00", fmt.Sprintf("%065d", 1)} {
		require.True(t, rejected(write(s, name, 1, 1, named("up"))), "%q", name)
		_, err := s.Querier(name, 0, 1)
		require.True(t, rejected(err), "%q", name)
	}
	require.NoError(t, write(s, "a", 2, 1, named("up")), "an old tenant goes on")
	require.False(t, rejected(ErrReopening) || rejected(ErrNotReady) || rejected(ErrDiskLow))
}

func TestOpenNamesCauseAndRemedy(t *testing.T) {
	dir := t.TempDir()
	testStore(t, Config{Dir: dir})
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"locked":     {Config{Dir: dir}, []string{"in use by another process", "--storage.path"}},
		"no dir":     {Config{}, []string{"set --storage.path"}},
		"no parent":  {Config{Dir: filepath.Join(dir, "lock", "data")}, []string{"cannot make", "not a directory", "writable"}},
		"read only":  {Config{Dir: "/proc"}, []string{"cannot write", "--storage.path"}},
		"short":      {Config{Dir: dir, BlockDuration: 1}, []string{"1ns", "too short"}},
		"sync modes": {Config{Dir: dir, WALSync: "always"}, []string{"always", WALSyncNone, WALSyncCommit}},
	} {
		_, err := Open(c.cfg, testLogger(), nil)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "\n", name)
		for _, want := range c.want {
			require.ErrorContains(t, err, want, name)
		}
	}
}

func TestLowDiskRefusesWritesNotReads(t *testing.T) {
	free := int64(100 << 20)
	s := testStore(t, Config{MinFreeBytes: 50 << 20, freeBytes: func(string) (int64, error) { return free, nil }})
	require.NoError(t, write(s, "a", 1, 1, named("up")))

	look := func(bytes int64) {
		free = bytes
		s.disk.mu.Lock()
		s.disk.checked = time.Time{}
		s.disk.mu.Unlock()
	}
	look(49 << 20)
	err := write(s, "a", 2, 1, named("up"))
	require.ErrorIs(t, err, ErrDiskLow)
	require.ErrorContains(t, err, "has 49 MiB free and needs 50 MiB")
	require.Len(t, samples(t, s, "a"), 1)
	look(51 << 20)
	require.NoError(t, write(s, "a", 2, 1, named("up")))
}

func TestFailedInstanceIsReplaced(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	tenant := s.find("a")
	first := tenant.inst.Load()

	app, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)
	tenant.fail(first, errWriteFailed)
	require.Error(t, app.Commit(), "an append under way when another failed must not be acknowledged")
	require.Error(t, app.Rollback(), "twice")
	require.ErrorIs(t, write(s, "a", 2000, 1, named("up")), ErrReopening)
	require.Len(t, samples(t, s, "a"), 1, "a failed TSDB can be read")

	require.NoError(t, s.mendAll(t.Context()))
	require.NotEqual(t, first.generation, tenant.inst.Load().generation)
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
	require.NoFileExists(t, filepath.Join(s.TenantDir("a"), failedMark))
	snapshots, err := filepath.Glob(filepath.Join(s.TenantDir("a"), "chunk_snapshot.*"))
	require.NoError(t, err)
	require.Empty(t, snapshots, "the snapshot of a failed TSDB hides the damage of its WAL")
	require.Equal(t, 1.0, testutil.ToFloat64(s.metrics.reopens.WithLabelValues(reopenWriteFailed)))
}

func TestReopenWaitsForReadersAndAppenders(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	tenant := s.find("a")
	q, err := s.Querier("a", 0, 2000)
	require.NoError(t, err)
	app, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)
	tenant.fail(tenant.inst.Load(), errWriteFailed)

	ended := make(chan error, 1)
	go func() { ended <- s.mendAll(context.Background()) }()
	require.NoError(t, app.Rollback())
	require.Len(t, readAll(t, q), 1, "the TSDB was closed under a reader")
	require.NoError(t, q.Close())
	require.NoError(t, <-ended)
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
}

func TestPanicInCommitFailsTheTenantAndRun(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	app, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)
	require.NoError(t, app.(*appender).AppenderV2.Rollback())
	app.(*appender).AppenderV2 = panicking{}
	require.ErrorIs(t, app.Commit(), ErrReopening)
	require.ErrorIs(t, s.Run(t.Context()), errWedged)
	require.ErrorIs(t, s.Close(), errWedged)
}

type panicking struct{ storage.AppenderV2 }

func (panicking) Commit() error { panic("no space left on device") }

func TestAppenderHasGenerationAndRefs(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	app, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)
	require.NotZero(t, app.(interface{ Generation() uint64 }).Generation())
	ref, ls := app.(storage.GetRef).GetRef(named("up"), named("up").Hash())
	require.NotZero(t, ref)
	require.True(t, labels.Equal(named("up"), ls))
	_, err = app.Append(ref, labels.EmptyLabels(), 0, 2000, 2, nil, nil, storage.AOptions{
		Exemplars: []exemplar.Exemplar{{Labels: labels.FromStrings("trace_id", "x"), Value: 1, Ts: 2000}},
	})
	require.NoError(t, err)
	require.NoError(t, app.Commit())

	eq, err := s.ExemplarQuerier(t.Context(), "a")
	require.NoError(t, err)
	found, err := eq.Select(0, 3000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up")})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.NoError(t, s.ReadHead("a", func(ix tsdb.IndexReader, mint, maxt int64) error {
		names, err := ix.LabelValues(t.Context(), model.MetricNameLabel, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"up"}, names)
		require.EqualValues(t, 1000, mint)
		require.EqualValues(t, 2000, maxt)
		return nil
	}))
	require.Equal(t, 2.0, testutil.ToFloat64(s.metrics.appended))
}

func TestAppenderTakesExemplarsWithoutSamples(t *testing.T) {
	s := testStore(t, Config{})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	late := exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "late"), Value: 1, Ts: 1500, HasTs: true}

	app, err := s.Appender(t.Context(), "a")
	require.NoError(t, err)
	_, err = app.AppendExemplar(0, named("up"), late)
	require.NoError(t, err)
	_, err = app.AppendExemplar(0, named("unknown"), late)
	require.Error(t, err, "no such series")
	require.NoError(t, app.Commit())
	require.ErrorIs(t, app.Commit(), errAppenderDone)

	eq, err := s.ExemplarQuerier(t.Context(), "a")
	require.NoError(t, err)
	found, err := eq.Select(0, 3000, []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, model.MetricNameLabel, "up")})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, []exemplar.Exemplar{late}, found[0].Exemplars)

	_, err = s.Appender(t.Context(), "no/such")
	require.Error(t, err)
}

func TestMetricsDoNotGrowWithTenants(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	s, err := Open(Config{Dir: t.TempDir(), MinFreeBytes: -1}, testLogger(), reg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Replay(t.Context()))
	before, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, write(s, fmt.Sprintf("t%d", i), 1000, 1, named("up")))
	}
	after, err := testutil.GatherAndCount(reg)
	require.NoError(t, err)
	require.Equal(t, before, after)
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestWALSyncCommitCoversNewSegments(t *testing.T) {
	s := testStore(t, Config{WALSync: WALSyncCommit})
	require.NoError(t, write(s, "a", 1000, 1, named("up")))
	sync := s.find("a").inst.Load().sync
	wal := filepath.Join(s.TenantDir("a"), "wal")
	require.Equal(t, 0, sync.synced[wal])
	require.NoError(t, os.WriteFile(filepath.Join(wal, "00000001"), nil, 0o600))
	require.NoError(t, write(s, "a", 2000, 1, named("up")))
	require.Equal(t, 1, sync.synced[wal])

	require.NoError(t, os.Rename(wal, wal+".gone"))
	require.NoError(t, os.WriteFile(wal, nil, 0o600))
	require.ErrorIs(t, write(s, "a", 3000, 1, named("up")), ErrReopening, "a sync that fails is a failed write")
	require.NoError(t, os.Remove(wal))
	require.NoError(t, os.Rename(wal+".gone", wal))
}
