// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"math"
	"testing"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

func TestLabelNamesAndValues(t *testing.T) {
	c := newCluster(t, 3, 3)
	odd := "sl/ash ..\n" // UTF-8 names are legal.
	c.stores[0].write(t, labels.FromStrings("__name__", "a", "x", "1"), tsample{t: 1, f: 1})
	c.stores[1].write(t, labels.FromStrings("__name__", "b", "x", "2", "..", "dots"), tsample{t: 1, f: 1})
	c.stores[2].write(t, labels.FromStrings("__name__", "b", "x", "1", odd, "v\"\\"), tsample{t: 1, f: 1})
	c.stores[2].write(t, labels.FromStrings("__name__", "c", "x", "3"), tsample{t: 1, f: 1})
	q, err := c.Querier.Querier(0, 10)
	require.NoError(t, err)
	defer q.Close()
	values := func(name string, limit int, ms ...*labels.Matcher) []string {
		t.Helper()
		got, warnings, err := q.LabelValues(tenantCtx(), name, &storage.LabelHints{Limit: limit}, ms...)
		require.NoError(t, err)
		require.Empty(t, warnings)
		return got
	}
	require.Equal(t, []string{"1", "2", "3"}, values("x", 0))
	require.Equal(t, []string{"1", "2"}, values("x", 2))
	require.Equal(t, []string{"1", "2"}, values("x", 0, named("b")))
	require.Equal(t, []string{"dots"}, values("..", 0))
	require.Equal(t, []string{"v\"\\"}, values(odd, 0, labels.MustNewMatcher(labels.MatchEqual, odd, "v\"\\")))
	require.Empty(t, values("nothing", 0))

	names, _, err := q.LabelNames(tenantCtx(), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"..", "__name__", odd, "x"}, names)
	names, _, err = q.LabelNames(tenantCtx(), &storage.LabelHints{Limit: 2}, named("a"))
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "x"}, names)

	c.stop(1)
	c.stop(2)
	var incomplete *IncompleteError
	_, _, err = q.LabelNames(tenantCtx(), nil)
	require.ErrorAs(t, err, &incomplete)
	names, warnings, err := q.LabelNames(WithPartialResponse(tenantCtx(), true), nil)
	require.NoError(t, err)
	require.Equal(t, []string{"__name__", "x"}, names)
	require.Len(t, warnings, 1)
}

func TestLabelsFromBucket(t *testing.T) {
	c, b := clusterWithBucket(t, 3, 3)
	for _, s := range c.stores {
		s.start = 1000
	}
	b.write(t, labels.FromStrings("__name__", "old"), tsample{t: 1, f: 1})
	q, err := c.ChunkQuerier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer q.Close()
	names, _, err := q.LabelValues(tenantCtx(), "__name__", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"old"}, names)
}

// TestSelectorRoundTrip: matchers survive their way to a peer, whatever is in them.
func TestSelectorRoundTrip(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	for _, set := range [][]*labels.Matcher{
		{all()},
		{named("a"), labels.MustNewMatcher(labels.MatchNotEqual, "x", "")},
		{labels.MustNewMatcher(labels.MatchNotRegexp, "x y", `a|\d+"\\`), labels.MustNewMatcher(labels.MatchEqual, "..", "\x00\n\t☃'`{}")},
		{labels.MustNewMatcher(labels.MatchEqual, "only", "")},
	} {
		q, err := parseQuestion(question{mint: -5, maxt: 7, limit: 3, label: "l", matchers: [][]*labels.Matcher{set}}.form(), p)
		require.NoError(t, err)
		require.Len(t, q.matchers, 1)
		require.Len(t, q.matchers[0], len(set))
		for i, m := range set {
			require.Equal(t, m.String(), q.matchers[0][i].String())
		}
		require.Equal(t, question{-5, 7, 3, "l", q.matchers}, q)
	}
}

func TestExemplars(t *testing.T) {
	c := newCluster(t, 3, 3)
	at := func(t int64, v float64, id string) exemplar.Exemplar {
		return exemplar.Exemplar{Labels: labels.FromStrings("trace", id), Value: v, Ts: t, HasTs: true}
	}
	one, two, three := at(1000, 1.5, "x"), at(2000, math.Inf(1), "y"), at(2000, 3, "y")
	for _, s := range c.stores[:2] {
		s.writeExemplar(t, lset("a"), one)
		s.writeExemplar(t, lset("a"), two)
	}
	c.stores[2].writeExemplar(t, lset("a"), three)
	c.stores[2].writeExemplar(t, lset("b"), one)

	q, err := c.ExemplarQuerier(tenantCtx())
	require.NoError(t, err)
	got, err := q.Select(0, 5000, []*labels.Matcher{named("a")}, []*labels.Matcher{named("b")})
	require.NoError(t, err)
	require.Equal(t, []exemplar.QueryResult{
		{SeriesLabels: lset("a"), Exemplars: []exemplar.Exemplar{one, three, two}},
		{SeriesLabels: lset("b"), Exemplars: []exemplar.Exemplar{one}},
	}, got)
	got, err = q.Select(0, 5000, []*labels.Matcher{named("none")})
	require.NoError(t, err)
	require.Equal(t, []exemplar.QueryResult{}, got, "an empty list in JSON, not null")

	c.stop(1)
	c.stop(2)
	var incomplete *IncompleteError
	_, err = q.Select(0, 5000, []*labels.Matcher{named("a")})
	require.ErrorAs(t, err, &incomplete)
	q, err = c.ExemplarQuerier(WithPartialResponse(tenantCtx(), true))
	require.NoError(t, err)
	got, err = q.Select(0, 5000, []*labels.Matcher{named("a")})
	require.NoError(t, err)
	require.Len(t, got, 1)
}
