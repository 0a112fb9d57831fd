// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// randomPromQL makes up expressions about series. Nearly all of them are right; what is wrong is to be refused in the same words.
//
// It is a grammar of our own because github.com/cortexproject/promqlsmith cannot make the same questions twice: it picks
// labels, functions and parameters in the order of maps. Nor does it know of expressions below subqueries, of names
// that must be quoted, of anything but whole minutes, and it cuts labels that are not ASCII in the middle of a character.
type randomPromQL struct {
	*rand.Rand
	series     []labels.Labels
	begin, end time.Time
}

func (g *randomPromQL) one(of ...string) string { return of[g.IntN(len(of))] }

// odds is true one time in n.
func (g *randomPromQL) odds(n int) bool { return g.IntN(n) == 0 }

// expr is anything that a query may be.
func (g *randomPromQL) expr(ranges bool) string {
	switch g.IntN(50) {
	case 0:
		return g.scalar(2)
	case 1, 2:
		if !ranges {
			return g.matrix(1)
		}
	case 3:
		return g.one(`"text"`, "sum(", "up{", "rate(up)", "limitk(2, up)", "info(up)", `up + "x"`, "{}", "mad_over_time(up[5m])", "up smoothed", `sort_by_label(up, "instance")`)
	case 4:
		return "absent(" + g.vector(1) + ")"
	}
	return g.vector(1 + g.IntN(3))
}

func (g *randomPromQL) scalar(depth int) string {
	switch {
	case depth > 0 && g.odds(4):
		return "scalar(" + g.vector(depth-1) + ")"
	case depth > 0 && g.odds(5):
		return fmt.Sprintf("(%s %s %s)", g.scalar(depth-1), g.one("+", "-", "*", "/", "%", "^", "atan2", "> bool", "== bool"), g.scalar(depth-1))
	case g.odds(6):
		return g.one("time()", "pi()", "NaN", "Inf", "-Inf", "0", "-0", "1e3", "0x1F", "-1.5")
	}
	return strconv.FormatFloat(float64(g.IntN(400))/8-10, 'g', -1, 64)
}

func (g *randomPromQL) vector(depth int) string {
	if depth <= 0 {
		return g.selector()
	}
	switch g.IntN(18) {
	case 0, 1, 2:
		return g.aggregation(depth)
	case 3, 4, 5, 6:
		return g.overTime(depth)
	case 7, 8:
		return g.function(depth)
	case 9, 10:
		return g.binary(depth)
	case 11, 16, 17:
		return g.histogram(depth)
	case 12:
		return g.relabel(depth)
	case 13:
		return g.one("-", "+", "") + "(" + g.vector(depth-1) + ")"
	case 14:
		return g.one("absent("+g.vector(depth-1)+")", "vector("+g.scalar(depth-1)+")", "timestamp("+g.selector()+")")
	}
	return g.selector()
}

func (g *randomPromQL) aggregation(depth int) string {
	op := g.one("sum", "sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "topk", "bottomk", "quantile", "count_values")
	param := ""
	switch op {
	case "topk", "bottomk":
		param = g.one("1", "2", "3", "5", "100", "0", "-1", "scalar("+g.selector()+")") + ", "
	case "quantile":
		param = g.one("0.5", "0.9", "0", "1", "0.123", "1.5", "-1", "NaN") + ", "
	case "count_values":
		param = `"value", `
	}
	by := ""
	if !g.odds(3) {
		names := make([]string, g.IntN(3))
		for i := range names {
			names[i] = g.labelName()
		}
		by = g.one("by", "by", "without") + " (" + strings.Join(names, ", ") + ") "
	}
	return fmt.Sprintf("%s %s(%s%s)", op, by, param, g.vector(depth-1))
}

// overTime is a function of a range.
func (g *randomPromQL) overTime(depth int) string {
	m := g.matrix(depth - 1)
	switch g.IntN(8) {
	case 0:
		return fmt.Sprintf("quantile_over_time(%s, %s)", g.one("0.5", "0.99", "0", "1", "2"), m)
	case 1:
		return fmt.Sprintf("predict_linear(%s, %s)", m, g.one("60", "3600", "-1", g.scalar(0)))
	case 2, 3:
		return g.one("rate", "increase", "delta", "irate", "idelta", "deriv") + "(" + m + ")"
	}
	return g.one("rate", "increase", "resets", "changes", "avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time",
		"last_over_time", "present_over_time", "stddev_over_time", "stdvar_over_time", "absent_over_time") + "(" + m + ")"
}

func (g *randomPromQL) function(depth int) string {
	v := g.vector(depth - 1)
	switch g.IntN(8) {
	case 0:
		return fmt.Sprintf("clamp(%s, %s, %s)", v, g.scalar(0), g.scalar(0))
	case 1:
		return fmt.Sprintf("%s(%s, %s)", g.one("clamp_min", "clamp_max", "round"), v, g.one("1", "0.1", "0", "-5", "7"))
	case 2:
		return g.one("sort", "sort_desc") + "(" + v + ")"
	case 3:
		return g.one("minute", "hour", "day_of_week", "day_of_month", "day_of_year", "days_in_month", "month", "year") + "(" + g.one(v, "") + ")"
	}
	return g.one("abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cosh", "atan", "deg", "rad", "timestamp", "round") + "(" + v + ")"
}

func (g *randomPromQL) binary(depth int) string {
	op := g.one("+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">=", "<=", "> bool", "<= bool", "== bool")
	switch g.IntN(5) {
	case 0:
		return fmt.Sprintf("(%s %s %s)", g.vector(depth-1), op, g.scalar(depth-1))
	case 1:
		return fmt.Sprintf("(%s %s %s)", g.scalar(depth-1), op, g.vector(depth-1))
	case 2:
		return fmt.Sprintf("(%s %s %s)", g.vector(depth-1), g.one("and", "or", "unless", "and on (instance)", "or on (job)", "unless ignoring (code, le)"), g.vector(depth-1))
	}
	if g.odds(2) { // Both sides have the same labels.
		v := g.vector(depth - 1)
		return fmt.Sprintf("(%s %s %s)", v, op, g.one(v, g.selector()))
	}
	matching := g.one("", "on (instance)", "on (instance, job)", "ignoring (code)", "on (job)") + g.one("", " group_left ()", " group_right (queue)", " group_left (job)")
	if strings.HasPrefix(matching, " ") {
		matching = "on (instance)" + matching
	}
	return fmt.Sprintf("(%s %s %s %s)", g.vector(depth-1), op, matching, g.vector(depth-1))
}

// histogram is a function that is about histograms, of which half of the time it gets some.
func (g *randomPromQL) histogram(depth int) string {
	of := g.vector(depth - 1)
	if !g.odds(5) {
		of = g.histograms()
	}
	switch g.IntN(4) {
	case 0:
		return fmt.Sprintf("histogram_fraction(%s, %s, %s)", g.one("0", "-1", "0.1"), g.one("0.5", "2", "Inf"), of)
	case 1:
		return g.one("histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar") + "(" + of + ")"
	case 2:
		return of
	}
	return fmt.Sprintf("histogram_quantile(%s, %s)", g.one("0.5", "0.9", "0.99", "0", "1", "1.1"), of)
}

// histograms are some, in one form or the other.
func (g *randomPromQL) histograms() string {
	native := func() string {
		return g.one("native_seconds", "native_float", "native_custom", "native_gauge", "mixed", "mixed") + g.one("", "", `{job=~"api|batch"}`, `{instance!="a:9090"}`)
	}
	if g.odds(3) {
		native = func() string {
			return g.one("latency_seconds_bucket", "latency_seconds_bucket", `{__name__=~"native.*|latency.*"}`)
		}
	}
	change := func(of string) string {
		switch g.IntN(8) {
		case 0:
			return of + g.one(" * 2", " / 3", " * 0", " / 0", " * -1", " + 1")
		case 1:
			return "-" + of
		case 2:
			return of + g.one(" + ", " - ", " == ", " != ", " and ", " or ", " * ") + native()
		case 3:
			return fmt.Sprintf("%s((%s)[%s:%s])", g.one("avg_over_time", "sum_over_time", "last_over_time", "rate"), of, g.one("10m", "1h"), g.one("", "90s", "5m"))
		}
		return of
	}
	of := native() + g.modifiers()
	if !g.odds(3) {
		of = fmt.Sprintf("%s(%s[%s]%s)", g.one("rate", "increase", "sum_over_time", "delta", "avg_over_time", "last_over_time", "irate", "idelta", "min_over_time", "resets", "changes"),
			native(), g.duration(), g.modifiers())
	}
	of = change(of)
	if g.odds(2) {
		of = g.one("sum", "sum by (le)", "sum by (job, le)", "avg by (job, le)", "avg", "sum without (instance)", "count", "min", "stddev", "topk (2, ", "quantile (0.5, ",
			`count_values by (job) ("v", `) + "(" + of + ")"
		if strings.Count(of, "(") > strings.Count(of, ")") {
			of += ")"
		}
	}
	return change(of)
}

func (g *randomPromQL) relabel(depth int) string {
	v := g.vector(depth - 1)
	if g.odds(2) {
		return fmt.Sprintf(`label_join(%s, "%s", "-", "%s", "job")`, v, g.one("new", "instance", "x.y"), g.one("instance", "code", "pod"))
	}
	return fmt.Sprintf(`label_replace(%s, "%s", "%s", "%s", "%s")`, v, g.one("new", "job", "x.y", "__name__"), g.one("$1", "x", "", "$1-$1"),
		g.one("instance", "code", "job", "__name__"), g.one("(.*)", "(.*):.*", "a.*", "(.).*"))
}
