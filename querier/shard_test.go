// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// TestShards: the parts of a select are disjoint and together all of it, however the series are spread over holders.
func TestShards(t *testing.T) {
	const series, shards = 50, 4
	c := newCluster(t, 3, 3)
	for i := range series {
		for j, s := range c.stores {
			if (i+j)%3 > 0 { // Each is on two of three.
				s.write(t, lset(fmt.Sprintf("s%02d", i)), tsample{t: 1000, f: float64(i)})
			}
		}
	}
	seen := map[string]int{}
	for i := range uint64(shards) {
		a := c.queryChunks(t, tenantCtx(), 0, 2000, &storage.SelectHints{End: 2000, ShardIndex: i, ShardCount: shards}, all())
		require.NoError(t, a.err)
		require.NotEmpty(t, a.order)
		require.Less(t, len(a.order), series)
		for _, name := range a.order {
			seen[name]++
		}
	}
	require.Len(t, seen, series)
	for name, n := range seen {
		require.Equal(t, 1, n, name)
	}
	// A limit is on the part, not on what the part is taken from.
	a := c.queryChunks(t, tenantCtx(), 0, 2000, &storage.SelectHints{End: 2000, ShardIndex: 3, ShardCount: shards, Limit: 5}, all())
	require.Len(t, a.order, 5)
}

func TestPeerRefusesImpossibleShards(t *testing.T) {
	for query, ok := range map[string]bool{
		"": true, "?shard=0&shards=1": true, "?shard=3&shards=4": true,
		"?shard=4&shards=4": false, "?shards=4": false, "?shard=0&shards=0": false, "?shard=-1&shards=4": false, "?shard=1&shards=1000000": false,
	} {
		var hints storage.SelectHints
		err := parseShard(httptest.NewRequest(http.MethodPost, "/internal/v1/read"+query, nil).URL.Query(), &hints)
		require.Equal(t, ok, err == nil, "%q: %v", query, err)
	}
}
