// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// TestTwoTransactionsMakeOneSeries: the one that did not make it must not be in the
// write-ahead log before the series is, because a replay after a kill would skip it.
func TestTwoTransactionsMakeOneSeries(t *testing.T) {
	s := testStore(t, Config{})
	maker, err := s.AppenderV2(t.Context(), "a")
	require.NoError(t, err)
	_, err = maker.Append(0, named("up"), 0, 1000, 1, nil, nil, storage.AOptions{})
	require.NoError(t, err)

	finder := make(chan error, 1)
	go func() { finder <- write(s, "a", 2000, 2, named("up")) }()
	select {
	case <-finder:
		t.Fatal("a transaction has committed samples of a series that the log does not have")
	case <-time.After(100 * time.Millisecond): // Long enough to find a mistake, too short to be one.
	}
	require.NoError(t, maker.Commit())
	require.NoError(t, <-finder)

	after := testStore(t, Config{Dir: killed(t, s)})
	require.Equal(t, map[int64]float64{1000: 1, 2000: 2}, samples(t, after, "a")[named("up").String()])
}

// TestRollbackLetsOthersMakeSeries: a transaction that ends in whatever way is waited
// for no more.
func TestRollbackLetsOthersMakeSeries(t *testing.T) {
	s := testStore(t, Config{})
	for range 2 {
		app, err := s.AppenderV2(context.Background(), "a")
		require.NoError(t, err)
		_, err = app.Append(0, named("up"), 0, 1000, 1, nil, nil, storage.AOptions{})
		require.NoError(t, err)
		require.NoError(t, app.Rollback())
		require.Error(t, app.Commit())
	}
	require.NoError(t, write(s, "a", 2000, 2, named("up")))
}
