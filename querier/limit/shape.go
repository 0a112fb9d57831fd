// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// defaultSubqueryStep is that of the engine, for subqueries that give none.
const defaultSubqueryStep = time.Minute

// asked is for which time something is asked. An instant query has no step.
type asked struct {
	start, end time.Time
	step       time.Duration
}

// steps is how often an expression is evaluated.
func (a asked) steps() float64 {
	if a.step <= 0 {
		return 1
	}
	return float64(a.end.Sub(a.start)/a.step) + 1
}

// checkShape says which limit a query is beyond by its form. What does not parse is left to the engine, which says why.
func (l *Limits) checkShape(p parser.Parser, query string, a asked, subquery bool) *Error {
	if l.MaxRange <= 0 && (l.MaxSubqueryPoints <= 0 || !subquery) {
		return nil
	}
	expr, err := p.ParseExpr(query)
	if err == nil {
		if points := subqueryPoints(expr, a.steps(), a.end.Sub(a.start)); l.MaxSubqueryPoints > 0 && points > float64(l.MaxSubqueryPoints) {
			return refuse(SubqueryPoints, "a subquery would be looked at in %.3g points for each series, its points times the steps of what is around it, "+
				"and the limit is %d (%s): give the subquery a longer step or a shorter range", points, l.MaxSubqueryPoints, SubqueryPoints)
		}
		expr, err = promql.PreprocessExpr(expr, a.start, a.end, a.step)
	}
	if err == nil && l.MaxRange > 0 {
		mint, maxt := promql.FindMinMaxTime(&parser.EvalStmt{Expr: expr, Start: a.start, End: a.end, Interval: a.step})
		if length := time.Duration(maxt-mint) * time.Millisecond; length > l.MaxRange {
			return refuse(Range, "the query looks at %s of time, its range selectors included, and the limit is %s (%s): ask for a shorter range",
				length.Round(time.Second), l.MaxRange, Range)
		}
	}
	return nil
}

// subqueryPoints is the most points that one subquery of expr has in its window, times the steps at which what is around it
// looks at the window: the engine does that for one series at a time, without a look at its timeout.
func subqueryPoints(expr parser.Node, steps float64, span time.Duration) (most float64) {
	if n, ok := expr.(*parser.SubqueryExpr); ok {
		step := n.Step
		if step <= 0 {
			step = defaultSubqueryStep
		}
		most = steps * float64(n.Range) / float64(step)
		span += n.Range
		steps = float64(span)/float64(step) + 1
	}
	for child := range parser.ChildrenIter(expr) {
		most = max(most, subqueryPoints(child, steps, span))
	}
	return most
}
