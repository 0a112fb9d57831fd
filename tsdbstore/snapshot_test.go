// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSnapshotKeepsOutOfOrderSamples restarts a store cleanly after a series got a second
// reference: it was made for a sample that was refused, went with a restart, and came again.
func TestSnapshotKeepsOutOfOrderSamples(t *testing.T) {
	late, other := named("late"), named("other")
	s := testStore(t, Config{})
	require.NoError(t, write(s, "tenant", baseTime, 1, other))
	require.Error(t, write(s, "tenant", baseTime-int64(10*time.Hour/time.Millisecond), 1, late), "must be too old")

	s = testStore(t, Config{Dir: killed(t, s)})
	require.NoError(t, write(s, "tenant", baseTime+2000, 2, late))
	require.NoError(t, write(s, "tenant", baseTime+1000, 3, late))
	want := map[int64]float64{baseTime + 2000: 2, baseTime + 1000: 3}

	s = testStore(t, Config{Dir: killed(t, s)})
	require.Equal(t, want, samples(t, s, "tenant")[late.String()], "after a kill")

	for range 2 {
		require.NoError(t, s.Close())
		s = testStore(t, Config{Dir: s.cfg.Dir})
		require.Equal(t, want, samples(t, s, "tenant")[late.String()], "after a clean restart")
	}
}
