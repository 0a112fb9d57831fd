// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/stretchr/testify/require"
)

func lset(name string) labels.Labels { return labels.FromStrings("__name__", name, "job", "j") }

func TestIdenticalCopiesComeOnce(t *testing.T) {
	c := newCluster(t, 3, 3)
	want := floats(0, 3_600_000, 15_000, func(i int64) float64 { return float64(i) })
	for _, s := range c.stores {
		s.write(t, lset("b"), want...)
		s.write(t, lset("a"), want[:10]...)
	}
	for _, a := range []answer{
		c.query(t, tenantCtx(), 0, math.MaxInt64, nil, all()),
		c.queryChunks(t, tenantCtx(), 0, math.MaxInt64, nil, all()),
	} {
		require.NoError(t, a.err)
		require.Empty(t, a.warnings)
		require.Equal(t, []string{lset("a").String(), lset("b").String()}, a.order)
		requireSame(t, want, a.series[lset("b").String()])
		requireSame(t, want[:10], a.series[lset("a").String()])
	}
	require.Zero(t, testutil.ToFloat64(c.Querier.metrics.conflicts))
	require.InDelta(t, 2, testutil.ToFloat64(c.Querier.metrics.fanouts.WithLabelValues(resultComplete)), 0)
}

// TestHolesAreFilled: no copy is whole, all of them together are; and series that are on some members only.
func TestHolesAreFilled(t *testing.T) {
	rnd := seeded(t)
	c := newCluster(t, 3, 3)
	truth := map[string][]tsample{}
	for _, name := range []string{"a", "b", "c", "d"} {
		for i := range int64(400) {
			s := tsample{t: i * 10_000, f: float64(rnd.IntN(5))}
			if name == "d" {
				s = tsample{t: s.t, h: tsdbutil.GenerateTestHistogram(i)}
			}
			truth[lset(name).String()] = append(truth[lset(name).String()], s)
			without := -1 // One member at random misses it, or two do.
			if rnd.IntN(2) == 0 {
				without = rnd.IntN(3)
			}
			only := rnd.IntN(3)
			for m, store := range c.stores {
				if m == only || without >= 0 && m != without {
					store.write(t, lset(name), s)
				}
			}
		}
	}
	for _, a := range []answer{
		c.query(t, tenantCtx(), 0, math.MaxInt64, nil, all()),
		c.queryChunks(t, tenantCtx(), 0, math.MaxInt64, nil, all()),
	} {
		require.NoError(t, a.err)
		require.Len(t, a.series, len(truth))
		for name, want := range truth {
			requireSame(t, want, a.series[name])
			requireTrueHints(t, a.series[name])
		}
	}
}

// TestMissingMembers: one of three may be missing, whatever it died of; two may not.
func TestMissingMembers(t *testing.T) {
	want := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	missing := map[string]func(c *cluster, i int){
		"gossip says dead": func(c *cluster, i int) { c.members.Members[i].Alive = false },
		"joining":          func(c *cluster, i int) { c.members.Members[i].Serving = false },
		"forgotten":        func(c *cluster, i int) { c.members.Members[i].Forgotten = true },
		"lacks data":       func(c *cluster, i int) { c.members.Members[i].Lacks = "being refilled" },
		"refused":          func(c *cluster, i int) { c.stop(i) },
		"replaying":        func(c *cluster, i int) { c.stores[i].opening.Store(true) },
		"store broken":     func(c *cluster, i int) { c.stores[i].broken = errors.New("reopening after a failed write") },
	}
	for name, lose := range missing {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3, 3)
			for _, s := range c.stores {
				s.write(t, lset("a"), want...)
			}
			lose(c, 1)
			a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
			require.NoError(t, a.err)
			require.Empty(t, a.warnings, "missing but complete is not worth a warning")
			requireSame(t, want, a.series[lset("a").String()])
			require.InDelta(t, 1, testutil.ToFloat64(c.Querier.metrics.fanouts.WithLabelValues(resultDegraded)), 0)

			lose(c, 2)
			a = c.query(t, tenantCtx(), 0, 100_000, nil, all())
			var incomplete *IncompleteError
			require.ErrorAs(t, a.err, &incomplete)
			require.ErrorIs(t, a.err, tsdb.ErrNotReady, "what Prometheus' API takes for unavailable")
			require.Len(t, incomplete.Missing, 2)
			require.Empty(t, a.series)
			require.ErrorContains(t, a.err, "m1 (")
			require.ErrorContains(t, a.err, "m2 (")
			require.ErrorContains(t, a.err, "partial_response=true")

			a = c.query(t, WithPartialResponse(tenantCtx(), true), 0, 100_000, nil, all())
			require.NoError(t, a.err)
			requireSame(t, want, a.series[lset("a").String()])
			require.Len(t, a.warnings, 1)
			for _, part := range []string{"m1 (", "m2 (", "from 1970-01-01T00:00:00Z to 1970-01-01T00:01:40Z"} {
				require.Contains(t, a.warnings[0], part)
			}
		})
	}
}

// TestLackingMembersAreAsked: what they have is in the answer, though it counts as missing. It is the same for
// this process and for a peer.
func TestLackingMembersAreAsked(t *testing.T) {
	for lacking := range 3 {
		c := newCluster(t, 3, 3)
		c.members.Members[lacking].Lacks = "being refilled"
		for i, s := range c.stores {
			s.write(t, lset("a"), tsample{t: int64(i), f: 1})
		}
		for _, a := range []answer{
			c.query(t, tenantCtx(), 0, 100, nil, all()),
			c.queryChunks(t, tenantCtx(), 0, 100, nil, all()),
		} {
			require.NoError(t, a.err)
			require.Empty(t, a.warnings)
			require.Len(t, a.series[lset("a").String()], 3)
		}
		require.Len(t, c.query(t, tenantCtx(), 0, 100, &storage.SelectHints{End: 100, Func: "series"}, all()).series, 1)

		other := (lacking + 1) % 3
		c.members.Members[other].Alive, c.members.Members[other].Self = false, false
		a := c.query(t, tenantCtx(), 0, 100, nil, all())
		require.ErrorContains(t, a.err, fmt.Sprintf("m%d (being refilled)", lacking))
		require.ErrorContains(t, a.err, fmt.Sprintf("m%d (unreachable)", other))
	}

	// A process alone that lacks something does not take the short way either.
	c := newCluster(t, 1, 1)
	c.members.Members[0].Lacks = "being refilled"
	require.ErrorContains(t, c.query(t, tenantCtx(), 0, 100, nil, all()).err, "m0 (being refilled)")
}

// TestCutOff: who has been without a majority for long calls no answer complete, whoever answers.
func TestCutOff(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.stores[0].write(t, lset("a"), tsample{t: 1, f: 1})
	require.NoError(t, c.query(t, tenantCtx(), 0, 100, nil, all()).err)
	c.members.CutOff = true
	for _, hints := range []*storage.SelectHints{nil, {End: 100, Func: "series"}} {
		a := c.query(t, tenantCtx(), 0, 100, hints, all())
		require.ErrorIs(t, a.err, tsdb.ErrNotReady)
		require.ErrorContains(t, a.err, "cut off from the majority of the 3 members")
		a = c.query(t, WithPartialResponse(tenantCtx(), true), 0, 100, hints, all())
		require.NoError(t, a.err)
		require.Len(t, a.series, 1)
		require.Len(t, a.warnings, 1)
	}
}

func TestPartialResponseByDefault(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *Config) { cfg.PartialResponse = true })
	c.stop(1)
	c.stop(2)
	a := c.query(t, tenantCtx(), 0, 1000, nil, all())
	require.NoError(t, a.err)
	require.Len(t, a.warnings, 1)
	a = c.query(t, WithPartialResponse(tenantCtx(), false), 0, 1000, nil, all())
	require.Error(t, a.err)
}

// TestLocalMemberMayBeMissingToo: a node that still replays answers from its peers.
func TestLocalMemberMayBeMissingToo(t *testing.T) {
	c := newCluster(t, 3, 3)
	want := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	c.stores[1].write(t, lset("a"), want...)
	c.stores[2].write(t, lset("a"), want...)
	c.stores[0].opening.Store(true)
	a := c.query(t, tenantCtx(), 0, 100_000, nil, all())
	require.NoError(t, a.err)
	requireSame(t, want, a.series[lset("a").String()])
}

// TestWarningsBeforeFirstSeries: Prometheus' series endpoint asks for warnings before it reads, and must hear them.
func TestWarningsBeforeFirstSeries(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.stop(1)
	c.stop(2)
	q, err := c.Querier.Querier(0, 1000)
	require.NoError(t, err)
	defer q.Close()
	set := q.Select(WithPartialResponse(tenantCtx(), true), true, &storage.SelectHints{End: 1000, Func: "series"}, all())
	require.Len(t, set.Warnings(), 1)
}

// TestConflictingCopies: the rule of copies decides, and the conflict is counted.
func TestConflictingCopies(t *testing.T) {
	c := newCluster(t, 3, 3)
	stale := math.Float64frombits(value.StaleNaN)
	c.stores[0].write(t, lset("a"), tsample{t: 1000, f: stale}, tsample{t: 2000, f: 5}, tsample{t: 3000, f: 3})
	c.stores[1].write(t, lset("a"), tsample{t: 1000, f: 1}, tsample{t: 2000, f: 4}, tsample{t: 3000, f: 3})
	c.stores[2].write(t, lset("a"), tsample{t: 1000, f: stale}, tsample{t: 2000, f: 6})
	a := c.query(t, tenantCtx(), 0, 5000, nil, all())
	require.NoError(t, a.err)
	requireSame(t, []tsample{{t: 1000, f: 1}, {t: 2000, f: 6}, {t: 3000, f: 3}}, a.series[lset("a").String()])
	require.InDelta(t, 2, testutil.ToFloat64(c.Querier.metrics.conflicts), 0)
}

// TestRangeAndHints: samples come from the intersection of the querier's range and the hints', unless trimming is off.
func TestRangeAndHints(t *testing.T) {
	c := newCluster(t, 3, 3)
	want := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	for _, s := range c.stores {
		s.write(t, lset("a"), want...)
		s.write(t, lset("b"), want...)
	}
	a := c.query(t, tenantCtx(), 10_000, 90_000, nil, named("a"))
	requireSame(t, want[10:91], a.series[lset("a").String()])
	a = c.query(t, tenantCtx(), 10_000, 90_000, &storage.SelectHints{Start: 20_000, End: 30_000}, named("a"))
	requireSame(t, want[20:31], a.series[lset("a").String()])
	a = c.query(t, tenantCtx(), 10_000, 90_000, &storage.SelectHints{Start: 20_000, End: 30_000, DisableTrimming: true}, named("a"))
	requireSame(t, want, a.series[lset("a").String()])
	a = c.query(t, tenantCtx(), 0, 90_000, &storage.SelectHints{End: 90_000, Limit: 1}, all())
	require.Equal(t, []string{lset("a").String()}, a.order)
	a = c.query(t, tenantCtx(), 200_000, 300_000, nil, all())
	require.Empty(t, a.series)
}

func TestSeriesWithoutSamples(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.stores[0].write(t, lset("a"), tsample{t: 1, f: 1})
	c.stores[1].write(t, lset("b"), tsample{t: 1, f: 1})
	c.stores[2].write(t, labels.FromStrings("__name__", "c", "l", "µ\n\"{}\\"), tsample{t: 1, f: 1})
	c.stores[2].write(t, lset("a"), tsample{t: 1, f: 1})
	hints := &storage.SelectHints{Start: 0, End: 10, Func: "series"}
	a := c.query(t, tenantCtx(), 0, 10, hints, all())
	require.NoError(t, a.err)
	require.Equal(t, []string{lset("a").String(), lset("b").String(), labels.FromStrings("__name__", "c", "l", "µ\n\"{}\\").String()}, a.order)
	hints.Limit = 2
	require.Len(t, c.query(t, tenantCtx(), 0, 10, hints, all()).order, 2)
	require.Empty(t, c.query(t, tenantCtx(), 0, 10, hints, named("none")).order)
}

func TestOtherTenantSeesNothing(t *testing.T) {
	c := newCluster(t, 3, 3)
	for _, s := range c.stores {
		s.write(t, lset("a"), tsample{t: 1, f: 1})
	}
	a := c.query(t, WithTenant(context.Background(), "team-b"), 0, 10, nil, all())
	require.NoError(t, a.err)
	require.Empty(t, a.series)
	require.ErrorIs(t, c.query(t, context.Background(), 0, 10, nil, all()).err, errNoTenant)
}

// TestClusterOfOneIsDirect: the local TSDB's own series come back, not wrapped in a merge.
func TestClusterOfOneIsDirect(t *testing.T) {
	c := newCluster(t, 1, 1)
	c.stores[0].write(t, lset("a"), tsample{t: 1, f: 1})
	q, err := c.Querier.Querier(0, 10)
	require.NoError(t, err)
	defer q.Close()
	set := q.Select(tenantCtx(), false, nil, all())
	_, isMerge := set.(*sampleSet)
	require.False(t, isMerge)
	require.True(t, set.Next())

	c.stores[0].opening.Store(true)
	var incomplete *IncompleteError
	require.ErrorAs(t, c.query(t, tenantCtx(), 0, 10, nil, all()).err, &incomplete)
}

// TestTooFewMembersKnown: a node of a cluster with RF 3 that has heard of nobody cannot say "complete".
func TestTooFewMembersKnown(t *testing.T) {
	c := newCluster(t, 1, 3)
	a := c.query(t, tenantCtx(), 0, 10, nil, all())
	require.ErrorContains(t, a.err, "knows 1 of at least 2 members")
	a = c.query(t, WithPartialResponse(tenantCtx(), true), 0, 10, nil, all())
	require.NoError(t, a.err)
	require.Len(t, a.warnings, 1)
}

// TestCloseCallsOff: a querier that is closed while a peer hangs does not wait for it.
func TestCloseCallsOff(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *Config) { cfg.PeerTimeout = time.Hour })
	asked, release := hang(t, c, 1)
	q, err := c.Querier.Querier(0, 10)
	require.NoError(t, err)
	set := q.Select(tenantCtx(), true, nil, all())
	<-asked
	require.NoError(t, q.Close())
	require.False(t, set.Next())
	require.ErrorIs(t, set.Err(), context.Canceled)
	release()
}
