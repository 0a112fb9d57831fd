// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// randomCall is one call of the API. Its expression is empty where it has none.
type randomCall struct {
	path   string
	params url.Values
	post   bool
}

func (c randomCall) expr() string { return c.params.Get("query") }

func (c randomCall) String() string {
	text, err := url.QueryUnescape(c.params.Encode())
	if err != nil {
		text = c.params.Encode()
	}
	return c.path + "?" + text
}

// randomCalls makes up calls.
type randomCalls struct {
	randomPromQL
	panels []randomCall // Range queries that were made already: some are asked again of another time, as who scrolls does.
}

// panelsKept is so many that what was asked of them is in the cache still, or not any more.
const panelsKept = 20

func newRandomCalls(d *randomData, seed uint64) *randomCalls {
	c := &randomCalls{randomPromQL: randomPromQL{Rand: rand.New(rand.NewPCG(seed, 1)), begin: d.begin, end: d.end}}
	var names []labels.Labels
	for _, s := range d.series {
		names = append(names, s.labels)
	}
	c.series = names
	return c
}

// next does not depend on what was answered.
func (c *randomCalls) next() randomCall {
	call := randomCall{params: url.Values{}, post: c.odds(3)}
	switch n := c.IntN(20); {
	case n < 7:
		call.path = "/query"
		c.instant(call.params)
	case n < 14:
		call.path = "/query_range"
		if len(c.panels) > 0 && c.odds(2) {
			c.scroll(call.params)
		} else {
			c.ranges(call.params)
		}
		if len(c.panels) < panelsKept {
			c.panels = append(c.panels, call)
		} else {
			c.panels[c.IntN(panelsKept)] = call
		}
	case n < 17:
		call.path = c.one("/series", "/labels", "/label/"+c.one("instance", "job", "code", "__name__", "service.name", "U__service_2e_name", "pod", "nothing")+"/values")
		c.list(call.params, call.path == "/series")
	case n < 18 && c.odds(2):
		call.path = "/query_exemplars"
		call.params.Set("query", c.one(c.matchers(), "requests_total", "rate(requests_total[5m]) / errors_total", c.expr(true)))
		c.limits(call.params)
	case n < 19:
		call.path = "/read"
		call.params.Set("match[]", c.matchers())
		a, b := c.span()
		call.params.Set("start", c.exact(a))
		call.params.Set("end", c.exact(b))
		call.post = c.odds(2) // Streamed.
	default:
		call.path = c.one("/format_query", "/parse_query")
		call.params.Set("query", c.expr(false))
	}
	if c.odds(12) && call.path != "/read" {
		call.params, _ = url.ParseQuery(call.params.Encode()) // A panel stays as it is.
		c.spoil(call.params)
	}
	return call
}

// spoil gives a parameter a value that nobody should give it, or gives it once more.
func (c *randomCalls) spoil(p url.Values) {
	name := c.one("start", "end", "time", "step", "limit", "timeout", "lookback_delta", "stats", "match[]", "query")
	value := c.one("", "", "x", "NaN", "Inf", "-Inf", "-1", "0", "0.0005", "1e20", "1e400", "-1e12", "9223372036854775807", "18446744073709551616", " 1", "1_000", "0x10",
		"2026-02-30T00:00:00Z", "2026-11-20t00:00:00z", "-9223372036854775.808", "9223372036854775.807", "5m", "1d", "-5m", "1h30m", "1m1h", "292277025-08-18T07:12:54.999999999Z",
		"true", "{}", "up{", "\xff", "\x00", "up")
	if c.odds(2) {
		p.Add(name, value)
		return
	}
	p.Set(name, value)
}

// time is a time in one of the forms that it may have.
func (c *randomCalls) time(t time.Time) string {
	switch c.IntN(4) {
	case 0:
		return t.UTC().Format(time.RFC3339)
	case 1:
		return c.exact(t)
	}
	return strconv.FormatInt(t.Unix(), 10)
}

func (c *randomCalls) exact(t time.Time) string {
	return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64)
}

func (c *randomCalls) instant(p url.Values) {
	p.Set("query", c.expr(false))
	p.Set("time", c.time(c.moment()))
	c.options(p)
}

func (c *randomCalls) options(p url.Values) {
	if c.odds(12) {
		p.Set("limit", c.one("0", "1", "2", "5", "1000"))
	}
	if c.odds(10) {
		p.Set("stats", c.one("all", "true"))
	}
	if c.odds(10) {
		p.Set("lookback_delta", c.one("1m", "15s", "1h", "1", "7m", "100ms", "0"))
	}
	if c.odds(30) {
		p.Set("timeout", c.one("30s", "100"))
	}
}

// mostSteps bounds what one question costs.
const mostSteps = 300

func (c *randomCalls) ranges(p url.Values) {
	steps := []time.Duration{
		time.Minute, time.Minute, 5 * time.Minute, 15 * time.Second, time.Hour, 7300 * time.Millisecond, 13*time.Minute + 37*time.Second, 3 * time.Hour, 50 * time.Hour, 1001 * time.Millisecond,
	}
	step := steps[c.IntN(len(steps))]
	start := c.moment()
	if c.odds(3) {
		start = start.Truncate(step)
	}
	length := time.Duration(c.Int64N(int64(max(step, min(mostSteps*step, c.end.Sub(start)+time.Hour)))))
	switch c.IntN(36) {
	case 0, 1, 2:
		length = 0
	case 3, 4, 5:
		length = step * 2 / 3
	case 6:
		length = -time.Second
	}
	p.Set("query", c.expr(true))
	p.Set("start", c.time(start))
	p.Set("end", c.time(start.Add(length)))
	p.Set("step", strconv.FormatFloat(step.Seconds(), 'f', -1, 64))
	c.options(p)
}

// scroll asks a panel again, mostly some steps to the left or to the right, or with another length.
func (c *randomCalls) scroll(p url.Values) {
	was := c.panels[c.IntN(len(c.panels))].params
	for name := range was {
		p.Set(name, was.Get(name))
	}
	seconds, err := strconv.ParseFloat(was.Get("step"), 64)
	if err != nil {
		panic(err) // It was made here.
	}
	step := time.Duration(seconds * float64(time.Second))
	start, end := mustMoment(was.Get("start")), mustMoment(was.Get("end"))
	by := func() time.Duration { return time.Duration(c.IntN(mostSteps/2)-mostSteps/4) * step }
	if d := by(); c.about(start.Add(d)) && c.about(end.Add(d)) {
		start, end = start.Add(d), end.Add(d)
	}
	if d := by(); c.about(end.Add(d)) && !end.Add(d).Before(start) {
		end = end.Add(d)
	}
	p.Set("start", c.exact(start))
	p.Set("end", c.exact(end))
	if c.odds(3) {
		p.Del("stats")
		p.Del("limit")
	}
	if c.odds(3) { // Warnings say where in the text.
		p.Set("query", c.one(" ", "  \n", "# why\n", "(", "\t")+p.Get("query")+c.one("", " ", " # so", "\n"))
		if p.Get("query")[0] == '(' {
			p.Set("query", p.Get("query")+"\n)")
		}
	}
}

// mustMoment reads a time that was made here.
func mustMoment(text string) time.Time {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.UnixMilli(int64(math.Round(seconds * 1000)))
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// about says whether a time is not far from the data.
func (c *randomCalls) about(t time.Time) bool {
	return t.After(c.begin.Add(-time.Hour)) && t.Before(c.end.Add(time.Hour))
}

// list are the parameters of a list of series or labels.
func (c *randomCalls) list(p url.Values, must bool) {
	n := c.IntN(3)
	if must {
		n++
	}
	for range n {
		p.Add("match[]", c.matchers())
	}
	c.limits(p)
	if c.odds(3) {
		p.Set("limit", fmt.Sprint(c.IntN(30)))
	}
}

// limits are the start and the end of a time, either or none.
func (c *randomCalls) limits(p url.Values) {
	a, b := c.span()
	if !c.odds(3) {
		p.Set("start", c.time(a))
	}
	if !c.odds(3) {
		p.Set("end", c.time(b))
	}
}

// span is a part of the time of the data, mostly with its end after its start.
func (c *randomCalls) span() (a, b time.Time) {
	a, b = c.moment(), c.moment()
	if c.odds(2) { // Less than a block.
		b = a.Add(time.Duration(c.Int64N(int64(randomBlock))))
	}
	if b.Before(a) && !c.odds(10) {
		a, b = b, a
	}
	return a, b
}
