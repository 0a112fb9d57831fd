// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/stretchr/testify/require"
)

// recorder is a storage that notes which ranges are asked for, and gives answers warnings or errors.
type recorder struct {
	storage.Queryable
	ranges  []steps
	warning error
}

func (r *recorder) Querier(mint, maxt int64) (storage.Querier, error) {
	r.ranges = append(r.ranges, steps{first: mint, last: maxt})
	q, err := r.Queryable.Querier(mint, maxt)
	return recordedQuerier{q, r}, err
}

type recordedQuerier struct {
	storage.Querier
	r *recorder
}

func (q recordedQuerier) Select(ctx context.Context, sort bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	return warnedSet{q.Querier.Select(ctx, sort, hints, ms...), q.r.warning}
}

type warnedSet struct {
	storage.SeriesSet
	warning error
}

func (s warnedSet) Warnings() annotations.Annotations {
	if s.warning == nil {
		return nil
	}
	return annotations.Annotations{s.warning.Error(): s.warning}
}

// fixture is an engine over five days of one series, of which all but the last three hours are settled.
type fixture struct {
	*Engine
	t        *testing.T
	db       *recorder
	now      time.Time
	versions versions
	scope    string
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, now: time.Unix(0, 0).Add(5*day + 12*time.Hour), scope: "tenant"}
	db := newStorage(t)
	app := db.AppenderV2(t.Context())
	for i := range int64(5*24*60 + 12*60) {
		for _, l := range []labels.Labels{labels.FromStrings("__name__", "m"), labels.FromStrings("__name__", "typed", "__type__", "gauge")} {
			_, err := app.Append(0, l, 0, i*60_000, float64(i), nil, nil, storage.AOptions{})
			require.NoError(t, err)
		}
	}
	require.NoError(t, app.Commit())
	f.db = &recorder{Queryable: db}
	f.Engine = New(Config{
		Engine: newEngine(t, 50_000_000), Parser: parser.NewParser(parser.Options{}), MaxBytes: 1 << 20,
		Scope:   func(context.Context) (Scope, bool) { return Scope{Key: f.scope, Whole: f.scope == "whole"}, true },
		Settled: func() int64 { return f.now.Add(-settle).UnixMilli() }, Version: f.versions.version,
	}, nil)
	f.atOnce = 1
	return f
}

// asked asks for a range, in hours before now, and returns in how many ranges storage was asked.
func (f *fixture) asked(ctx context.Context, expr string, from, to float64, step time.Duration) int {
	f.t.Helper()
	f.db.ranges = nil
	hours := func(h float64) time.Time { return f.now.Add(-time.Duration(h * float64(time.Hour))) }
	query, err := f.NewRangeQuery(ctx, f.db, nil, expr, hours(from), hours(to), step)
	require.NoError(f.t, err)
	defer query.Close()
	res := query.Exec(ctx)
	require.NoError(f.t, res.Err)
	m, err := res.Matrix()
	require.NoError(f.t, err)
	require.Len(f.t, m, 1)
	require.Len(f.t, m[0].Floats, int((from-to)*float64(time.Hour)/float64(step))+1)
	return len(f.db.ranges)
}

// TestWhatIsKept: days are asked for once, and what is not settled again and again.
func TestWhatIsKept(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	require.Equal(t, 1, f.asked(ctx, "m", 1, 0, time.Minute), "nothing of the last hour is settled")
	require.Zero(t, f.store.bytes)
	require.Equal(t, 3, f.asked(ctx, "m", 48, 0, time.Minute), "three days")
	require.Equal(t, 1, f.asked(ctx, "m", 48, 0, time.Minute), "the last hours")
	require.GreaterOrEqual(t, f.db.ranges[0].first, f.now.Add(-settle-6*time.Minute).UnixMilli())
	require.Equal(t, 0, f.asked(ctx, "m", 48, 4, time.Minute))
	require.Equal(t, 0, f.asked(ctx, "m", 40, 4, time.Minute), "a part of what is known")
	require.Equal(t, 0, f.asked(ctx, " m ", 40, 4, time.Minute), "the same in other words")
	require.Equal(t, 1, f.asked(ctx, "m", 50, 4, time.Minute), "what is before what is known")
	require.Equal(t, 0, f.asked(ctx, "m", 50, 4, time.Minute))
	require.Equal(t, 3, f.asked(ctx, "m", 50, 4, 2*time.Minute), "another step")
	require.Equal(t, 3, f.asked(ctx, "m", 50.01, 4.01, time.Minute), "another phase")
	require.Equal(t, 1, f.asked(WithBypass(ctx), "m", 50, 4, time.Minute))
	f.scope = "other"
	require.Equal(t, 3, f.asked(ctx, "m", 50, 4, time.Minute))
	f.scope = "whole"
	require.Equal(t, 1, f.asked(ctx, "m", 50, 4, time.Minute))
	f.scope = "tenant"
	f.versions.n.Add(1)
	require.Equal(t, 3, f.asked(ctx, "m", 50, 4, time.Minute), "other data")
	require.Equal(t, 0, f.asked(ctx, "m", 50, 4, time.Minute))
	require.LessOrEqual(t, f.store.bytes, f.store.maxBytes)
}

// TestIncompleteIsNotKept: an answer with a warning of storage is given, and forgotten; one of the engine's is kept.
func TestIncompleteIsNotKept(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	f.db.warning = errors.New("a member is missing")
	require.Equal(t, 2, f.asked(ctx, "m", 24, 4, time.Minute))
	require.Equal(t, 2, f.asked(ctx, "m", 24, 4, time.Minute))
	require.Zero(t, f.store.bytes)
	f.db.warning = nil
	warnings := func() []string {
		query, err := f.NewRangeQuery(ctx, f.db, nil, "sum( rate(m[5m]))", f.now.Add(-day), f.now.Add(-4*time.Hour), time.Minute)
		require.NoError(t, err)
		defer query.Close()
		res := query.Exec(ctx)
		require.NoError(t, res.Err)
		w, infos := res.Warnings.AsStrings("sum( rate(m[5m]))", 0, 0)
		require.Empty(t, w)
		return infos
	}
	f.db.ranges = nil
	first := warnings()
	require.Len(t, first, 1)
	require.Contains(t, first[0], "(1:11)")
	require.Len(t, f.db.ranges, 2)
	require.Equal(t, first, warnings())
	require.Len(t, f.db.ranges, 2, "kept with what the engine says of it")
	require.Equal(t, 2, f.asked(ctx, "sum(rate(m[5m]))", 24, 4, time.Minute), "positions are of another text")
}

// TestWatch: what those who are asked call unsettled is not kept.
func TestWatch(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	until := f.now.Add(-2 * day).UnixMilli()
	f.cfg.Watch = func(ctx context.Context) (context.Context, func() int64) { return ctx, func() int64 { return until } }
	require.Equal(t, 4, f.asked(ctx, "m", 72, 4, time.Minute))
	require.Equal(t, 3, f.asked(ctx, "m", 72, 4, time.Minute))
}

// TestReservedLabels: where a function drops more than the name, labels may be the same that were not, over the whole range.
func TestReservedLabels(t *testing.T) {
	f, ctx := newFixture(t), t.Context()
	require.Equal(t, 2, f.asked(ctx, "typed", 24, 4, time.Minute))
	require.Equal(t, 3, f.asked(ctx, "max_over_time(typed[5m])", 24, 4, time.Minute), "two pieces in vain, and the whole")
	require.Equal(t, 3, f.asked(ctx, "max_over_time(typed[5m])", 24, 4, time.Minute))
}

// TestTooManySamples: pieces that fit must not make an answer that does not.
func TestTooManySamples(t *testing.T) {
	f := newFixture(t)
	f.cfg.MaxSamples = func(context.Context) int { return 2000 }
	query, err := f.NewRangeQuery(t.Context(), f.db, nil, "m", f.now.Add(-2*day), f.now, time.Minute)
	require.NoError(t, err)
	require.ErrorIs(t, query.Exec(t.Context()).Err, promql.ErrTooManySamples("query execution"))
	query.Close()
}

// TestErrorsAreTheEngines: of a piece as of the whole, and nothing is kept.
func TestErrorsAreTheEngines(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	query, err := f.NewRangeQuery(ctx, f.db, nil, "m", f.now.Add(-2*day), f.now, time.Minute)
	require.NoError(t, err)
	cancel()
	var canceled promql.ErrQueryCanceled
	require.ErrorAs(t, query.Exec(ctx).Err, &canceled)
	query.Close()
	ctx, cancel = context.WithTimeout(t.Context(), 0)
	defer cancel()
	query, err = f.NewRangeQuery(ctx, f.db, nil, "m", f.now.Add(-2*day), f.now, time.Minute)
	require.NoError(t, err)
	var timeout promql.ErrQueryTimeout
	require.ErrorAs(t, query.Exec(ctx).Err, &timeout)
	query.Close()
	_, err = f.NewRangeQuery(t.Context(), f.db, nil, "m[", f.now.Add(-2*day), f.now, time.Minute)
	require.Error(t, err)
	require.Zero(t, f.store.bytes)
}

// TestInstant: queries at one time pass through.
func TestInstant(t *testing.T) {
	f := newFixture(t)
	query, err := f.NewInstantQuery(t.Context(), f.db, nil, "m", f.now.Add(-time.Minute))
	require.NoError(t, err)
	require.Equal(t, "m", query.String())
	require.NotNil(t, query.Statement())
	v, err := query.Exec(t.Context()).Vector()
	require.NoError(t, err)
	require.Len(t, v, 1)
	require.NotNil(t, query.Stats().Samples)
	query.Close()
	query.Cancel()
}

// TestStore puts out what was not used the longest, and takes nothing too large.
func TestStore(t *testing.T) {
	s := newStore(10_000, newMetrics(nil))
	named := func(i int64) key { return key{text: "m", piece: i} }
	for i := range int64(8) {
		s.put(&entry{key: named(i), version: "1", query: strings.Repeat("x", 1000)})
		require.NotNil(t, s.get(named(0), "1", ""), "used all the time")
	}
	require.Nil(t, s.get(named(1), "1", ""))
	require.NotNil(t, s.get(named(7), "1", ""))
	require.LessOrEqual(t, s.bytes, int64(10_000))
	require.Positive(t, counted(t, s.metrics.evictions))
	s.put(&entry{key: named(9), version: "1", query: strings.Repeat("x", 5000)})
	require.Nil(t, s.get(named(9), "1", ""), "more than its share")
	require.Nil(t, s.get(named(7), "2", ""))
	require.Nil(t, s.get(named(7), "1", ""), "other data: forgotten")
	for k := range s.entries {
		s.get(k, "3", "")
	}
	require.Zero(t, s.bytes)
	require.Zero(t, s.recent.Len())
}

func TestNoStore(t *testing.T) {
	for value, want := range map[string]bool{"no-store": true, "max-age=0, No-Store": true, "no-cache": false, "": false} {
		require.Equal(t, want, NoStore(http.Header{"Cache-Control": {value}}), value)
	}
	require.False(t, bypassed(t.Context()))
	require.True(t, bypassed(WithBypass(t.Context())))
}
