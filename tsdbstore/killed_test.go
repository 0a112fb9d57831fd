// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"testing"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// TestKilledWhileOutOfOrderSamplesAreCut: the TSDB begins to cut the out-of-order head, which takes its chunks to a file
// that is not written through, more samples of the same series arrive, and the process is killed.
func TestKilledWhileOutOfOrderSamplesAreCut(t *testing.T) {
	series := named("late")
	s := testStore(t, Config{})
	want := map[int64]float64{}
	add := func(after int64) {
		require.NoError(t, write(s, "tenant", baseTime+after, float64(after), series))
		want[baseTime+after] = float64(after)
	}
	add(100_000)
	for after := int64(1000); after < 10_000; after += 1000 {
		add(after)
	}
	_, err := tsdb.NewOOOCompactionHead(t.Context(), s.find("tenant").inst.Load().db.Head())
	require.NoError(t, err)
	for after := int64(20_000); after < 30_000; after += 1000 {
		add(after)
	}
	add(200_000)

	for range 2 {
		s = testStore(t, Config{Dir: killed(t, s)})
		require.Equal(t, want, samples(t, s, "tenant")[series.String()], "after a kill")
	}
	add(30_000)
	require.NoError(t, s.FlushHead(t.Context(), "tenant"))
	require.Equal(t, want, samples(t, s, "tenant")[series.String()], "in blocks")
}
