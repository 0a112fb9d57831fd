// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"math"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"
)

// labelSize bounds how long a query can make the labels of a series: so many times as long, and so much longer. The zero value is
// a query that leaves them as they are. The engine has no bound of its own: twenty replacements by "$1$1" in each other make a
// megabyte of a byte, for each series.
type labelSize struct{ times, plus float64 }

// of is how long labels can become.
func (s labelSize) of(bytes int64) int64 {
	if s.times == 0 {
		return bytes
	}
	const most = 1 << 50 // A petabyte is as good as any.
	return int64(math.Min(s.times*float64(bytes)+s.plus, most))
}

// labelsOf looks for what makes labels longer in a query that may have it.
func labelsOf(p parser.Parser, query string) labelSize {
	if !strings.Contains(query, "label_") {
		return labelSize{}
	}
	expr, err := p.ParseExpr(query)
	if err != nil {
		return labelSize{}
	}
	return labelSizeOf(expr)
}

func labelSizeOf(n parser.Node) labelSize {
	size := labelSize{times: 1}
	for child := range parser.ChildrenIter(n) {
		c := labelSizeOf(child)
		size.times, size.plus = max(size.times, c.times), max(size.plus, c.plus)
	}
	call, ok := n.(*parser.Call)
	if !ok {
		return size
	}
	text := func(i int) string {
		if i < len(call.Args) {
			if s, ok := call.Args[i].(*parser.StringLiteral); ok {
				return s.Val
			}
		}
		return ""
	}
	copies, literal := 0, 0
	switch call.Func.Name {
	case "label_replace": // Of a vector: destination, replacement, source, expression.
		copies, literal = strings.Count(text(2), "$"), len(text(2))
	case "label_join": // Of a vector: destination, separator, sources.
		const before = 3
		copies = len(call.Args) - before
		literal = len(text(2)) * copies
	default:
		return size
	}
	// The label is one more beside the others.
	return labelSize{times: size.times * float64(1+copies), plus: size.plus*float64(1+copies) + float64(literal)}
}
