// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

func TestNextScrape(t *testing.T) {
	const interval = 10 * time.Second
	base := fleetStart.Truncate(interval)
	f := func(now, offset, want time.Duration) {
		t.Helper()
		require.Equal(t, base.Add(want), nextScrape(base.Add(now), interval, offset))
	}
	f(0, 0, 10*time.Second)
	f(0, 3*time.Second, 3*time.Second)
	f(3*time.Second, 3*time.Second, 13*time.Second)
	f(9*time.Second, 3*time.Second, 13*time.Second)
	f(time.Second, 0, 10*time.Second)
	f(time.Second, 23*time.Second, 3*time.Second)
}

// runReplica runs one replica for d and returns the times it scraped at, and
// the requests of metadata alone that it sent.
func runReplica(t *testing.T, offset, d time.Duration, s *script) (scrapes []int64, metadata int, stats Stats) {
	t.Helper()
	replica := NewReplica(ReplicaConfig{
		Fleet: newTestFleet(1, "a"), Protocol: V1, Sender: newTestSender(s, V1, "n1", "n2"),
		Interval: 10 * time.Second, Offset: offset,
	})
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	require.NoError(t, replica.Run(ctx))
	for _, c := range s.calls {
		raw := decompress(t, Request{Body: []byte(c.body)})
		var w prompb.WriteRequest
		require.NoError(t, w.Unmarshal(raw))
		if len(w.Metadata) > 0 {
			metadata++
		}
		for _, ts := range w.Timeseries {
			scrapes = append(scrapes, ts.Samples[0].Timestamp)
		}
	}
	return scrapes, metadata, replica.Stats()
}

func TestReplicasOfAPairAreOutOfStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().Truncate(10 * time.Second)
		a, metadata, _ := runReplica(t, 0, 125*time.Second, &script{})
		require.Len(t, a, 12)
		require.Equal(t, 2, metadata, "one at the first scrape and one a minute later")
		for _, ts := range a {
			require.Zero(t, ts%10_000)
			require.Greater(t, ts, start.UnixMilli())
		}
		b, _, _ := runReplica(t, 4*time.Second, 125*time.Second, &script{})
		for i, ts := range b {
			require.Equal(t, int64(4_000), ts%10_000)
			if i > 0 {
				require.Equal(t, int64(10_000), ts-b[i-1])
			}
		}
	})
}

func TestReplicaCatchesUpAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 15 { // the backoff of 15 attempts is about a minute
			s.answers = append(s.answers, answer{status: 503})
		}
		scrapes, _, stats := runReplica(t, 0, 5*time.Minute, s)
		require.Equal(t, uint64(15), stats.Retries)
		require.Zero(t, stats.Failed)
		require.GreaterOrEqual(t, stats.Samples, uint64(29), "five minutes are 30 scrapes")
		seen := map[int64]bool{}
		newest := int64(0)
		for _, ts := range scrapes {
			require.GreaterOrEqual(t, ts, newest, "in order")
			newest, seen[ts] = ts, true
		}
		require.Len(t, seen, int(stats.Samples), "no scrape is skipped")
	})
}

func TestReplicaSkipsWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{{status: 204}, {status: 400}, {status: 400}}}
		_, _, stats := runReplica(t, 0, 55*time.Second, s)
		require.Equal(t, uint64(2), stats.Failed)
		require.Equal(t, uint64(3), stats.Samples)
	})
}
