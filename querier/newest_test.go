// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// newestStore is a store that knows its newest sample.
type newestStore struct {
	*store
	newest int64
}

func (s newestStore) Newest(string) int64 { return s.newest }

// TestNewest: the newest sample of an answer is known without decoding one, of this member, of peers, and of a member that is alone; not
// where the bucket or a store that does not know is asked, and not of sorted answers, which nobody asks.
func TestNewest(t *testing.T) {
	newest := func(c *cluster, sorted bool) int64 {
		q, err := c.Querier.Querier(0, math.MaxInt64)
		require.NoError(t, err)
		defer func() { require.NoError(t, q.Close()) }()
		set := q.Select(tenantCtx(), sorted, nil, all())
		for set.Next() {
		}
		require.NoError(t, set.Err())
		if s, ok := set.(interface{ Newest() int64 }); ok {
			return s.Newest()
		}
		return maxTime
	}
	local := func(at int64) func(*Config) {
		return func(cfg *Config) { cfg.Local = newestStore{cfg.Local.(*store), at} }
	}
	write := func(c *cluster, i int, to int64) *cluster {
		c.stores[i].write(t, labels.FromStrings("__name__", "m", "i", string(rune('a'+i))), floats(0, to, 1000, func(i int64) float64 { return float64(i) })...)
		return c
	}
	require.Equal(t, int64(7000), newest(write(newCluster(t, 1, 1, local(7000)), 0, 7000), false), "alone")
	require.Equal(t, int64(maxTime), newest(write(newCluster(t, 1, 1), 0, 7000), false), "alone, and it does not know")
	require.Equal(t, int64(9000), newest(write(newCluster(t, 3, 3, local(7000)), 2, 9000), false), "a peer's")
	require.Equal(t, int64(7000), newest(write(newCluster(t, 3, 3, local(7000)), 2, 3000), false), "this member's")
	require.Equal(t, int64(maxTime), newest(write(newCluster(t, 3, 3), 2, 9000), false), "this member does not know")
	require.Equal(t, int64(maxTime), newest(write(newCluster(t, 3, 3, local(7000)), 2, 9000), true), "sorted")
	inBucket := func(cfg *Config) {
		cfg.Local = newestStore{cfg.Local.(*store), 7000}
		cfg.Local.(newestStore).start = 1
		cfg.Blocks = &bucketOf{store: newStore(t)}
	}
	require.Equal(t, int64(maxTime), newest(write(newCluster(t, 3, 3, inBucket), 2, 9000), false), "the bucket is asked")
}
