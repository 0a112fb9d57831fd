// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// The cached path under everything that can make what it remembers untrue: series come
// and go, heads are cut and collected, TSDBs are opened anew, the ring changes, the cache
// forgets and is full. The value of every sample says which series it belongs to and
// when, so that a sample under other labels cannot pass.

// otherTenant has the same series, in a TSDB of its own.
const otherTenant = "other"

// churn is a cluster and what it has accepted.
type churn struct {
	t     *testing.T
	c     *storeCluster
	clock atomic.Int64 // newest timestamp, Unix ms

	mu       sync.Mutex
	accepted map[string]map[int64]float64 // tenant and labels to samples
}

// churnMargin is how far behind the newest sample a head is cut: a write under way has
// taken its time before.
const churnMargin = 10 * 60 * 1000

func newChurn(t *testing.T, members, rf int) *churn {
	ch := &churn{t: t, c: newStoreCluster(t, members, rf), accepted: map[string]map[int64]float64{}}
	for _, m := range ch.c.members {
		m.store.other = map[string]*testStore{otherTenant: openStore(t)}
	}
	// A cache that has room for few of the series.
	ch.c.members[0].cache.max = 150
	ch.clock.Store(time.Now().Add(-100 * time.Minute).UnixMilli())
	return ch
}

// labelsOfID are the labels of a series; their order, which the cache sees, is chosen.
func labelsOfID(rnd *rand.Rand, id int) []prompb.Label {
	out := labelsV1("__name__", "churn", "id", strconv.Itoa(id), "pod", fmt.Sprintf("pod-%d-%x", id, id*7919), "job", "j")
	if rnd.IntN(4) == 0 {
		rnd.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if rnd.IntN(8) == 0 {
		out = append(out, prompb.Label{Name: "empty"})
	}
	return out
}

func valueOf(tenant string, id int, ts int64) float64 {
	v := float64(id)*1e7 + float64(ts%1e7)
	if tenant == otherTenant {
		v = -v
	}
	return v
}

// send writes one sample of each series through one member and notes what was accepted.
func (ch *churn) send(rnd *rand.Rand, ids []int) {
	tenant := []string{testTenant, otherTenant}[rnd.IntN(2)]
	ts := ch.clock.Add(1 + rnd.Int64N(2000))
	var series []prompb.TimeSeries
	for _, id := range ids {
		s := prompb.TimeSeries{Labels: labelsOfID(rnd, id), Samples: []prompb.Sample{{Timestamp: ts, Value: valueOf(tenant, id, ts)}}}
		series = append(series, s)
	}
	want := http.StatusNoContent
	if rnd.IntN(5) == 0 { // A bad series makes the other members get parts of the body.
		bad := rnd.IntN(len(series) + 1)
		series = slices.Insert(series, bad, seriesV1(ts, 1, "no", "name"))
		want = http.StatusBadRequest
	}
	h := ch.c.members[rnd.IntN(len(ch.c.members))].handler
	for range 1 + rnd.IntN(2) {
		status := 0
		if rnd.IntN(2) == 0 {
			status = post(ch.t, h, typeV1, encodeV1(ch.t, &prompb.WriteRequest{Timeseries: series}), headerTenant, tenant).Code
		} else {
			status = post(ch.t, h, typeV2, encodeV2(ch.t, toV2(series)), headerTenant, tenant).Code
		}
		if status == http.StatusServiceUnavailable {
			continue // Nothing is promised.
		}
		if status != want {
			ch.t.Errorf("status %d, want %d", status, want)
			return
		}
		ch.note(tenant, ids, ts)
	}
}

func (ch *churn) note(tenant string, ids []int, ts int64) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, id := range ids {
		key := tenant + strconv.Itoa(id)
		if ch.accepted[key] == nil {
			ch.accepted[key] = map[int64]float64{}
		}
		ch.accepted[key][ts] = valueOf(tenant, id, ts)
	}
}

// check reads everything back from all members.
func (ch *churn) check() {
	ch.t.Helper()
	stored := map[string]map[int64]float64{}
	for _, m := range ch.c.members {
		for tenant, store := range map[string]*testStore{testTenant: m.store, otherTenant: m.store.other[otherTenant]} {
			for labels, samples := range store.dump(ch.t) {
				var id int
				var name string
				_, err := fmt.Sscanf(labels, `{__name__="churn", id="%d", job="j", pod=%q}`, &id, &name)
				require.NoError(ch.t, err, labels)
				key := tenant + strconv.Itoa(id)
				if stored[key] == nil {
					stored[key] = map[int64]float64{}
				}
				for _, s := range samples {
					require.Equal(ch.t, valueOf(tenant, id, s.t), math.Float64frombits(s.bits), "%s has a sample of another series", labels)
					stored[key][s.t] = valueOf(tenant, id, s.t)
				}
			}
		}
	}
	for key, samples := range ch.accepted {
		for ts, v := range samples {
			got, ok := stored[key][ts]
			require.True(ch.t, ok && got == v, "the sample of %s at %d is lost", key, ts)
		}
	}
}

func (ch *churn) stores(rnd *rand.Rand) *testStore {
	m := ch.c.members[rnd.IntN(len(ch.c.members))]
	return []*testStore{m.store, m.store.other[otherTenant]}[rnd.IntN(2)]
}

// disturb does one of the things that happen to a member.
func (ch *churn) disturb(rnd *rand.Rand) {
	store, cache := ch.stores(rnd), ch.c.members[rnd.IntN(len(ch.c.members))].cache
	switch rnd.IntN(9) {
	case 0:
		cache.sweep()
	case 1:
		cache.sweep()
		cache.sweep()
	case 2:
		store.withDB(func(db *tsdb.DB) { db.ForceHeadMMap() })
	case 3, 4:
		store.withDB(func(db *tsdb.DB) { ch.cut(db) })
	case 5:
		store.withDB(func(db *tsdb.DB) {
			if err := db.CompactOOOHead(ch.t.Context()); err != nil {
				ch.t.Errorf("cut out-of-order head: %v", err)
			}
		})
	case 6:
		store.reopen(ch.t)
	case 7:
		store.renew(ch.t)
	case 8:
		gone, dead := rnd.IntN(2*len(ch.c.members)), rnd.IntN(2*len(ch.c.members))
		ch.c.setMembers(func(i int) (ring.State, bool) {
			if i == gone {
				return ring.Left, false
			}
			return ring.Active, i != dead
		})
	}
}

// cut makes a block of what is old enough, after which the head collects the series that
// have nothing newer.
func (ch *churn) cut(db *tsdb.DB) {
	head, until := db.Head(), ch.clock.Load()-churnMargin
	if head.NumSeries() == 0 || head.MinTime() > until {
		return
	}
	if err := db.CompactHead(tsdb.NewRangeHeadWithIsolationDisabled(head, head.MinTime(), until)); err != nil {
		ch.t.Errorf("cut head: %v", err)
	}
}

// idsAround are the series that are there at a step: old ones go as new ones come.
func idsAround(rnd *rand.Rand, step int) []int {
	ids := map[int]struct{}{}
	for range 1 + rnd.IntN(40) {
		ids[step/3+rnd.IntN(200)] = struct{}{}
	}
	return slices.Collect(maps.Keys(ids))
}

func churnRand(t *testing.T) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// TestChurn does one thing after the other.
func TestChurn(t *testing.T) {
	t.Parallel()
	for _, rf := range []int{1, 2, 3} {
		t.Run(fmt.Sprintf("rf=%d", rf), func(t *testing.T) {
			t.Parallel()
			rnd := churnRand(t)
			ch := newChurn(t, 3, rf)
			for step := range 300 {
				ch.send(rnd, idsAround(rnd, step))
				if rnd.IntN(4) == 0 {
					ch.disturb(rnd)
				}
				if step%60 == 59 { // Time passes: what is in the head becomes old, and is sent again.
					ch.clock.Add(churnMargin + rnd.Int64N(60*1000))
					store := ch.stores(rnd)
					store.withDB(func(db *tsdb.DB) { ch.cut(db) })
				}
				if step%100 == 99 {
					ch.check()
				}
			}
			ch.check()
		})
	}
}

// TestChurnConcurrently does all of it at the same time; the race detector sees more.
func TestChurnConcurrently(t *testing.T) {
	t.Parallel()
	rnd := churnRand(t)
	ch := newChurn(t, 3, 3)
	var writers, disturbers sync.WaitGroup
	var done atomic.Bool
	for w := range 3 {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		writers.Go(func() {
			for step := range 120 {
				ids := idsAround(own, step)
				for i := range ids {
					ids[i] = ids[i]*3 + w // Of a series, samples come in the order of time.
				}
				ch.send(own, ids)
			}
		})
	}
	for range 2 {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		disturbers.Go(func() {
			for !done.Load() {
				ch.disturb(own)
				time.Sleep(time.Millisecond)
			}
		})
	}
	writers.Wait()
	done.Store(true)
	disturbers.Wait()
	for _, m := range ch.c.members {
		m.dist.Close()
	}
	ch.check()
}
