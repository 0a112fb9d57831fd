// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPace(t *testing.T) {
	const limit = 1 << 30
	for live, want := range map[int64]int{
		0:          paceMost,
		limit / 50: paceMost,
		limit / 8:  300, // Half of the limit is four times that.
		limit / 5:  gcPercent,
		limit / 2:  gcPercent,
		limit:      gcPercent, // The runtime's limit has it collected.
	} {
		require.Equal(t, want, pace(live, limit), live)
	}
}

func TestPacer(t *testing.T) {
	before := debug.SetGCPercent(gcPercent)
	defer debug.SetGCPercent(before)
	run := func(t *testing.T, limit int64, gogc string, steps func(querying *atomic.Bool)) {
		t.Setenv("GOGC", gogc)
		synctest.Test(t, func(t *testing.T) {
			var querying atomic.Bool
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- NewPacer(limit, querying.Load).Run(ctx) }()
			steps(&querying)
			cancel()
			require.NoError(t, <-ended)
			require.Equal(t, "150", Collection(), "afterwards")
		})
	}
	runtime.GC()
	t.Run("queries", func(t *testing.T) {
		run(t, 1<<40, "", func(querying *atomic.Bool) {
			time.Sleep(time.Minute)
			require.Equal(t, "150", Collection())
			querying.Store(true)
			time.Sleep(2 * paceEvery)
			require.Equal(t, "400", Collection())
			querying.Store(false)
			time.Sleep(paceLinger - 2*paceEvery)
			require.Equal(t, "400", Collection(), "the next one may come soon")
			time.Sleep(4 * paceEvery)
			require.Equal(t, "150", Collection())
			querying.Store(true)
			time.Sleep(2 * paceEvery)
		})
	})
	for name, c := range map[string]struct {
		limit int64
		gogc  string
	}{
		"no memory":          {limit: 1},
		"no limit":           {limit: math.MaxInt64},
		"the operator's own": {limit: 1 << 40, gogc: "150"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, c.limit, c.gogc, func(querying *atomic.Bool) {
				querying.Store(true)
				time.Sleep(time.Second)
				require.Equal(t, "150", Collection())
			})
		})
	}
}
