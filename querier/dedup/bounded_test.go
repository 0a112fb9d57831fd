// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package dedup

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// openedSeries counts how often its samples are asked for.
type openedSeries struct {
	storage.Series
	opened *int
}

func (s openedSeries) Iterator(it chunkenc.Iterator) chunkenc.Iterator {
	*s.opened++
	return s.Series.Iterator(it)
}

// boundedRecorder is a recorder whose sets say what their newest sample is.
type boundedRecorder struct {
	*recorder
	newest int64
}

func (r *boundedRecorder) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := r.recorder.Querier(mint, maxt)
	return &boundedQuerier{q.(*recorderQuerier), r.newest}, err
}

type boundedQuerier struct {
	*recorderQuerier
	newest int64
}

func (q *boundedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	return boundedSet{q.recorderQuerier.Select(ctx, sorted, hints, matchers...), q.newest}
}

type boundedSet struct {
	storage.SeriesSet
	newest int64
}

func (s boundedSet) Newest() int64 { return s.newest }

// TestNewestSparesReplicas: a replica that is not needed is not even opened, where the set below knows that nobody is ahead of the
// preferred one. Where somebody is, it is asked.
func TestNewestSparesReplicas(t *testing.T) {
	times := func(from, to int64) (out []int64) {
		for at := from; at <= to; at += 15_000 {
			out = append(out, at)
		}
		return out
	}
	for name, c := range map[string]struct {
		first, second []int64
		newest        int64 // as the set has it
		opened        bool
		want          int64 // the last time
	}{
		"nobody is late":           {times(0, 600_000), times(5000, 605_000), 605_000, false, 600_000},
		"it is not known":          {times(0, 600_000), times(5000, 605_000), maxTime, true, 600_000},
		"the first one is late":    {times(0, 555_000), times(5000, 605_000), 605_000, true, 605_000},
		"another series is ahead":  {times(0, 600_000), times(5000, 605_000), 660_000, true, 600_000},
		"the second one is behind": {times(0, 600_000), times(5000, 305_000), 600_000, false, 600_000},
	} {
		t.Run(name, func(t *testing.T) {
			opened := 0
			below := &boundedRecorder{newest: c.newest, recorder: &recorder{series: []storage.Series{
				named(labels.FromStrings("__name__", "x", "replica", "a"), c.first...),
				openedSeries{named(labels.FromStrings("__name__", "x", "replica", "b"), c.second...), &opened},
			}}}
			q, err := Queryable(below, byReplica).Querier(300_000, 610_000)
			require.NoError(t, err)
			set := q.Select(t.Context(), false, nil)
			require.True(t, set.Next())
			it, last := set.At().Iterator(nil), int64(0)
			for it.Next() != chunkenc.ValNone {
				last = it.AtT()
			}
			require.NoError(t, it.Err())
			require.Equal(t, c.want, last)
			require.Equal(t, c.opened, opened > 0, "opened %d times", opened)
			require.False(t, set.Next())
		})
	}
}
