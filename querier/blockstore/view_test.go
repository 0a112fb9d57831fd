// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// TestVisible reads blocks as "id=sources" with options: "@resolution", "!time since the deletion mark", "~time since it was
// marked as superseded", "?" quarantined, "#replica".
func TestVisible(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := func(letter byte) ulid.ULID { return ulid.MustNew(uint64(letter), nil) }
	parse := func(text string) bucket.Listed {
		var l bucket.Listed
		fields := strings.Fields(text)
		name, sources, _ := strings.Cut(fields[0], "=")
		l.Meta.ULID = id(name[0])
		l.Meta.Thanos.Labels = map[string]string{bucket.LabelTenant: "t"}
		for _, s := range []byte(sources) {
			l.Meta.Compaction.Sources = append(l.Meta.Compaction.Sources, id(s))
		}
		for _, option := range fields[1:] {
			switch value := option[1:]; option[0] {
			case '@':
				l.Meta.Thanos.Downsample.Resolution = map[string]int64{"5m": 300_000, "1h": 3_600_000}[value]
			case '!':
				d, err := time.ParseDuration(value)
				require.NoError(t, err)
				l.Marks.Deletion = bucket.NewDeletionMark(l.Meta.ULID, now.Add(-d), "")
			case '~':
				d, err := time.ParseDuration(value)
				require.NoError(t, err)
				l.Marks.Deletion = bucket.NewSupersededMark(l.Meta.ULID, now.Add(-d), id('x'))
			case '?':
				l.Marks.NoCompact = bucket.NewNoCompactMark(l.Meta.ULID, now, bucket.ReasonBroken, "")
			case '#':
				l.Meta.Thanos.Labels[bucket.LabelReceiveReplica] = value
			case '%':
				l.Meta.Thanos.Labels["shard"] = value
			}
		}
		return l
	}
	f := func(want string, blocks ...string) {
		t.Helper()
		listed := make([]bucket.Listed, len(blocks))
		for i, text := range blocks {
			listed[i] = parse(text)
		}
		for range 2 { // In any order.
			var got []byte
			for _, l := range visible(listed, now) {
				got = append(got, byte(l.Meta.ULID.Time()))
			}
			require.Equal(t, want, string(got))
			slices.Reverse(listed)
		}
	}
	f("ab", "a=a", "b=b")
	f("c", "a=a", "b=b", "c=ab")
	f("c", "a=a #m1", "b=b #m2", "c=ab") // Compaction drops the member's label.
	f("bc", "a=a", "b=b", "c=ac")
	f("e", "a=a", "b=b", "c=ab", "d=ab", "e=abf")
	f("c", "c=ab", "d=ab", "e=ab") // Equal: the oldest.
	f("ab", "a=", "b=")            // Sources unknown: each for itself.
	f("ab", "a=x %1", "b=x %2")    // Another group: sources say nothing.
	f("a", "a=a !24h")             // Marked, but still read.
	f("", "a=a !24h1s")
	f("a", "a=a", "b=ab !25h") // What hid a block is gone.
	f("c", "a=a !1h", "b=b !1h", "c=ab")
	f("b", "a=a !1h", "b=ab")
	f("ab", "a=a", "b=ab !1h")               // What goes hides nothing that stays.
	f("c", "a=a ~1h", "b=b ~30h", "c=ab")    // Compacted.
	f("ab", "a=a ~1h", "b=b ~30h")           // Compacted, and what was made of them is gone.
	f("abc", "a=a ~1h", "b=b ~1h", "c=ab ?") // It cannot be read.
	f("d", "c=ab ?", "d=ab")
	f("cde", "c=ab", "d=ab @5m", "e=ab @1h") // Which resolution is read is for each query to say.
	f("e", "d=ab @5m", "e=abc @5m")
}

func TestExternalLabels(t *testing.T) {
	f := newFixture(t)
	plain := newSeries(0, 3, "__name__", "up", "a", "1")
	more := newSeries(0, 3, "__name__", "up", "a", "1", "b", "2")
	own := newSeries(0, 3, "__name__", "up", "c", "3", "replica", "its own")
	f.add(map[string]string{"replica": "A", "prometheus": "p", bucket.LabelReceiveReplica: "x"}, nil, plain, more, own)
	f.add(map[string]string{"replica": "B", "prometheus": "p"}, nil, plain)
	s := f.open(nil)

	name := func(pairs ...string) string {
		return labels.FromStrings(append([]string{"__name__", "up", "prometheus", "p"}, pairs...)...).String()
	}
	keys := func(got map[string][]sample) []string {
		var all []string
		for k, samples := range got {
			all = append(all, k)
			require.Len(t, samples, 3)
		}
		return all
	}
	got, err := query(t, s, DefaultTenant, 0, 10*minute, equal("__name__", "up"))
	require.NoError(t, err)
	all := []string{
		name("a", "1", "replica", "A"), name("a", "1", "b", "2", "replica", "A"), name("c", "3", "replica", "A"), name("a", "1", "replica", "B"),
	}
	require.ElementsMatch(t, all, keys(got))

	for _, c := range []struct {
		matchers []*labels.Matcher
		want     []string
	}{
		{[]*labels.Matcher{equal("replica", "B")}, all[3:]},
		{[]*labels.Matcher{equal("prometheus", "p")}, all},
		{[]*labels.Matcher{equal("replica", "its own")}, nil}, // The external label wins.
		{[]*labels.Matcher{equal("replica", "")}, nil},
		{[]*labels.Matcher{labels.MustNewMatcher(labels.MatchNotEqual, "replica", "A"), equal("a", "1")}, all[3:]},
		{[]*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "replica", "A|B"), equal("b", "2")}, all[1:2]},
		{[]*labels.Matcher{equal(bucket.LabelReceiveReplica, "x")}, nil},
	} {
		got, err := query(t, s, DefaultTenant, 0, 10*minute, c.matchers...)
		require.NoError(t, err)
		require.ElementsMatch(t, c.want, keys(got), "%v", c.matchers)
	}

	q, err := s.Querier(DefaultTenant, 0, 10*minute)
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	f.labelQuestions(q)
}

// labelQuestions asks for names and values over the blocks of TestExternalLabels.
func (f *fixture) labelQuestions(q storage.Querier) {
	t := f.t
	names := func(want []string, ms ...*labels.Matcher) {
		t.Helper()
		got, _, err := q.LabelNames(t.Context(), nil, ms...)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	values := func(label string, want []string, ms ...*labels.Matcher) {
		t.Helper()
		got, _, err := q.LabelValues(t.Context(), label, nil, ms...)
		require.NoError(t, err)
		require.ElementsMatch(t, want, got)
	}
	names([]string{"__name__", "a", "b", "c", "prometheus", "replica"})
	names([]string{"__name__", "a", "prometheus", "replica"}, equal("replica", "B"))
	names([]string{"__name__", "c", "prometheus", "replica"}, equal("c", "3"))
	values("replica", []string{"A", "B"})
	values("replica", []string{"A"}, equal("b", "2"))
	values("replica", nil, equal("b", "no such"))
	values("replica", []string{"B"}, equal("replica", "B"))
	values("a", []string{"1"}, equal("replica", "B"))
	values("c", nil, equal("replica", "B"))
	got, _, err := q.LabelNames(t.Context(), &storage.LabelHints{Limit: 2})
	require.NoError(t, err)
	require.Len(t, got, 2)
}

// TestExternalLabelsMakeSeriesEqual has two series that differ only in a label which an external one replaces.
func TestExternalLabelsMakeSeriesEqual(t *testing.T) {
	f := newFixture(t)
	one, two := newSeries(0, 3, "__name__", "up", "replica", "1"), newSeries(5*minute, 3, "__name__", "up", "replica", "2")
	f.add(map[string]string{"replica": "A"}, nil, one, two)
	got, err := query(t, f.open(nil), DefaultTenant, 0, 10*minute, equal("__name__", "up"))
	require.NoError(t, err)
	require.Equal(t, map[string][]sample{
		labels.FromStrings("__name__", "up", "replica", "A").String(): append(samplesOf(one), samplesOf(two)...),
	}, got)
}
