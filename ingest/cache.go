// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/zeebo/xxh3"
)

const (
	// DefaultCacheEntries is the bound of CacheConfig.MaxEntries: 16 million series
	// in some 640 MiB. A member that has more decodes the labels of the rest each
	// time, which costs CPU and nothing else.
	DefaultCacheEntries = 16 << 20
	// cacheEpoch is the unit of an entry's age. An entry that was not asked for in a
	// full epoch goes with the next sweep, so after 10 to 20 minutes: well above any
	// scrape interval, well below what churned series would pile up to.
	cacheEpoch = 10 * time.Minute
	// cacheTenantsMax bounds the tenants that have a part of the cache, of 4 KiB while
	// it is empty: names come from requests, and anyone can make them up. Further ones
	// go without.
	cacheTenantsMax = 10_000
)

// CacheConfig configures a SeriesCache.
type CacheConfig struct {
	// MaxEntries bounds the entries of all tenants together. Zero means
	// DefaultCacheEntries.
	MaxEntries int
}

// SeriesCache remembers series by a hash of their label bytes as they were sent, so
// that labels are decoded and validated once per series and not once per sample. A
// hit means that the very same bytes were found valid before; it tells the slot of
// the series and, if this member has it in an open TSDB, the reference there.
//
// An entry can vanish at any time and a reference can be stale: both only mean that
// the labels are decoded again. Safe for concurrent use.
type SeriesCache struct {
	// seed is of this process, so that nobody can prepare label bytes that collide.
	seed    uint64
	max     int64
	entries atomic.Int64
	epoch   atomic.Uint32
	tenants sync.Map // string -> *tenantCache
	named   atomic.Int64
	metrics *cacheMetrics
}

// NewSeriesCache returns an empty cache. Run sweeps it.
func NewSeriesCache(cfg CacheConfig, reg prometheus.Registerer) *SeriesCache {
	setDefault(&cfg.MaxEntries, DefaultCacheEntries)
	c := &SeriesCache{seed: rand.Uint64(), max: int64(cfg.MaxEntries)}
	c.metrics = newCacheMetrics(reg, c)
	return c
}

// Run drops entries that nobody asks for any more, until the context ends.
func (c *SeriesCache) Run(ctx context.Context) error {
	tick := time.NewTicker(cacheEpoch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.sweep()
		}
	}
}

// sweep starts a new epoch and drops what was not used in the last one.
func (c *SeriesCache) sweep() {
	now := c.epoch.Add(1)
	c.tenants.Range(func(name, t any) bool {
		left := 0
		for i := range t.(*tenantCache).shards {
			left += t.(*tenantCache).shards[i].sweep(uint8(now))
		}
		if left == 0 && c.named.Load() > cacheTenantsMax/2 {
			c.drop(name.(string), t.(*tenantCache))
		}
		return true
	})
}

// tenant returns the part of a tenant: the same label bytes are another series, and
// another slot, for each tenant. A nil cache has none, and a tenant beyond
// cacheTenantsMax none either.
func (c *SeriesCache) tenant(name string) *tenantCache {
	if c == nil {
		return nil
	}
	if t, ok := c.tenants.Load(name); ok {
		return t.(*tenantCache)
	}
	if c.named.Load() >= cacheTenantsMax {
		return nil
	}
	fresh := &tenantCache{cache: c}
	for i := range fresh.shards {
		fresh.shards[i].owner = c
	}
	t, there := c.tenants.LoadOrStore(name, fresh)
	if !there {
		c.named.Add(1)
	}
	return t.(*tenantCache)
}

// labelHash is a 128-bit hash of label bytes. Two series of one tenant share one with
// a probability of 1e-21 for a billion series.
type labelHash struct{ hi, lo uint64 }

func (c *SeriesCache) hash(text []byte) labelHash {
	h := xxh3.Hash128Seed(text, c.seed)
	return labelHash{h.Hi, h.Lo}
}

// A series that has label references is hashed label by label, from the hashes of its
// symbols, which are made once for all series of a request. So a series has one hash for
// its label bytes and another one for its references.

// startHash is the hash of no labels. It is not zero, which would be a free place.
var startHash = labelHash{hashMix, hashMix}

// hashMix is an odd number with bits everywhere.
const hashMix = 0x9e3779b97f4a7c15

// with returns the hash of a series that has one label more than that of h. Each half
// depends on the order of the labels, and on which of the two is the name: a step is
// one to one in what was before it and is not linear. The hashes of symbols are as good
// as random to whoever does not know the seed.
func (h labelHash) with(name, value *labelHash) labelHash {
	hi := (h.hi ^ (name.hi*hashMix + value.hi)) * hashMix
	lo := (h.lo ^ (name.lo*hashMix + value.lo)) * hashMix
	return labelHash{hi ^ hi>>32, lo ^ lo>>32}
}

// cacheShards keeps threads out of each other's way; a power of two.
const cacheShards = 64

// tenantCache has the entries of one tenant.
type tenantCache struct {
	cache  *SeriesCache
	shards [cacheShards]cacheShard
	// passed are the loosest limits that strict entries can have passed; nil before
	// the first one.
	passed atomic.Pointer[seriesLimits]
}

func (t *tenantCache) shard(h labelHash) *cacheShard { return &t.shards[h.hi%cacheShards] }

// shardOrder has the positions of a batch's series by shard; its memory is reused.
type shardOrder struct {
	order []uint32
	ends  [cacheShards]uint32
}

// sort fills order with the positions of series; those of shard n end at ends[n].
func (o *shardOrder) sort(series []Series) {
	o.ends = [cacheShards]uint32{}
	for i := range series {
		o.ends[series[i].hash.hi%cacheShards]++
	}
	sum := uint32(0)
	for n, count := range o.ends {
		o.ends[n] = sum // where the shard begins, until it is filled
		sum += count
	}
	o.order = slices.Grow(o.order[:0], len(series))[:len(series)]
	for i := range series {
		n := series[i].hash.hi % cacheShards
		o.order[o.ends[n]] = uint32(i)
		o.ends[n]++
	}
}

// lookUp tells every series, whose hashes are set, what is known of it. An entry that was
// made under the looser limits between members is none for a request that has to
// pass the public ones.
//
// Most of the time goes into waiting for memory. So the series are taken shard by
// shard, with one lock for all of a shard's: between the locks the processor is free
// to wait for many entries at once.
func (t *tenantCache) lookUp(series []Series, o *shardOrder, strict bool) {
	o.sort(series)
	epoch := uint8(t.cache.epoch.Load())
	from := uint32(0)
	for n := range t.shards {
		if to := o.ends[n]; to > from {
			t.shards[n].lookUp(series, o.order[from:to], epoch, strict)
			from = to
		}
	}
}

// put notes that the label bytes of a series are valid, and where its key is. When the
// cache is full it does nothing.
func (t *tenantCache) put(series *Series, strict bool) {
	h := series.hash
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(h)
	if e == nil {
		if e = s.add(h); e == nil {
			return
		}
	}
	e.slot, e.below = series.slot, series.below
	if strict {
		e.slot |= entryStrict
	}
	e.age = uint8(t.cache.epoch.Load())
}

// setRef notes the reference of a series in an open TSDB, if the series is cached.
func (t *tenantCache) setRef(h labelHash, ref uint64, generation uint32) {
	s := t.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.find(h); e != nil {
		e.ref, e.generation = ref, generation
	}
}
