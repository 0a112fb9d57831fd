// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// shape is what decides whether and how a range query is split.
type shape struct {
	text  string        // The expression as the parser writes it.
	reach time.Duration // How far before a step its samples may be, without the lookback.
	// strict is set where a function takes a range. It drops the name and what else Prometheus calls metadata from the labels, and the
	// engine then wants them distinct over the whole range.
	strict bool
}

// errWhole says that an expression must be evaluated whole.
var errWhole = errors.New("not to be split")

// shapeOf returns the shape of an expression, and whether its range may be split: whether the engine's answer to a range is
// made of its answers to any parts of it. The engine evaluates each step by itself, but for these:
//
//   - `@ start()`, `@ end()`, and functions and durations that tell of the range: other parts, other values;
//   - functions over ranges demand distinct labels, once they have dropped the name, of the series of the whole range and
//     not of those of a step. So each selector must be of one metric, label_replace and label_join must not be there, and below
//     a subquery there must be no `or`, which is what else gives series of several names;
//   - the parameter of an aggregation is looked at for all steps before the first: it must be a number or a text;
//   - sort and sort_desc say that they do nothing, unless there is but one step.
//
// Further, `@` with a time and offsets into the future are left whole, because when their samples can change does not follow
// from the times of the steps; and everything experimental, because nobody knows yet.
func shapeOf(expr parser.Expr) (shape, bool) {
	s := shape{text: expr.String()}
	err := inspect(expr, nil, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			return s.selector(n, path)
		case *parser.SubqueryExpr:
			return s.subquery(n)
		case *parser.Call:
			return call(n)
		case *parser.AggregateExpr:
			return aggregation(n)
		case *parser.MatrixSelector:
			s.strict = true
			if n.RangeExpr != nil {
				return errWhole
			}
		case *parser.BinaryExpr:
			if n.Op == parser.LOR && inSubquery(path) || n.VectorMatching != nil && (n.VectorMatching.FillValues.LHS != nil || n.VectorMatching.FillValues.RHS != nil) {
				return errWhole
			}
		}
		return nil
	})
	return s, err == nil
}

// inspect is parser.Inspect with the error.
func inspect(node parser.Node, path []parser.Node, f func(parser.Node, []parser.Node) error) error {
	if err := f(node, path); err != nil {
		return err
	}
	path = append(path[:len(path):len(path)], node)
	for child := range parser.ChildrenIter(node) {
		if err := inspect(child, path, f); err != nil {
			return err
		}
	}
	return nil
}

func (s *shape) selector(n *parser.VectorSelector, path []parser.Node) error {
	if n.Timestamp != nil || n.StartOrEnd != 0 || n.OriginalOffset < 0 || n.OriginalOffsetExpr != nil || n.Anchored || n.Smoothed || !named(n) {
		return errWhole
	}
	reach := n.OriginalOffset
	for _, p := range path {
		switch p := p.(type) {
		case *parser.SubqueryExpr:
			// The engine's own idea of how far a subquery without a step goes does not add to this.
			reach += p.Range + p.OriginalOffset
		case *parser.MatrixSelector:
			reach += p.Range
		}
	}
	s.reach = max(s.reach, reach)
	return nil
}

// named tells whether a selector is of one metric.
func named(n *parser.VectorSelector) bool {
	for _, m := range n.LabelMatchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual && m.Value != "" {
			return true
		}
	}
	return false
}

func (s *shape) subquery(n *parser.SubqueryExpr) error {
	s.strict = true
	if n.Timestamp != nil || n.StartOrEnd != 0 || n.OriginalOffset < 0 || n.OriginalOffsetExpr != nil || n.RangeExpr != nil || n.StepExpr != nil {
		return errWhole
	}
	return nil
}

// call looks at functions.
func call(n *parser.Call) error {
	if n.Func.Experimental {
		return errWhole
	}
	switch n.Func.Name {
	case "label_replace", "label_join", "info", "sort", "sort_desc":
		return errWhole
	default:
		return nil
	}
}

func aggregation(n *parser.AggregateExpr) error {
	if n.Op.IsExperimentalAggregator() {
		return errWhole
	}
	param := n.Param
	for {
		switch p := param.(type) {
		case nil, *parser.NumberLiteral, *parser.StringLiteral:
			return nil
		case *parser.ParenExpr:
			param = p.Expr
		case *parser.UnaryExpr:
			param = p.Expr
		default:
			return errWhole
		}
	}
}

func inSubquery(path []parser.Node) bool {
	for _, p := range path {
		if _, ok := p.(*parser.SubqueryExpr); ok {
			return true
		}
	}
	return false
}
