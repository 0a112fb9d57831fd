// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package tsdbstore

import (
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
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

// TestKilledAfterConcurrentWritesOfOneSeries: several writers, such as hints that are replayed beside live writes, bring
// samples of the same series. In which order they come does not matter for what a kill leaves, nor who makes the series.
func TestKilledAfterConcurrentWritesOfOneSeries(t *testing.T) {
	for _, known := range []bool{false, true} {
		s := testStore(t, Config{})
		if known {
			for g := range writtenGroups {
				require.NoError(t, write(s, "tenant", baseTime, 0, groupOfSeries(g)...))
			}
		}
		writeConcurrently(t, s)
		everythingWritten(t, s, "before")
		everythingWritten(t, testStore(t, Config{Dir: killed(t, s)}), "after a kill")
	}
}

const writtenGroups, writtenRounds = 4, 200

func groupOfSeries(g int) (series []labels.Labels) {
	for i := range 50 {
		series = append(series, named(fmt.Sprintf("series_%d_%d", g, i)))
	}
	return series
}

// writeConcurrently has several writers for each group of series, which take turns in its samples.
func writeConcurrently(t *testing.T, s *Store) {
	const writers = 8
	var running sync.WaitGroup
	for g := range writtenGroups {
		for w := range writers {
			running.Go(func() {
				for n := w; n < writtenRounds; n += writers {
					if err := write(s, "tenant", baseTime+int64(n)*1000, float64(n), groupOfSeries(g)...); err != nil {
						t.Errorf("write: %v", err)
					}
				}
			})
		}
	}
	running.Wait()
}

func everythingWritten(t *testing.T, s *Store, when string) {
	t.Helper()
	all := samples(t, s, "tenant")
	missing := 0
	for g := range writtenGroups {
		for _, series := range groupOfSeries(g) {
			for n := range writtenRounds {
				if v, ok := all[series.String()][baseTime+int64(n)*1000]; !ok || v != float64(n) {
					missing++
				}
			}
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d samples are missing", when, missing)
	}
}
