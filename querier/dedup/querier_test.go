// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// recorder is a queryable of given series that keeps what it was asked.
type recorder struct {
	series   []storage.Series
	warnings annotations.Annotations
	err      error

	ranges   [][2]int64
	hints    []*storage.SelectHints
	matchers [][]*labels.Matcher
	closed   int
}

func (r *recorder) Querier(mint, maxt int64) (storage.Querier, error) {
	r.ranges = append(r.ranges, [2]int64{mint, maxt})
	return &recorderQuerier{r}, nil
}

func (r *recorder) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	return nil, errors.New("raw chunks were asked for")
}

type recorderQuerier struct{ r *recorder }

func (q *recorderQuerier) Select(_ context.Context, _ bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	q.r.hints = append(q.r.hints, hints)
	q.r.matchers = append(q.r.matchers, matchers)
	return &listSet{series: q.r.series, warnings: q.r.warnings, err: q.r.err}
}

func (q *recorderQuerier) LabelNames(_ context.Context, hints *storage.LabelHints, _ ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	names := []string{"__name__", "instance", "replica", "zone"}
	if hints != nil && hints.Limit > 0 {
		names = names[:min(hints.Limit, len(names))]
	}
	return names, q.r.warnings, nil
}

func (q *recorderQuerier) LabelValues(_ context.Context, name string, _ *storage.LabelHints, _ ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return []string{name + "-1", name + "-2"}, q.r.warnings, nil
}

func (q *recorderQuerier) Close() error {
	q.r.closed++
	return nil
}

// named is a series with labels and a sample at each of the times.
func named(lset labels.Labels, times ...int64) storage.Series {
	var points []point
	for _, t := range times {
		points = append(points, point{t, 1})
	}
	return &storage.SeriesEntry{Lset: lset, SampleIteratorFn: floatSeries(points, minTime, maxTime).Iterator}
}

func sel(ctx context.Context, t *testing.T, r *recorder, cfg Config, mint, maxt int64, sorted bool, hints *storage.SelectHints) (lsets []string, times [][]int64) {
	t.Helper()
	q, err := Queryable(r, cfg).Querier(mint, maxt)
	require.NoError(t, err)
	set := q.Select(ctx, sorted, hints, labels.MustNewMatcher(labels.MatchEqual, "replica", "a"))
	var it chunkenc.Iterator
	for set.Next() {
		lsets = append(lsets, set.At().Labels().String())
		var ts []int64
		for it = set.At().Iterator(it); it.Next() != chunkenc.ValNone; {
			ts = append(ts, it.AtT())
		}
		require.NoError(t, it.Err())
		times = append(times, ts)
	}
	require.NoError(t, set.Err())
	require.NoError(t, q.Close())
	require.Equal(t, len(r.ranges), r.closed, "every querier that was opened is closed")
	return lsets, times
}

var byReplica = Config{ReplicaLabels: []string{"replica"}}

func pairs() []storage.Series {
	return []storage.Series{
		named(labels.FromStrings("instance", "2", "replica", "b", "zone", "x"), 1000),
		named(labels.FromStrings("instance", "1", "replica", "a", "zone", "y"), 1000),
		named(labels.FromStrings("instance", "2", "replica", "a", "zone", "x"), 1000),
		named(labels.FromStrings("instance", "1", "replica", "b", "zone", "y"), 1000),
		named(labels.FromStrings("instance", "1", "replica", "b", "zone", "x"), 1000),
	}
}

func TestSelectGroupsAndSorts(t *testing.T) {
	lsets, times := sel(t.Context(), t, &recorder{series: pairs()}, byReplica, 0, 2000, true, nil)
	require.Equal(t, []string{`{instance="1", zone="x"}`, `{instance="1", zone="y"}`, `{instance="2", zone="x"}`}, lsets)
	require.Equal(t, [][]int64{{1000}, {1000}, {1000}}, times)

	unsorted, _ := sel(t.Context(), t, &recorder{series: pairs()}, byReplica, 0, 2000, false, nil)
	require.Equal(t, []string{`{instance="2", zone="x"}`, `{instance="1", zone="y"}`, `{instance="1", zone="x"}`}, unsorted, "as they come")
	inOrder := pairs()
	slices.SortFunc(inOrder, func(a, b storage.Series) int { return labels.Compare(a.Labels(), b.Labels()) })
	unsorted, _ = sel(t.Context(), t, &recorder{series: inOrder}, byReplica, 0, 2000, false, nil)
	require.Equal(t, lsets, unsorted, "whichever replica has been seen first")

	byBoth, _ := sel(t.Context(), t, &recorder{series: pairs()}, Config{ReplicaLabels: []string{"zone", "replica"}}, 0, 2000, true, nil)
	require.Equal(t, []string{`{instance="1"}`, `{instance="2"}`}, byBoth)
}

// TestPreferenceIsByLabelOrder: the first replica label decides first.
func TestPreferenceIsByLabelOrder(t *testing.T) {
	r := &recorder{series: []storage.Series{
		named(labels.FromStrings("replica", "a", "zone", "2"), 10_000, 25_000, 40_000),
		named(labels.FromStrings("replica", "b", "zone", "1"), 12_000, 27_000, 42_000),
	}}
	_, times := sel(t.Context(), t, r, Config{ReplicaLabels: []string{"replica", "zone"}}, 0, 42_000, true, nil)
	require.Equal(t, [][]int64{{10_000, 25_000, 40_000}}, times)
	r = &recorder{series: r.series}
	_, times = sel(t.Context(), t, r, Config{ReplicaLabels: []string{"zone", "replica"}}, 0, 42_000, true, nil)
	require.Equal(t, [][]int64{{12_000, 27_000, 42_000}}, times)
}

func TestSelectReadsTheMargin(t *testing.T) {
	r := &recorder{series: []storage.Series{named(labels.FromStrings("replica", "a"), 1000, 400_000, 900_000)}}
	hints := &storage.SelectHints{
		Start: 350_000, End: 500_000, Limit: 1, ShardCount: 2, ShardIndex: 1, Func: "rate",
		ProjectionInclude: true, ProjectionLabels: []string{"x"},
	}
	before := *hints
	sel(t.Context(), t, r, byReplica, 300_000, 600_000, false, hints)
	require.Equal(t, [][2]int64{{0, 900_000}}, r.ranges)
	require.Equal(t, []*storage.SelectHints{{Start: 50_000, End: 800_000, Func: "rate"}}, r.hints)
	require.Equal(t, before, *hints, "the caller's hints are the caller's")
	require.Equal(t, "replica", r.matchers[0][0].Name, "a matcher on the replica label goes below")

	// What only one replica has is trimmed too: to the querier's range, or to the hints'.
	_, times := sel(t.Context(), t, &recorder{series: r.series}, byReplica, 300_000, 900_000, false, nil)
	require.Equal(t, [][]int64{{400_000, 900_000}}, times)
	_, times = sel(t.Context(), t, &recorder{series: r.series}, byReplica, 0, 900_000, false, &storage.SelectHints{Start: 0, End: 500_000})
	require.Equal(t, [][]int64{{1000, 400_000}}, times)

	r = &recorder{}
	sel(t.Context(), t, r, Config{ReplicaLabels: []string{"replica"}, Margin: time.Hour}, math.MinInt64, math.MaxInt64, false, nil)
	require.Equal(t, [][2]int64{{math.MinInt64, math.MaxInt64}}, r.ranges, "no overflow at the ends of time")
}

func TestSeriesCallsReadNoMargin(t *testing.T) {
	r := &recorder{series: pairs()}
	lsets, _ := sel(t.Context(), t, r, byReplica, 300_000, 600_000, true, &storage.SelectHints{Start: 300_000, End: 600_000, Func: "series"})
	require.Len(t, lsets, 3)
	require.Equal(t, [][2]int64{{300_000, 600_000}}, r.ranges)
	require.Equal(t, int64(300_000), r.hints[0].Start)
}

func TestLimitAndShardsCountGroups(t *testing.T) {
	lsets, _ := sel(t.Context(), t, &recorder{series: pairs()}, byReplica, 0, 2000, true, &storage.SelectHints{End: 2000, Limit: 2})
	require.Equal(t, []string{`{instance="1", zone="x"}`, `{instance="1", zone="y"}`}, lsets)

	var all []string
	for shard := range uint64(3) {
		lsets, _ := sel(t.Context(), t, &recorder{series: pairs()}, byReplica, 0, 2000, true,
			&storage.SelectHints{End: 2000, ShardCount: 3, ShardIndex: shard})
		all = append(all, lsets...)
	}
	require.ElementsMatch(t, []string{`{instance="1", zone="x"}`, `{instance="1", zone="y"}`, `{instance="2", zone="x"}`}, all)
}

func TestContextDecides(t *testing.T) {
	r := &recorder{series: pairs()}
	hints := &storage.SelectHints{End: 2000, Limit: 3}
	lsets, _ := sel(WithEnabled(t.Context(), false), t, r, byReplica, 0, 2000, true, hints)
	require.Len(t, lsets, 5)
	require.Equal(t, [][2]int64{{0, 2000}}, r.ranges, "as it was asked")
	require.Same(t, hints, r.hints[0])

	lsets, _ = sel(WithEnabled(t.Context(), true), t, &recorder{series: pairs()}, byReplica, 0, 2000, true, nil)
	require.Len(t, lsets, 3)
	lsets, _ = sel(WithReplicaLabels(t.Context(), []string{"instance"}), t, &recorder{series: pairs()}, byReplica, 0, 2000, true, nil)
	require.Equal(t, []string{`{replica="a", zone="x"}`, `{replica="a", zone="y"}`, `{replica="b", zone="x"}`, `{replica="b", zone="y"}`}, lsets)
	lsets, _ = sel(t.Context(), t, &recorder{series: pairs()}, Config{}, 0, 2000, true, nil)
	require.Len(t, lsets, 5, "no replica label configured")
}

func TestErrorsAndWarningsPassThrough(t *testing.T) {
	boom := errors.New("boom")
	r := &recorder{series: pairs(), err: boom, warnings: annotations.New().Add(errors.New("a member is missing"))}
	q, err := Queryable(r, byReplica).Querier(0, 2000)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, nil)
	require.False(t, set.Next(), "no short answer")
	require.ErrorIs(t, set.Err(), boom)
	require.Len(t, set.Warnings(), 1)

	// An iterator that breaks off does not look like a replica that went down.
	broken := func() storage.Series {
		return &storage.SeriesEntry{SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
			return &brokenIterator{Iterator: floatSeries([]point{{0, 1}, {15_000, 1}, {30_000, 1}}, minTime, maxTime).Iterator(nil), err: boom}
		}}
	}
	well := named(labels.EmptyLabels(), 5000, 20_000, 35_000, 50_000, 65_000)
	for _, replicas := range [][]storage.Series{{broken(), well}, {broken(), broken()}} {
		it := (&stitched{replicas: replicas, rule: newRule(0), mint: 0, maxt: 100_000}).Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			require.LessOrEqual(t, it.AtT(), int64(30_000))
		}
		require.ErrorIs(t, it.Err(), boom)
		require.Equal(t, chunkenc.ValNone, it.Next())
		require.Equal(t, chunkenc.ValNone, it.Seek(0))
	}
}

// brokenIterator ends in an error.
type brokenIterator struct {
	chunkenc.Iterator
	err error
}

func (b *brokenIterator) Err() error { return b.err }

func TestLabelCalls(t *testing.T) {
	q, err := Queryable(&recorder{}, byReplica).Querier(100, 200)
	require.NoError(t, err)
	names, _, err := q.LabelNames(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "instance", "zone"}, names)
	names, _, err = q.LabelNames(t.Context(), &storage.LabelHints{Limit: 3})
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "instance", "zone"}, names, "the limit counts what is left")
	names, _, err = q.LabelNames(t.Context(), &storage.LabelHints{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "instance"}, names)
	names, _, err = q.LabelNames(WithEnabled(t.Context(), false), nil)
	require.NoError(t, err)
	require.Contains(t, names, "replica")
	values, _, err := q.LabelValues(t.Context(), "replica", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"replica-1", "replica-2"}, values)
	require.NoError(t, q.Close())
}

func TestChunkQuerier(t *testing.T) {
	r := &recorder{series: pairs()}
	q, err := Queryable(r, byReplica).ChunkQuerier(0, 2000)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, nil)
	n := 0
	for set.Next() {
		it := set.At().Iterator(nil)
		require.True(t, it.Next())
		require.Equal(t, 1, it.At().Chunk.NumSamples())
		require.False(t, it.Next())
		n++
	}
	require.NoError(t, set.Err())
	require.Equal(t, 3, n)

	set = q.Select(WithEnabled(t.Context(), false), true, nil)
	require.False(t, set.Next())
	require.ErrorContains(t, set.Err(), "raw chunks were asked for", "without dedup stored chunks are passed on")
	require.NoError(t, q.Close())
}
