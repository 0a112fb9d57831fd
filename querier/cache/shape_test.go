// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"
)

func TestShape(t *testing.T) {
	p := parser.NewParser(promqltest.TestParserOpts)
	for text, reach := range map[string]time.Duration{
		"1":                                  0,
		"m":                                  0,
		`{__name__="m"}`:                     0,
		"m offset 1h":                        time.Hour,
		"rate(m[5m] offset 1h)":              65 * time.Minute,
		"max_over_time(rate(m[5m])[1h:1m])":  65 * time.Minute,
		"sum_over_time(m[1h:] offset 2h)":    3 * time.Hour,
		"sum by (a) (rate(m[5m])) or m":      5 * time.Minute,
		"topk(-(3), m)":                      0,
		`count_values("v", m)`:               0,
		"histogram_quantile(scalar(m), m)":   0,
		"a / on (x) group_left (y) b[1h:1m]": -1, // Not PromQL.
	} {
		expr, err := p.ParseExpr(text)
		if reach < 0 {
			require.Error(t, err, text)
			continue
		}
		require.NoError(t, err, text)
		s, ok := shapeOf(expr)
		require.True(t, ok, text)
		require.Equal(t, reach, s.reach, text)
	}
	for _, text := range []string{
		"m @ 100", "m @ start()", "rate(m[5m] @ end())", "sum_over_time(m[1h:1m] @ 5)", "m offset -1m", "sum_over_time(m[1h:1m] offset -1m)",
		`{job="a"}`, `{__name__=~"a|b"}`, `rate({__name__!="a", job="b"}[5m])`,
		`label_replace(m, "a", "b", "c", "d")`, `label_join(m, "a", ",", "b")`, "info(m)", "sort(m)", "sort_desc(m)", `sort_by_label(m, "a")`,
		"limitk(1, m)", "limit_ratio(0.1, m)", "topk(scalar(m), m)", "quantile(scalar(m), m)", "rate((a or b)[5m:1m])",
		"step()", "rate(m[step()])", "m offset (1m + 2m)", "start()", "end()", "range()", "m[5m] smoothed", "rate(m[5m] anchored)",
		"a + fill(0) b", "double_exponential_smoothing(m[5m], 0.5, 0.5)",
	} {
		expr, err := p.ParseExpr(text)
		require.NoError(t, err, text)
		_, ok := shapeOf(expr)
		require.False(t, ok, text)
	}
	one, err := p.ParseExpr("sum(  m{b='1',a='2'} )")
	require.NoError(t, err)
	other, err := p.ParseExpr(`sum(m{b="1", a="2"})`)
	require.NoError(t, err)
	a, _ := shapeOf(one)
	b, _ := shapeOf(other)
	require.Equal(t, a.text, b.text, "one text for all ways to write it")
}

// TestSplit: each step is in one piece, that of its day.
func TestSplit(t *testing.T) {
	c := newCutter()
	d, h := day.Milliseconds(), time.Hour.Milliseconds()
	require.Equal(t, d, c.length(h, 0))
	require.Equal(t, 2*d, c.length(h+1, 0))
	require.Equal(t, d, c.length(15_000, 6*time.Hour))
	require.Equal(t, 120*d, c.length(15_000, 30*day))
	for _, s := range []steps{newSteps(-d-1, 3*d, 7*h), newSteps(d-1, d-1, h), newSteps(d, 2*d, d/3), newSteps(5, 4, 1), newSteps(-3*d, -d-1, 1000)} {
		next := s.first
		for _, p := range split(s, d) {
			require.Equal(t, next, p.first)
			require.False(t, p.empty())
			require.Equal(t, floorDiv(p.first, d), p.n)
			require.Equal(t, floorDiv(p.last, d), p.n)
			require.Equal(t, s.phase(), p.phase())
			next = p.last + s.step
		}
		require.Equal(t, s.last+s.step, next)
	}
}
