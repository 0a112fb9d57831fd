// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
)

func TestScan(t *testing.T) {
	f := func(query string, want text) {
		t.Helper()
		require.Equal(t, want, scan(query))
	}
	f(`up`, text{})
	f(`up{a="b",c!="d"}`, text{depth: 1, matchers: 2})
	f(`a == b`, text{depth: 1})
	f(`sum by (x) (rate(a{b=~"c|d", e!~"ffff"}[5m]))`, text{depth: 4, matchers: 2, regex: 4})
	f(`((((1))))`, text{depth: 4})
	f(`f(a+b, c*d, e-f)`, text{depth: 2})
	f(`1+2+3+4`, text{depth: 3})
	f(`--1`, text{depth: 2})
	f(`max_over_time(a[1h:1m])`, text{depth: 3, subquery: true})
	f(`"((((" # ((((`, text{})
	f("", text{})
}

// The depth is never less than that of what the parser makes.
func TestScanIsNotLessThanTheTree(t *testing.T) {
	for _, query := range []string{
		`1`, `-(-(-1))`, `a + b * c ^ d - e`, `a^b^c^d`, `a or b or c and d unless e`, `sum(sum(sum(a)))`, `a[5m]`, `max_over_time(max_over_time(a[5m:1m])[5m:1m])[5m:1m]`,
		`label_replace(a + b, "x", "y", "z", "(.*)") * on (x) group_left (y) (c offset 5m)`, `topk(3 + 4 + 5, a @ 5)`, `a == bool b > c`, `- - - a`,
		`histogram_quantile(0.9, sum by (le) (rate(x_bucket{a="b"}[5m] offset 1h)))`, `count_values("x", a atan2 b)`,
		`((((1))))+1+1+1`, `((((1+1)+1)+1)+1)*2`, `sum(f + f) by (x) + 1`, `rate(a[5m]) > 1 or (rate(b[5m]) > 2)[5m:1m]`,
	} {
		expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
		if expr == nil {
			require.NoError(t, err)
		}
		require.GreaterOrEqual(t, scan(query).depth, treeDepth(expr)-1, query)
	}
}

func treeDepth(n parser.Node) (most int64) {
	for _, child := range parser.Children(n) {
		if _, list := child.(parser.Expressions); list {
			continue
		}
		most = max(most, treeDepth(child))
	}
	return most + 1
}

func TestCheckText(t *testing.T) {
	l := Defaults()
	f := func(query string, want Name, says string) {
		t.Helper()
		_, err := l.checkText(query)
		if want == "" {
			require.Nil(t, err)
			return
		}
		require.NotNil(t, err)
		require.Equal(t, want, err.Limit)
		require.Equal(t, 422, err.Status)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "change it with "+want.Flag()+", or for one tenant with "+string(want)+" in --limits.config-file")
	}
	f(`up`, "", "")
	f(strings.Repeat("(", 10_000)+"1"+strings.Repeat(")", 10_000), ExpressionDepth, "nested 10000 levels deep or more, and the limit is 1000")
	f(strings.Repeat("-", 100_000)+"1", ExpressionDepth, "100000 levels")
	f("1"+strings.Repeat("+1", 1000), "", "")
	f("1"+strings.Repeat("+1", 1001), ExpressionDepth, "1001 levels")
	f(strings.Repeat("(", 200_000), ExpressionDepth, "100000 levels")
	f(strings.Repeat("sum(", 2000), ExpressionDepth, "2000 levels")
	f(`{`+strings.Repeat(`a="b",`, 10_000)+`}`, Matchers, "the query has 10000 label matchers, and the limit is 1000")
	f(`{a=~"`+strings.Repeat("x|", 50_000)+`"}`, RegexBytes, "regular expression that counts 100000 bytes, and the limit is 65536")
	f(`{a=~"`+strings.Repeat("x|", 500_000)+`"}`, ExpressionBytes, "the query is 1000007 bytes long, and the limit is 262144")
	f(`{a=~"(`+strings.Repeat(`10\\.0\\.0\\.1:9100|`, 3000)+`x)"}`, "", "")
	f(`{a=~"`+strings.Repeat("x.*|", 5000)+`"}`, RegexBytes, "counts 80000 bytes")
	f(`{a=~"`+strings.Repeat("(x)|", 300)+`"}`, RegexBytes, "counts 78000 bytes")
	f(`{a=~"`+strings.Repeat("(?:x)|", 300)+`"}`, "", "")
	f(`label_replace(up, "a", "b", "c", "`+strings.Repeat("x", 100_000)+`")`, "", "")
	// Several selectors count together, their text does not.
	_, err := l.checkText(strings.Repeat(" ", 200_000), strings.Repeat(" ", 200_000))
	require.Nil(t, err)
	l.MaxMatchers = 3
	_, err = l.checkText(`{a="1",b="2"}`, `{a="1",b="2"}`)
	require.Equal(t, Matchers, err.Limit)
	l = Limits{}
	f(strings.Repeat("(", 10_000), "", "")
}

func TestCheckShape(t *testing.T) {
	p := parser.NewParser(parser.Options{})
	at := time.Unix(1_700_000_000, 0)
	day := 24 * time.Hour
	instant := asked{start: at, end: at}
	year := asked{start: at.Add(-365 * day), end: at, step: 365 * day / 10_000}
	f := func(l Limits, query string, a asked, want string) {
		t.Helper()
		err := l.checkShape(p, query, a, scan(query).subquery)
		if want == "" {
			require.Nil(t, err)
			return
		}
		require.ErrorContains(t, err, want)
	}
	l := Defaults()
	f(l, `max_over_time(rate(a[5m])[30d:1m])`, year, "")
	f(l, `max_over_time(vector(1)[1y:1s])`, instant, "")
	f(l, `max_over_time(vector(1)[1y:1s])`, year, "in 3.15e+11 points for each series")
	f(l, `max_over_time(max_over_time(max_over_time(max_over_time(a[1d:1s])[1d:1s])[1d:1s])[1d:1s])`, instant, "and the limit is 1000000000 (query_max_subquery_points)")
	f(l, `syntax(`, year, "")
	f(Limits{}, `max_over_time(vector(1)[1y:1s])`, year, "")

	l = Limits{MaxRange: 30 * day}
	f(l, `rate(a[5m])`, asked{start: at.Add(-29 * day), end: at, step: time.Hour}, "")
	f(l, `rate(a[5m])`, year, "looks at 8760h5m0s of time, its range selectors included, and the limit is 720h0m0s (query_max_range)")
	f(l, `{__name__=~".+"}[10y]`, instant, "(query_max_range)")
	f(l, `a offset 10y`, instant, "") // Far away, and short.
	f(l, `a - a offset 10y`, instant, "(query_max_range)")
	f(l, `a @ 0 + a @ end()`, instant, "(query_max_range)")
	f(l, `1`, year, "")
}
