// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// selector is a vector selector.
func (g *randomPromQL) selector() string { return g.matchers() + g.modifiers() }

// matrix is a range of a selector, or a subquery.
func (g *randomPromQL) matrix(depth int) string {
	if depth > 0 && g.odds(3) {
		step := g.one("", "30s", "1m", "5m", "7m13s", "1h", "90s")
		return fmt.Sprintf("(%s)[%s:%s]%s", g.vector(depth-1), g.one("10m", "1h", "33m", "5m", "2m", "3h"), step, g.modifiers())
	}
	return g.matchers() + "[" + g.duration() + "]" + g.modifiers()
}

func (g *randomPromQL) duration() string {
	return g.one("1m", "2m", "5m", "5m", "5m", "10m", "7m31s", "1h", "3h", "30s", "1ms", "5m - 1ms", "2*5m", "step() + 5m", "1d")
}

// modifiers are what may follow a selector: mostly nothing.
func (g *randomPromQL) modifiers() string {
	var out string
	if g.odds(6) {
		out += " offset " + g.one("1m", "5m", "1h", "1d", "-5m", "-1m", "13m7s", "-1h", "25h", "0s", "(1m + 1s)", "-(2m)")
	}
	switch g.IntN(14) {
	case 0:
		out += " @ start()"
	case 1:
		out += " @ end()"
	case 2:
		out += fmt.Sprintf(" @ %d.%03d", g.moment().Unix(), g.IntN(1000))
	}
	return out
}

// moment is some time of the data, or shortly before or after.
func (g *randomPromQL) moment() time.Time {
	const around = 30 * time.Minute
	if g.odds(4) { // What is not in blocks yet.
		return g.end.Add(-time.Duration(g.Int64N(int64(3 * time.Hour))))
	}
	return g.begin.Add(-around + time.Duration(g.Int64N(int64(g.end.Sub(g.begin)+2*around)))).Truncate(time.Millisecond)
}

// matchers are those of a series, mostly with its name. Few selectors are of all series.
func (g *randomPromQL) matchers() string {
	ls := g.series[g.IntN(len(g.series))]
	if strings.HasPrefix(ls.Get("__name__"), "native") && g.odds(2) { // Most functions are of floats.
		ls = g.series[g.IntN(len(g.series))]
	}
	name := ls.Get("__name__")
	plain := !strings.Contains(name, ".")
	var list []string
	head := ""
	switch {
	case name == "":
		list = append(list, `no="name"`)
	case g.odds(25):
		list = append(list, g.one(`__name__=~"`+name[:2]+`.*"`, `__name__=~"`+regexp.QuoteMeta(name)+`|up"`, `job="batch"`, `__name__!~"native.*|latency.*",job="api"`))
		list[0] = strings.ReplaceAll(list[0], `\`, `\\`)
	case g.odds(80):
		return g.one("nothing_there", `up{job="nowhere"}`)
	case plain && !g.odds(5):
		head = name
	case g.odds(3):
		list = append(list, fmt.Sprintf("__name__=%q", name))
	default:
		list = append(list, fmt.Sprintf("%q", name))
	}
	ls.Range(func(l labels.Label) {
		if l.Name != "__name__" && g.odds(3) {
			list = append(list, g.matcher(l))
		}
	})
	if len(list) == 0 {
		return head
	}
	return head + "{" + strings.Join(list, ",") + "}"
}

// matcher is about a label that some series has.
func (g *randomPromQL) matcher(l labels.Label) string {
	name := l.Name
	if strings.ContainsAny(name, ".ü\n\"") {
		name = fmt.Sprintf("%q", name)
	}
	switch g.IntN(8) {
	case 0:
		return fmt.Sprintf("%s!=%q", name, l.Value)
	case 1:
		return fmt.Sprintf("%s=~%q", name, regexp.QuoteMeta(l.Value)+"|nothing")
	case 2:
		return name + g.one(`=~".+"`, `=~".*"`, `!~".+"`, `=""`, `!=""`, `!~"a.*"`, `=~"[a-c5].*"`, `=~"(?i:A).*"`, `=~"4..|500"`, `!~"4..|500"`)
	}
	return fmt.Sprintf("%s=%q", name, l.Value)
}

// labelName is one that groups, as it is written in a list of them.
func (g *randomPromQL) labelName() string {
	return g.one("instance", "instance", "job", "job", "code", "le", "queue", "n", "pod", `"service.name"`, "__name__", "nothing")
}
