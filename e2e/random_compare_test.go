// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

const (
	// randomTolerance is what sums of the same numbers in another order differ by, relatively, and more.
	randomTolerance = 1e-9
	// randomAgain is how often Prometheus is asked what it says otherwise.
	randomAgain = 12
)

// randomJudge compares answers with that of Prometheus to the same question. These are all exceptions; whatever is not here is the
// same, to the last bit. But for the first, Prometheus may say something else itself the next time:
//
//   - stats.timings: they are measured.
//   - The order of warnings and infos, and which of more than ten there are: Prometheus has them in a map.
//   - The order of an instant vector, where histogram_quantile or histogram_fraction takes part in it: they have their series in a
//     map. (Ranges are sorted in the end.)
//   - The last bits of what is added up in the order of a map, which of several equals topk takes, and which of many series an
//     error names: over several steps operators, functions of vectors, and topk have their results in a map. See looseOrder.
//     Numbers may differ by randomTolerance; else the answer must be another one of Prometheus'.
type randomJudge struct {
	call   randomCall
	want   answer
	others []answer // of Prometheus, when it was asked again
	ask    func() answer
	again  int

	unordered bool // The order of the result is that of a map.
	loose     bool // Its values depend on such an order.
}

func newRandomJudge(call randomCall, ask func() answer) *randomJudge {
	j := &randomJudge{call: call, want: ask(), ask: ask}
	expr, err := parser.NewParser(parser.Options{ExperimentalDurationExpr: true}).ParseExpr(call.expr())
	if err == nil {
		ranges := call.path == "/query_range"
		j.unordered = !ranges && mapOrder(expr, false)
		j.loose = looseOrder(expr, ranges) || j.unordered && call.params.Get("limit") != ""
	}
	return j
}

// kinds tell what sort of answer Prometheus gave.
func (j *randomJudge) kinds() []string {
	path := strings.Split(j.call.path, "/")[1]
	body := string(j.want.body)
	out := []string{path}
	for what, is := range map[string]bool{
		path + " empty": strings.Contains(body, `"result":[]`) || strings.Contains(body, `"data":[]`), path + " refused": j.want.code != http.StatusOK,
		"warnings": strings.Contains(body, `"warnings":[`), "infos": strings.Contains(body, `"infos":[`), "loose": j.loose, "histograms": strings.Contains(body, `"histogram`),
	} {
		if is {
			out = append(out, what)
		}
	}
	return out
}

// compare returns what is wrong with an answer.
func (j *randomJudge) compare(got answer) []fieldDiff {
	diffs := j.differences(j.want, got)
	if len(diffs) == 0 || !j.loose || alike(diffs) {
		return diffs[:0:0]
	}
	for len(j.others) < randomAgain {
		j.again++
		j.others = append(j.others, j.ask())
	}
	for _, other := range j.others {
		if again := j.differences(other, got); len(again) == 0 || alike(again) {
			return nil
		}
	}
	return diffs
}

func (j *randomJudge) differences(want, got answer) []fieldDiff {
	return slices.DeleteFunc(compareAnswers("", j.normal(want), j.normal(got)), func(d fieldDiff) bool { return strings.HasPrefix(d.field, "data.stats.timings") })
}

// normal is an answer with everything in an order where it has none.
func (j *randomJudge) normal(a answer) answer {
	body, err := decodeJSON(a.body)
	fields, ok := body.(map[string]any)
	if err != nil || !ok {
		return a
	}
	for _, name := range []string{"warnings", "infos"} {
		list, _ := fields[name].([]any)
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(printed(a), printed(b)) })
		if slices.ContainsFunc(list, func(v any) bool { return strings.Contains(printed(v), "annotations omitted") }) {
			fields[name] = len(list)
		}
	}
	if data, ok := fields["data"].(map[string]any); ok && j.unordered {
		result, _ := data["result"].([]any)
		slices.SortFunc(result, func(a, b any) int { return strings.Compare(printed(a), printed(b)) })
	}
	a.body = []byte(printed(fields))
	return a
}

// alike are answers that differ in the last bits of numbers only, or in the series that they name where many are wrong.
func alike(diffs []fieldDiff) bool {
	return !slices.ContainsFunc(diffs, func(d fieldDiff) bool {
		if d.field == "error" {
			want, _, wantNames := strings.Cut(d.want, "{")
			got, _, gotNames := strings.Cut(d.got, "{")
			return want != got || !wantNames || !gotNames
		}
		want, errWant := strconv.ParseFloat(strings.Trim(d.want, `"`), 64)
		got, errGot := strconv.ParseFloat(strings.Trim(d.got, `"`), 64)
		return errWant != nil || errGot != nil || !(math.Abs(want-got) <= randomTolerance*math.Max(math.Abs(want), math.Abs(got)))
	})
}

// mapOrder says whether Prometheus' engine has the series of an expression in the order of a map, at one step or over several.
func mapOrder(expr parser.Expr, steps bool) bool {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return mapOrder(e.Expr, steps)
	case *parser.UnaryExpr:
		return mapOrder(e.Expr, steps)
	case *parser.SubqueryExpr:
		return mapOrder(e.Expr, true)
	case *parser.AggregateExpr:
		return steps && (e.Op == parser.TOPK || e.Op == parser.BOTTOMK) || mapOrder(e.Expr, steps)
	case *parser.BinaryExpr:
		return e.Type() == parser.ValueTypeVector && (steps || mapOrder(e.LHS, steps) || mapOrder(e.RHS, steps))
	case *parser.Call:
		if e.Func.Name == "histogram_quantile" || e.Func.Name == "histogram_fraction" {
			return true
		}
		return slices.ContainsFunc(e.Args, func(arg parser.Expr) bool {
			return arg.Type() == parser.ValueTypeVector && steps && e.Type() == parser.ValueTypeVector || mapOrder(arg, steps)
		})
	}
	return false
}

// looseOrder says whether an expression has a part whose values depend on the order of series where that is of a map.
func looseOrder(expr parser.Expr, steps bool) bool {
	switch e := expr.(type) {
	case *parser.SubqueryExpr:
		return looseOrder(e.Expr, true)
	case *parser.AggregateExpr:
		if e.Param != nil && looseOrder(e.Param, steps) {
			return true
		}
		return e.Op != parser.COUNT && e.Op != parser.GROUP && mapOrder(e.Expr, steps) || looseOrder(e.Expr, steps)
	case *parser.BinaryExpr: // What it cannot match it names.
		return mapOrder(e.LHS, steps) || mapOrder(e.RHS, steps) || looseOrder(e.LHS, steps) || looseOrder(e.RHS, steps)
	}
	for child := range parser.ChildrenIter(expr) {
		if c, ok := child.(parser.Expr); ok && looseOrder(c, steps) {
			return true
		}
	}
	return false
}
