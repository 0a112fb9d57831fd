// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockgen

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/blockdir"
)

var start = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).UnixMilli()

func testConfig() Config {
	return Config{Series: 7, From: start, Until: start + 10*hour, Interval: 30_000, Range: 2 * hour, Reset: 3 * hour}
}

func writeAll(t *testing.T, c Config) string {
	t.Helper()
	dir := t.TempDir()
	for _, s := range c.Spans() {
		block, meta, err := c.Write(t.Context(), dir, s, nil)
		require.NoError(t, err)
		r, err := blockdir.Check(t.Context(), block, blockdir.Options{Meta: meta})
		require.NoError(t, err)
		require.Empty(t, r.Issues)
	}
	return dir
}

// TestFormula asks a query engine over the blocks, and compares with the formula that the package promises.
func TestFormula(t *testing.T) {
	c := testConfig()
	dir := writeAll(t, c)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "wal"), 0o750)) // Or it would not be a data directory.
	db, err := tsdb.OpenDBReadOnly(dir, "", nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	q, err := db.Querier(c.From, c.Until)
	require.NoError(t, err)
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	series := 0
	for set.Next() {
		i := -1
		for n := range c.Series {
			if labels.Equal(c.Labels(n), set.At().Labels()) {
				i = n
			}
		}
		require.NotEqual(t, -1, i, "%s", set.At().Labels())
		at := c.From
		for it := set.At().Iterator(nil); it.Next() != 0; at += c.Interval {
			ts, v := it.At()
			require.Equal(t, at, ts)
			require.Equal(t, c.Value(i, at), v)
		}
		require.Equal(t, c.Until, at)
		series++
	}
	require.NoError(t, set.Err())
	require.Equal(t, c.Series, series)
	require.NoError(t, q.Close())

	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute})
	for expr, want := range map[string]float64{
		`rate(loadgen_counter_total{instance="instance-0000004"}[10m])`:   3,
		`avg_over_time(loadgen_gauge{instance="instance-0000005"}[1h])`:   5 + 29.5,
		`sum(increase(loadgen_counter_total{instance=~".*[06]"}[1h]))`:    (1 + 4) * 3600,
		`resets(loadgen_counter_total{instance="instance-0000000"}[10h])`: 3,
	} {
		query, err := engine.NewInstantQuery(t.Context(), db, nil, expr, time.UnixMilli(c.Until-1))
		require.NoError(t, err)
		v, err := query.Exec(t.Context()).Vector()
		require.NoError(t, err)
		require.Len(t, v, 1, expr)
		require.InEpsilon(t, want, v[0].F, 1e-5, expr)
		query.Close()
	}
}

// TestLevels: what longer blocks are made of is what the same call makes as shorter ones.
func TestLevels(t *testing.T) {
	c := testConfig()
	var short []string
	for _, s := range c.Spans() {
		short = append(short, c.Meta(s).ULID.String())
	}
	require.Len(t, short, 5)
	c.Range = 14 * 24 * hour
	spans := c.Spans()
	require.Equal(t, []Span{{c.From, c.Until}}, spans)
	m := c.Meta(spans[0])
	require.Equal(t, 4, m.Compaction.Level)
	var sources []string
	for _, id := range m.Compaction.Sources {
		sources = append(sources, id.String())
	}
	require.Equal(t, short, sources)

	other := c
	other.Copy = "b"
	require.NotEqual(t, m.ULID, other.Meta(spans[0]).ULID)
	require.Equal(t, m, c.Meta(spans[0]))
}

// TestSpans: a range that begins and ends anywhere has all its samples in blocks, and no block without any.
func TestSpans(t *testing.T) {
	c := testConfig()
	c.From, c.Until = start+1, start+2*hour+1
	require.Equal(t, []Span{{start + 1, start + 2*hour}, {start + 2*hour, start + 2*hour + 1}}, c.Spans())
	c.Until = start + 2*hour
	c.From = c.Until - 1
	require.Empty(t, c.Spans())
}

func TestCheck(t *testing.T) {
	require.NoError(t, testConfig().Check())
	for name, change := range map[string]func(*Config){
		"series":   func(c *Config) { c.Series = 0 },
		"empty":    func(c *Config) { c.Until = c.From },
		"interval": func(c *Config) { c.Interval = 7000 },
		"reset":    func(c *Config) { c.Reset = 1 },
	} {
		c := testConfig()
		change(&c)
		require.Error(t, c.Check(), name)
	}
}
