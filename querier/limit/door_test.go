// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

func TestDoorLetsInByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(2, 10*time.Second)
		enter := func(tenant string, most int64) chan error {
			done := make(chan error, 1)
			go func() { done <- d.enter(t.Context(), tenant, most) }()
			synctest.Wait()
			return done
		}
		in := func(ch chan error) bool {
			synctest.Wait()
			select {
			case err := <-ch:
				require.NoError(t, err)
				return true
			default:
				return false
			}
		}
		require.True(t, in(enter("a", 1)))
		second := enter("a", 1) // Its tenant has one inside.
		require.False(t, in(second))
		require.True(t, in(enter("b", 0)), "others pass it")
		third := enter("c", 0)
		require.False(t, in(third))
		inside, waiting := d.counts()
		require.Equal(t, []int{2, 2}, []int{inside, waiting})

		d.leave("b")
		require.True(t, in(third))
		require.False(t, in(second))
		d.leave("a")
		require.True(t, in(second))
		d.leave("a")
		d.leave("c")
		require.Empty(t, d.of)
	})
}

func TestDoorRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(1, 10*time.Second)
		require.NoError(t, d.enter(t.Context(), "a", 0))

		start := time.Now()
		err := d.enter(t.Context(), "b", 0)
		require.Equal(t, 10*time.Second, time.Since(start))
		var refusal *Error
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, Queue, refusal.Limit)
		require.Equal(t, 503, refusal.Status)
		require.ErrorIs(t, err, tsdb.ErrNotReady)
		require.EqualError(t, err, "1 queries run on this node already, which is the limit, and it has waited for 10s: ask again later, or another node; "+
			"change it with --query.max-concurrency, and the wait with --query.max-queue-wait")
		err = d.enter(t.Context(), "a", 1)
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, Concurrency, refusal.Limit)
		require.ErrorContains(t, err, "1 queries of tenant a run on this node already, which is the limit (query_max_concurrency), and it has waited for 10s")

		// As many wait as may; one more is told at once.
		ctx, cancel := context.WithCancelCause(t.Context())
		waiting := make(chan error, queuePerPlace)
		for range queuePerPlace {
			go func() { waiting <- d.enter(ctx, "b", 0) }()
		}
		synctest.Wait()
		start = time.Now()
		require.ErrorContains(t, d.enter(t.Context(), "c", 0), "as many wait as may")
		require.Equal(t, start, time.Now())

		gone := errors.New("gone")
		cancel(gone)
		for range queuePerPlace {
			require.ErrorIs(t, <-waiting, gone)
		}
		inside, rest := d.counts()
		require.Equal(t, []int{1, 0}, []int{inside, rest})
	})
}
