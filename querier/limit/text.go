// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"github.com/prometheus/prometheus/promql/parser"
)

// text is what the words of a query tell, without parsing it: parsing compiles regular expressions, and is recursive, as
// is all that is done with what comes out.
type text struct {
	depth    int64 // No expression of the query is nested deeper.
	matchers int64
	regex    int64 // The largest regexSize.
	subquery bool  // There may be one.
}

// levelMax is how many brackets are told apart; with more open ones the depth is known to be beyond any limit that makes sense.
const levelMax = 100_000

// level is what is inside of one bracket, since its last comma but for best.
type level struct {
	operators int64
	inner     int64 // The deepest bracket.
	best      int64 // The deepest of what other commas separate.
}

// depth is that of the level: each operator may be around all of what is beside it.
func (l *level) depth() int64 { return max(l.best, l.operators+l.inner) }

// levels are the brackets that are open, from the outermost on.
type levels []level

func (ls levels) top() *level { return &ls[len(ls)-1] }

// leave closes the innermost bracket.
func (ls levels) leave() levels {
	if len(ls) == 1 {
		return ls // It was never opened.
	}
	depth := ls.top().depth() + 1
	ls = ls[:len(ls)-1]
	ls.top().inner = max(ls.top().inner, depth)
	return ls
}

// scan reads the words of a query. What cannot be read is left to the parser, which says what is wrong.
func scan(query string) (t text) {
	open := levels{{}}
	defer func() {
		for len(open) > 1 {
			open = open.leave()
		}
		t.depth = open.top().depth()
	}()
	braces, regex := 0, false
	lexer := parser.Lex(query)
	for {
		var item parser.Item
		lexer.NextItem(&item)
		switch item.Typ {
		case parser.EOF, parser.ERROR:
			return t
		case parser.LEFT_BRACE:
			braces++
			open = append(open, level{})
		case parser.LEFT_PAREN, parser.LEFT_BRACKET:
			if open = append(open, level{}); len(open) > levelMax {
				return t
			}
		case parser.RIGHT_BRACE:
			braces--
			open = open.leave()
		case parser.RIGHT_PAREN:
			open = open.leave()
		case parser.RIGHT_BRACKET: // It is around what is before it.
			open = open.leave()
			open.top().operators++
		case parser.COMMA:
			*open.top() = level{best: open.top().depth()}
		case parser.COLON:
			t.subquery = true
		case parser.STRING:
			if regex {
				t.regex = max(t.regex, quotedRegexSize(item.Val))
			}
			regex = false
		default:
			switch {
			case !item.Typ.IsOperator() && item.Typ != parser.EQL:
			case braces > 0:
				t.matchers++
				regex = item.Typ == parser.EQL_REGEX || item.Typ == parser.NEQ_REGEX
			default:
				open.top().operators++
			}
		}
	}
}

// checkText says which limit a query is beyond by its words alone, and whether it may have subqueries.
func (l *Limits) checkText(queries ...string) (subquery bool, _ *Error) {
	var all text
	for _, q := range queries {
		if size := int64(len(q)); over(size, l.MaxExpressionBytes) {
			return false, refuse(ExpressionBytes, "the query is %d bytes long, and the limit is %d (%s)", size, l.MaxExpressionBytes, ExpressionBytes)
		}
		t := scan(q)
		all.depth, all.regex = max(all.depth, t.depth), max(all.regex, t.regex)
		all.matchers += t.matchers
		all.subquery = all.subquery || t.subquery
	}
	switch {
	case over(all.depth, l.MaxDepth):
		return false, refuse(ExpressionDepth, "the query is nested %d levels deep or more, and the limit is %d (%s)", all.depth, l.MaxDepth, ExpressionDepth)
	case over(all.matchers, l.MaxMatchers):
		return false, refuse(Matchers, "the query has %d label matchers, and the limit is %d (%s)", all.matchers, l.MaxMatchers, Matchers)
	case over(all.regex, l.MaxRegexBytes):
		return false, tooLongRegex(all.regex, l.MaxRegexBytes)
	}
	return all.subquery, nil
}

// over compares with a limit of which zero is none.
func over(n, limit int64) bool { return limit > 0 && n > limit }
