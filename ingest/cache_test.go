// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func hashedSeries(c *SeriesCache, names ...string) []Series {
	out := make([]Series, len(names))
	for i, name := range names {
		out[i].hash = c.hash([]byte(name))
	}
	return out
}

func TestCacheEntrySize(t *testing.T) {
	t.Parallel()
	require.Equal(t, uintptr(32), unsafe.Sizeof(cacheEntry{}))
}

// TestCacheFollowsAMap puts, asks and sweeps at random, and compares with a map.
func TestCacheFollowsAMap(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := NewSeriesCache(CacheConfig{}, nil)
	tenant := c.tenant("a")
	type known struct {
		slot  uint16
		ref   uint64
		epoch uint32
	}
	want := map[string]known{}
	var order shardOrder
	for range 30_000 {
		name := fmt.Sprint("series-", rnd.IntN(3000))
		s := hashedSeries(c, name)
		switch rnd.IntN(100) {
		case 0:
			c.sweep()
			for name, k := range want {
				if c.epoch.Load()-k.epoch > 1 {
					delete(want, name)
				}
			}
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20:
			k := known{slot: uint16(rnd.IntN(4096)), ref: want[name].ref, epoch: c.epoch.Load()}
			tenant.put(&Series{hash: s[0].hash, slot: k.slot}, true)
			want[name] = k
		case 21, 22, 23, 24, 25:
			ref := rnd.Uint64()
			tenant.setRef(s[0].hash, ref, 7)
			if k, ok := want[name]; ok {
				k.ref = ref
				want[name] = k
			}
		default:
			tenant.lookUp(s, &order, true)
			k, ok := want[name]
			require.Equal(t, ok, s[0].known, name)
			if ok {
				require.Equal(t, k.slot, s[0].slot)
				require.Equal(t, k.ref, s[0].ref)
				k.epoch = c.epoch.Load()
				want[name] = k
			}
		}
	}
	require.EqualValues(t, len(want), c.entries.Load())
}

// TestCacheStrictness: what was valid between members need not be valid for a sender.
func TestCacheStrictness(t *testing.T) {
	t.Parallel()
	c := NewSeriesCache(CacheConfig{}, nil)
	tenant := c.tenant("a")
	var order shardOrder
	found := func(strict bool) bool {
		s := hashedSeries(c, "x")
		tenant.lookUp(s, &order, strict)
		return s[0].known
	}
	tenant.put(&Series{hash: c.hash([]byte("x")), slot: 9}, false)
	require.True(t, found(false))
	require.False(t, found(true))
	tenant.put(&Series{hash: c.hash([]byte("x")), slot: 9}, true)
	require.True(t, found(false))
	require.True(t, found(true))
}

func TestCacheTenantsAreApart(t *testing.T) {
	t.Parallel()
	c := NewSeriesCache(CacheConfig{}, nil)
	c.tenant("a").put(&Series{hash: c.hash([]byte("x")), slot: 9}, true)
	s := hashedSeries(c, "x")
	var order shardOrder
	c.tenant("b").lookUp(s, &order, true)
	require.False(t, s[0].known)
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := NewSeriesCache(CacheConfig{MaxEntries: 100}, nil)
	for i := range 1000 {
		c.tenant("a").put(&Series{hash: c.hash(fmt.Append(nil, i)), slot: 1}, true)
	}
	require.EqualValues(t, 100, c.entries.Load())
	require.Equal(t, 900.0, testutil.ToFloat64(c.metrics.full))
	c.sweep()
	c.sweep()
	require.Zero(t, c.entries.Load(), "nobody asked for them for two epochs")
	require.Equal(t, 100.0, testutil.ToFloat64(c.metrics.evicted))
}

// TestCacheBytesPerSeries holds the bound on memory: 48 bytes a series.
func TestCacheBytesPerSeries(t *testing.T) {
	t.Parallel()
	c := NewSeriesCache(CacheConfig{}, nil)
	tenant := c.tenant("a")
	for i := range 200_000 {
		tenant.put(&Series{hash: c.hash(fmt.Append(nil, i)), slot: 1}, true)
		if i < 50_000 || i%10_000 != 0 {
			continue
		}
		places := 0
		for n := range tenant.shards {
			places += len(tenant.shards[n].table)
		}
		require.Less(t, float64(places*32)/float64(i+1), 48.0, "at %d series", i+1)
	}
}

func TestCacheConcurrently(t *testing.T) {
	t.Parallel()
	c := NewSeriesCache(CacheConfig{}, nil)
	tenant := c.tenant("a")
	var g sync.WaitGroup
	for worker := range 4 {
		g.Go(func() {
			var order shardOrder
			for i := range 3000 {
				s := hashedSeries(c, fmt.Sprint(i%500), fmt.Sprint(i%501), fmt.Sprint(worker))
				tenant.lookUp(s, &order, true)
				for n := range s {
					if !s[n].known {
						tenant.put(&Series{hash: s[n].hash, slot: uint16(s[n].hash.lo % 4096)}, true)
					} else if s[n].slot != uint16(s[n].hash.lo%4096) {
						t.Errorf("slot of another series")
					}
				}
				if i%1000 == 0 {
					c.sweep()
				}
			}
		})
	}
	g.Wait()
}

// BenchmarkLookUp asks for batches of 2,000 series of many.
func BenchmarkLookUp(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := NewSeriesCache(CacheConfig{}, nil)
			tenant := c.tenant("a")
			series := make([]Series, n)
			for i := range series {
				series[i].hash = c.hash(fmt.Append(nil, i))
				tenant.put(&Series{hash: series[i].hash, slot: 1}, true)
			}
			var order shardOrder
			at := 0
			for b.Loop() {
				tenant.lookUp(series[at:at+benchSeries], &order, true)
				at = (at + benchSeries) % n
			}
			perSample(b)
		})
	}
}
