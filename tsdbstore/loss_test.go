// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLossesSurviveARestart(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Now: (&clock{time.UnixMilli(1234)}).Now}
	s := testStore(t, cfg)
	require.Empty(t, s.Losses())
	first, err := s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 20, Reason: "test"})
	require.NoError(t, err)
	require.NotEmpty(t, first.ID)
	require.Equal(t, int64(1234), first.Found.UnixMilli())
	again, err := s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 20, Reason: "test"})
	require.NoError(t, err)
	require.Equal(t, first, again, "an equal loss is the same loss")
	second, err := s.AddLoss(Loss{MinTime: math.MinInt64, MaxTime: 30, Reason: "test"})
	require.NoError(t, err)

	// As a kill leaves it.
	s = testStore(t, Config{Dir: killed(t, s)})
	require.Equal(t, []Loss{first, second}, s.Losses())
	require.NoError(t, s.ResolveLoss(first.ID))
	require.NoError(t, s.ResolveLoss(first.ID), "resolved before")
	s = testStore(t, Config{Dir: killed(t, s)})
	require.Equal(t, []Loss{second}, s.Losses())

	third, err := s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 20, Reason: "test"})
	require.NoError(t, err)
	require.NotEqual(t, first.ID, third.ID, "a loss found after one was made good is another one")
}

func TestLossOfNothingIsRefused(t *testing.T) {
	s := testStore(t, Config{})
	_, err := s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 10, Reason: "test"})
	require.Error(t, err)
	_, err = s.AddLoss(Loss{Tenant: "../a", MinTime: 10, MaxTime: 20, Reason: "test"})
	require.Error(t, err)
	require.Empty(t, s.Losses())
}

// TestDamagedLossesAreALossOfEverything: whatever the file held, nothing that this
// node has may be taken for complete without it.
func TestDamagedLossesAreALossOfEverything(t *testing.T) {
	for name, content := range map[string]string{
		"empty":     "",
		"torn":      `{"version":1,"losses":[{"id":"01`,
		"zeros":     string(make([]byte, 100)),
		"no fields": `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, lossFile), []byte(content), 0o600))
			now := time.UnixMilli(1_700_000_000_000)
			s := testStore(t, Config{Dir: dir, Now: (&clock{now}).Now})
			found := s.Losses()
			require.Len(t, found, 1)
			require.Empty(t, found[0].Tenant)
			require.Equal(t, int64(math.MinInt64), found[0].MinTime)
			require.Greater(t, found[0].MaxTime, now.UnixMilli())
			require.FileExists(t, filepath.Join(dir, lossFile+".damaged"))
			require.Equal(t, found, testStore(t, Config{Dir: killed(t, s)}).Losses(), "found once")
		})
	}
}

func TestLossesOfAnotherVersionStopTheStart(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, lossFile)
	require.NoError(t, os.WriteFile(path, []byte(`{"version":2,"losses":[]}`), 0o600))
	_, err := Open(Config{Dir: dir}, testLogger(), nil)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "version 2")
}

func TestManyLossesBecomeOneThatCoversThem(t *testing.T) {
	l, err := loadLosses(t.TempDir(), time.Now, testLogger())
	require.NoError(t, err)
	for i := range lossesMax {
		l.list = append(l.list, Loss{ID: fmt.Sprint(i), Tenant: "a", MinTime: int64(i), MaxTime: int64(i) + 1})
	}
	_, err = l.add(Loss{Tenant: "b", MinTime: 5, MaxTime: 9000, Reason: "one more"})
	require.NoError(t, err)
	require.Len(t, l.all(), 1)
	all := l.all()[0]
	require.Equal(t, []any{"", int64(0), int64(9000)}, []any{all.Tenant, all.MinTime, all.MaxTime})
}

// TestLossIsNotThereBeforeItIsDurable: a loss that cannot be written is an error, and
// a loss that cannot be taken off stays.
func TestLossIsNotThereBeforeItIsDurable(t *testing.T) {
	s := testStore(t, Config{})
	kept, err := s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 20, Reason: "test"})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(s.cfg.Dir, lossFile+".tmp"), 0o700))
	_, err = s.AddLoss(Loss{Tenant: "a", MinTime: 10, MaxTime: 30, Reason: "test"})
	require.Error(t, err)
	require.Error(t, s.ResolveLoss(kept.ID))
	require.Equal(t, []Loss{kept}, s.Losses())
}

func TestLossFormat(t *testing.T) {
	l, err := loadLosses("testdata", time.Now, testLogger())
	require.NoError(t, err)
	require.Equal(t, []Loss{{
		ID: "01M7VZAV2DKHENCTJHDYHG1K00", Tenant: "a", MinTime: 1700000000000, MaxTime: 1700007200000,
		Reason: "a block could not be read", Found: time.UnixMilli(1700000000000).UTC(),
	}}, l.all())
	l.path = filepath.Join(t.TempDir(), lossFile)
	require.NoError(t, l.save(l.all()))
	want, err := os.ReadFile(filepath.Join("testdata", lossFile))
	require.NoError(t, err)
	got, err := os.ReadFile(l.path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
