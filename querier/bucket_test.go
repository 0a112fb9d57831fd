// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// bucketOf is a Blocks over one TSDB that notes what it was asked for.
type bucketOf struct {
	*store
	asked []span
	late  bool // It fails when read and not when opened.
}

var errBucket = errors.New("bucket is out of reach")

// Empty implements Blocks: it does not know.
func (b *bucketOf) Empty(string, int64, int64) bool { return false }

func (b *bucketOf) Querier(tenant string, mint, maxt int64) (storage.Querier, error) {
	b.asked = append(b.asked, span{mint, maxt})
	return b.store.Querier(tenant, mint, maxt)
}

func (b *bucketOf) ChunkQuerier(tenant string, mint, maxt int64) (storage.ChunkQuerier, error) {
	b.asked = append(b.asked, span{mint, maxt})
	q, err := b.store.ChunkQuerier(tenant, mint, maxt)
	if b.late {
		return lateFailure{q}, err
	}
	return q, err
}

type lateFailure struct{ storage.ChunkQuerier }

func (lateFailure) Select(context.Context, bool, *storage.SelectHints, ...*labels.Matcher) storage.ChunkSeriesSet {
	return storage.ErrChunkSeriesSet(errBucket)
}

func clusterWithBucket(t *testing.T, n, rf int) (*cluster, *bucketOf) {
	b := &bucketOf{store: newStore(t)}
	return newCluster(t, n, rf, func(cfg *Config) { cfg.Blocks = b }), b
}

// TestBucketIsAskedForWhatIsOlder than the latest local start of all members, and for no more.
func TestBucketIsAskedForWhatIsOlder(t *testing.T) {
	c, b := clusterWithBucket(t, 3, 3)
	samples := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	for i, start := range []int64{40_000, 50_000, 30_000} {
		c.stores[i].start = start
		c.stores[i].write(t, lset("a"), samples[start/1000:]...)
	}
	b.write(t, lset("a"), samples[:60]...) // It overlaps, which is harmless.
	b.write(t, lset("old"), samples[:10]...)

	a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
	require.NoError(t, a.err)
	requireSame(t, samples, a.series[lset("a").String()])
	requireSame(t, samples[:10], a.series[lset("old").String()])
	require.Equal(t, []span{{0, 49_999}}, b.asked)

	b.asked = nil
	requireSame(t, samples[50:], c.query(t, tenantCtx(), 50_000, 100_000, nil, all()).series[lset("a").String()])
	require.Empty(t, b.asked)
	c.query(t, tenantCtx(), 10_000, 20_000, nil, all())
	require.Equal(t, []span{{10_000, 20_000}}, b.asked)

	b.asked = nil
	hints := &storage.SelectHints{End: 100_000, Func: "series"}
	require.Len(t, c.query(t, tenantCtx(), 0, 100_000, hints, all()).series, 2)
	require.Equal(t, []span{{0, 49_999}}, b.asked)
}

// TestBucketIsAskedForAllWhileAMemberIsMissing, because it may have what only that member had.
func TestBucketIsAskedForAllWhileAMemberIsMissing(t *testing.T) {
	c, b := clusterWithBucket(t, 3, 3)
	b.write(t, lset("a"), tsample{t: 90_000, f: 1})
	c.stop(1)
	a := c.query(t, tenantCtx(), 10_000, 100_000, nil, all())
	require.NoError(t, a.err)
	require.Len(t, a.series, 1)
	require.Equal(t, []span{{10_000, 100_000}}, b.asked)
	require.InDelta(t, 1, testutil.ToFloat64(c.Querier.metrics.bucketRequests.WithLabelValues("missing")), 0)
}

// TestLackingMembersDoNotMoveTheHorizon: a member that lacks data says since when it holds what it was given, and
// that is not true of it. The bucket is asked for all time, as for any missing member; it is needed for what is older
// than the start of the others, whether the lacking one's start is later (a new disk) or earlier (a lost block).
func TestLackingMembersDoNotMoveTheHorizon(t *testing.T) {
	for _, start := range []int64{math.MinInt64, 40_000, 90_000} {
		c, b := clusterWithBucket(t, 3, 3)
		c.stores[0].start, c.stores[1].start, c.stores[2].start = 50_000, 30_000, start
		c.members.Members[2].Lacks = "being refilled"
		f := func(mint int64, partial, needed bool) {
			t.Helper()
			ctx := WithPartialResponse(tenantCtx(), partial)
			b.broken, b.asked = nil, nil
			require.NoError(t, c.query(t, ctx, mint, 100_000, nil, all()).err)
			require.Equal(t, []span{{mint, 100_000}}, b.asked)
			b.broken = errBucket
			a := c.query(t, ctx, mint, 100_000, nil, all())
			switch {
			case !needed:
				require.NoError(t, a.err)
			case partial:
				require.Contains(t, strings.Join(a.warnings, "\n"), errBucket.Error())
			default:
				require.ErrorIs(t, a.err, errBucket)
			}
		}
		f(0, false, true)
		f(49_999, false, true)
		f(50_000, false, false)
		// With nobody left who has everything, the bucket is all there is.
		c.stores[0].opening.Store(true)
		c.stop(1)
		f(99_999, true, true)
	}
}

// TestBucketFails: an answer that needs the bucket is incomplete without it, one that does not is not.
func TestBucketFails(t *testing.T) {
	for name, fail := range map[string]func(*bucketOf){
		"when opened": func(b *bucketOf) { b.broken = errBucket },
		"when read":   func(b *bucketOf) { b.late = true },
	} {
		t.Run(name, func(t *testing.T) {
			c, b := clusterWithBucket(t, 3, 3)
			for _, s := range c.stores {
				s.start = 50_000
				s.write(t, lset("a"), tsample{t: 60_000, f: 1})
			}
			fail(b)
			a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
			require.ErrorIs(t, a.err, errBucket)
			require.ErrorIs(t, a.err, tsdb.ErrNotReady)
			a = c.query(t, WithPartialResponse(tenantCtx(), true), 0, 100_000, nil, all())
			require.NoError(t, a.err)
			require.Len(t, a.series, 1)
			require.Len(t, a.warnings, 1)
			require.Contains(t, a.warnings[0], "from 1970-01-01T00:00:00Z to 1970-01-01T00:00:49Z")

			require.NoError(t, c.query(t, tenantCtx(), 50_000, 100_000, nil, all()).err)
			c.stop(1)
			a = c.query(t, tenantCtx(), 50_000, 100_000, nil, all())
			require.NoError(t, a.err, "the bucket was only an extra")
			require.Empty(t, a.warnings)
		})
	}
}

func TestClusterOfOneWithBucket(t *testing.T) {
	c, b := clusterWithBucket(t, 1, 1)
	c.stores[0].start = 50_000
	c.stores[0].write(t, lset("a"), tsample{t: 60_000, f: 1})
	b.write(t, lset("a"), tsample{t: 10_000, f: 2})
	a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
	requireSame(t, []tsample{{t: 10_000, f: 2}, {t: 60_000, f: 1}}, a.series[lset("a").String()])
	b.asked = nil
	a = c.query(t, tenantCtx(), 50_000, 100_000, nil, all())
	requireSame(t, []tsample{{t: 60_000, f: 1}}, a.series[lset("a").String()])
	require.Empty(t, b.asked)
}

func TestBucketPart(t *testing.T) {
	f := func(r span, horizon int64, missing bool, want span, needed bool) {
		t.Helper()
		part, got := bucketPart(r, horizon, missing)
		if want.empty() {
			require.True(t, part.empty())
		} else {
			require.Equal(t, want, part)
		}
		require.Equal(t, needed, got)
	}
	none := span{1, 0}
	f(span{0, 100}, 50, false, span{0, 49}, true)
	f(span{0, 100}, 500, false, span{0, 100}, true)
	f(span{50, 100}, 50, false, none, false)
	f(span{50, 100}, 50, true, span{50, 100}, false)
	f(span{0, 100}, 50, true, span{0, 100}, true)
	f(span{math.MinInt64, math.MaxInt64}, math.MinInt64, false, none, false)
	f(span{math.MinInt64, math.MaxInt64}, math.MaxInt64, false, span{math.MinInt64, math.MaxInt64 - 1}, true)
}

// TestBucketIsToldWhatItIsJoinedTo: members may answer from the earliest local start on. What they have of times for which the
// bucket alone is to answer is left out.
func TestBucketIsToldWhatItIsJoinedTo(t *testing.T) {
	b := &bucketOf{store: newStore(t)}
	var told []int64
	alone := [][2]int64{{2_000, 4_500}, {31_000, 33_000}}
	c := newCluster(t, 3, 3, func(cfg *Config) {
		cfg.Blocks = b
		cfg.Joined = func(ctx context.Context, t int64) (context.Context, func() [][2]int64) {
			told = append(told, t)
			return ctx, func() [][2]int64 { return alone }
		}
	})
	samples := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	for i, start := range []int64{40_000, 50_000, 30_000} {
		c.stores[i].start = start
		c.stores[i].write(t, lset("a"), samples...)
	}
	b.write(t, lset("a"), samples[3], samples[32])
	a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
	require.NoError(t, a.err)
	require.Equal(t, []int64{30_000}, told)
	want := slices.Concat(samples[:2], samples[3:4], samples[5:31], samples[32:33], samples[34:])
	requireSame(t, want, a.series[lset("a").String()])
}

// emptyAfter is a bucket that knows to have nothing from a time on.
type emptyAfter struct {
	*bucketOf
	from int64
}

func (e emptyAfter) Empty(_ string, mint, _ int64) bool { return mint >= e.from }

// TestLoneNodeBesideAnEmptyBucket: what is older than the local start is in the TSDB alone if the bucket has nothing of that time, and then nothing
// stands between it and who asks.
func TestLoneNodeBesideAnEmptyBucket(t *testing.T) {
	c, b := clusterWithBucket(t, 1, 1)
	c.Querier.cfg.Blocks = emptyAfter{b, 20_000}
	c.stores[0].start = 50_000
	samples := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	c.stores[0].write(t, lset("a"), samples[20:]...)
	b.write(t, lset("a"), samples[:20]...)
	f := func(mint, maxt int64, direct bool) {
		t.Helper()
		b.asked = nil
		requireSame(t, samples[mint/1000:maxt/1000+1], c.query(t, tenantCtx(), mint, maxt, nil, all()).series[lset("a").String()])
		require.Equal(t, direct, len(b.asked) == 0)
		q, err := c.Querier.Querier(mint, maxt)
		require.NoError(t, err)
		_, merged := q.Select(tenantCtx(), false, nil, all()).(*sampleSet)
		require.Equal(t, direct, !merged)
		require.NoError(t, q.Close())
	}
	f(60_000, 90_000, true)
	f(20_000, 90_000, true)
	f(19_000, 90_000, false)
	f(30_000, 40_000, true)
}
