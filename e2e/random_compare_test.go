// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"math"
	"net/http"
	"regexp"
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
// same, to the last bit. In most of them Prometheus may say something else itself the next time:
//
//   - stats.timings: they are measured.
//   - The order of warnings and infos, and which of more than ten there are: Prometheus has them in a map.
//   - The order of an instant vector, where histogram_quantile, histogram_fraction or count_values takes part in it: they have their
//     results in a map. (Ranges are sorted in the end.) Nor then which of its rows a limit leaves, only how many.
//   - Times that are NaN or infinite: they are refused, and a Prometheus takes them for some year long ago.
//   - A timeout that is over before it begins, which Prometheus calls a bad query if the query still waited for its turn.
//   - Names and values of labels of a part of the time: they are those of whole blocks, and in the bucket blocks are merged. There may
//     be more, but never fewer.
//   - stats.samples about native histograms, but for the lone node: a histogram counts as many samples as it is large in its chunk, and
//     where copies have holes or blocks are merged chunks begin elsewhere. A quantile of negative histograms depends on it as well: it is
//     the bound of the last bucket, empty or not.
//   - Exemplars, once members were restarted: they are in the memory of owners.
//   - The last bits of what is added up in the order of a map, which of several equals topk takes, and which of many series an
//     error names: over several steps operators, functions of vectors, and topk have their results in a map. See looseOrder.
//     Numbers may differ by randomTolerance, or where Prometheus differs from itself.
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
		j.loose = looseOrder(expr, ranges)
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

// ofHistograms are selectors that may be of native histograms.
var ofHistograms = regexp.MustCompile(`native|mixed|__name__|job="batch"`)

// ofNegative are quantiles of what may be less than nothing.
var ofNegative = regexp.MustCompile(`histogram_quantile\(.*(-|delta)`)

// endless are times that are no number.
var endless = regexp.MustCompile(`(^|&)(time|start|end|step)=(NaN|-?Inf)`)

// noTime are timeouts that are over.
var noTime = regexp.MustCompile(`(^|&)timeout=(NaN|-|0)`)

// said is the error of an answer, or nothing.
func (a answer) said() string {
	var body struct{ Error string }
	if err := json.Unmarshal(a.body, &body); err != nil {
		return ""
	}
	return body.Error
}

// merged tells whether an answer is a list of labels of a part of the time that has all that Prometheus has. Of a list that was cut to
// a limit nothing can be told.
func (j *randomJudge) merged(got answer) bool {
	p := j.call.params
	if j.call.path != "/labels" && !strings.HasPrefix(j.call.path, "/label/") || p.Get("start") == "" && p.Get("end") == "" || j.want.code != http.StatusOK || got.code != j.want.code {
		return false
	}
	var theirs, ours struct{ Data []string }
	if json.Unmarshal(j.want.body, &theirs) != nil || json.Unmarshal(got.body, &ours) != nil {
		return false
	}
	return p.Get("limit") != "" || !slices.ContainsFunc(theirs.Data, func(name string) bool { return !slices.Contains(ours.Data, name) })
}

// compare returns what is wrong with an answer of a side.
func (j *randomJudge) compare(side string, got answer) []fieldDiff {
	if strings.HasSuffix(got.said(), "is not a number") && endless.MatchString(j.call.params.Encode()) {
		return nil
	}
	if noTime.MatchString(j.call.params.Encode()) && j.want.code != http.StatusOK && got.code == http.StatusServiceUnavailable || side != sideLone && j.merged(got) {
		return nil
	}
	diffs := j.differences(j.want, got)
	if side != sideLone && ofHistograms.MatchString(j.call.expr()) {
		negative := ofNegative.MatchString(j.call.expr())
		diffs = slices.DeleteFunc(diffs, func(d fieldDiff) bool {
			return strings.HasPrefix(d.field, "data.stats.samples.") || negative && strings.HasPrefix(d.field, "data.result.")
		})
	}
	if j.unordered && j.call.params.Get("limit") != "" {
		diffs = slices.DeleteFunc(diffs, func(d fieldDiff) bool {
			return strings.HasPrefix(d.field, "data.result.") && d.field != "data.result.length"
		})
	}
	if len(diffs) == 0 || !j.loose {
		return diffs
	}
	if alike(diffs) {
		return nil
	}
	for len(j.others) < randomAgain {
		j.again++
		j.others = append(j.others, j.ask())
	}
	undefined := map[string]bool{} // Where Prometheus differs from itself.
	for _, other := range j.others {
		if again := j.differences(other, got); len(again) == 0 || alike(again) {
			return nil
		}
		for _, d := range j.differences(j.want, other) {
			undefined[d.field] = true
		}
	}
	return slices.DeleteFunc(diffs, func(d fieldDiff) bool { return undefined[d.field] })
}

func (j *randomJudge) differences(want, got answer) []fieldDiff {
	diffs := slices.DeleteFunc(compareAnswers("", j.normal(want), j.normal(got)), func(d fieldDiff) bool { return strings.HasPrefix(d.field, "data.stats.timings") })
	for i, d := range diffs {
		if d.field == "body" {
			diffs[i].want, diffs[i].got = fromDifference(d.want, d.got)
		}
	}
	return diffs
}

// fromDifference leaves out what two long texts have in common first.
func fromDifference(want, got string) (string, string) {
	same := 0
	for same < min(len(want), len(got)) && want[same] == got[same] {
		same++
	}
	around := func(text string) string { return "…" + text[max(0, same-150):min(len(text), same+150)] }
	return around(want), around(got)
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
		return e.Op == parser.COUNT_VALUES || steps && (e.Op == parser.TOPK || e.Op == parser.BOTTOMK) || mapOrder(e.Expr, steps)
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
