// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

const (
	deathSeries  = 20_000
	deathScrapes = 60
	// deathMemory is what the node is told that it has, and deathRSS what it may use: the heap may pass its limit for a moment,
	// and pages of files count.
	deathMemory = "1GiB"
	deathRSS    = 1536 << 20
	// deathTimeout is the node's; deathWithin is for a query with all that waits in line before it.
	deathTimeout = "10s"
	deathWithin  = 30 * time.Second
	// deathRounds is how often writes are measured without queries and then with them, by turns, so that what else the machine does
	// weighs on both; and deathRound for how long, with queries at least.
	deathRounds = 4
	deathRound  = 4 * time.Second
	// writeWithin is far above what a write takes; what it takes is reported.
	writeWithin = 5 * time.Second
)

// death is a query that would be the death of a server without limits.
type death struct {
	name   string
	path   string
	form   url.Values
	code   int
	says   string // In the error; empty: it has an answer. With no code it may have one, or this.
	always bool   // It is not of the parameters alone, and is played again and again while writes are measured.
}

func deathList(now time.Time) []death {
	at := strconv.FormatInt(now.Unix(), 10)
	instant := func(query string) url.Values { return url.Values{"query": {query}, "time": {at}} }
	during := func(query string, length, step time.Duration) url.Values {
		return url.Values{
			"query": {query}, "start": {strconv.FormatInt(now.Add(-length).Unix(), 10)}, "end": {at},
			"step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
		}
	}
	const query, queryRange = "/api/v1/query", "/api/v1/query_range"
	const everything = `{__name__=~".+"}`
	nested := func(n int, before, inner, after string) string {
		return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
	}
	return []death{
		{name: "10,000 parentheses", path: query, form: instant(nested(10_000, "(", "1", ")")), code: 422, says: "nested 10000 levels deep or more, and the limit is 1000 (query_max_expression_depth)"},
		{name: "3,000,000 parentheses to be parsed", path: "/api/v1/parse_query", form: instant(strings.Repeat("(", 3_000_000)), code: 422, says: "(query_max_expression_bytes)"},
		{name: "200,000 signs to be formatted", path: "/api/v1/format_query", form: instant(strings.Repeat("-", 200_000) + "1"), code: 422, says: "(query_max_expression_depth)"},
		{name: "100,000 signs", path: query, form: instant(strings.Repeat("-", 100_000) + "1"), code: 422, says: "(query_max_expression_depth)"},
		{name: "ten years of everything", path: query, form: instant(everything + "[10y]"), code: 422, says: "(query_max_samples): select fewer series", always: true},
		{name: "a year of milliseconds", path: queryRange, form: during("death_total", 365*24*time.Hour, time.Millisecond), code: 400, says: "exceeded maximum resolution of 11,000 points"},
		{name: "a year of milliseconds in a subquery", path: query, form: instant("count_over_time(death_total[1y:1ms])"), code: 422, says: "(query_max_subquery_points)"},
		{name: "(a+)+", path: query, form: instant(`count(death_total{pod=~"(a+)+$"})`), code: 200, always: true},
		{name: "alternation of 100 KB", path: query, form: instant(`death_total{pod=~"` + strings.Repeat("(a+)+|", 16_667) + `b"}`), code: 422, says: "(query_max_regex_bytes)"},
		{name: "alternation of 1 MB", path: query, form: instant(`death_total{pod=~"` + strings.Repeat("(a+)+|", 166_667) + `b"}`), code: 422, says: "(query_max_expression_bytes)"},
		{name: "groups of 60 KB", path: query, form: instant(`death_total{pod=~"` + strings.Repeat("(a+)+b|", 8_500) + `c"}`), code: 422, says: "each group that captures counts 256 bytes"},
		{name: "alternation of 16 KB", path: query, form: instant(`count(death_total{pod=~"` + strings.Repeat("(?:a+)+b|", 1_800) + `c"})`), says: "(query_timeout)", always: true},
		{name: "10,000 matchers", path: query, form: instant(`{` + strings.Repeat(`a="b",`, 10_000) + `}`), code: 422, says: "the query has 10000 label matchers, and the limit is 1000 (query_max_matchers)"},
		{name: "four subqueries of a day", path: query, form: instant(nested(4, "max_over_time(", "death_total", "[1d:1s])")), code: 422, says: "(query_max_subquery_points)"},
		{name: "four subqueries of an hour", path: query, form: instant(nested(4, "max_over_time(", "death_total", "[1h:1s])")), code: 422, says: "(query_max_samples)", always: true},
		{
			name: "quantiles of a subquery", path: queryRange, says: "(query_timeout)", always: true,
			form: during(`quantile_over_time(0.5, (death_total{pod=~".*-1."} * (time() * 7919 % 104729))[2h:1s])`, 3*time.Hour, time.Second),
		},
		{name: "count_values of what is unique", path: queryRange, form: during(`count_values("v", `+everything+`)`, time.Hour, 10*time.Second), code: 422, says: "(query_max_samples)", always: true},
		{name: "labels that double", path: query, form: instant(nested(24, "label_replace(", everything, `, "pod", "$1$1", "pod", "(.*)")`)), code: 422, says: "(query_max_memory_bytes)", always: true},
		{name: "topk of everything", path: queryRange, form: during(`topk(10, rate(`+everything+`[5m]))`, 15*time.Minute, 15*time.Second), code: 422, says: "(query_max_samples)", always: true},
		{name: "series of everything", path: "/api/v1/series", form: url.Values{"match[]": {everything}}, code: 200, always: true},
		{name: "a step below zero", path: queryRange, form: during("1", time.Hour, -time.Second), code: 400, says: "zero or negative query resolution step widths are not accepted"},
		{name: "the end before the start", path: queryRange, form: during("1", -time.Hour, time.Second), code: 400, says: "end timestamp must not be before start time"},
		{name: "11,001 points", path: queryRange, form: during("1", 11_001*time.Second, time.Second), code: 400, says: "exceeded maximum resolution of 11,000 points"},
		{name: "a time that is no number", path: query, form: url.Values{"query": {"1"}, "time": {"NaN"}}, code: 400, says: `invalid parameter "time"`},
	}
}

// ask plays one and checks its answer, and that it was there in time.
//
// In a crowd its time may be over before it meets its limit.
func (d death) ask(node *harness.Node, crowd bool) error {
	start := time.Now()
	code, text, err := post(node, d.path, d.form)
	took := time.Since(start)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", d.name, err)
	case took > deathWithin:
		return fmt.Errorf("%s: took %s", d.name, took)
	case d.code == 0 && code == http.StatusOK: // The machine is fast.
		return nil
	case (d.code == 0 || crowd) && code == http.StatusServiceUnavailable && strings.Contains(text, "(query_timeout)"):
		return nil
	case code != d.code || !strings.Contains(text, strings.ReplaceAll(d.says, `"`, `\"`)):
		return fmt.Errorf("%s: status %d: %.400s; want %d with %q", d.name, code, text, d.code, d.says)
	}
	return nil
}

// post sends a form and returns the status and the beginning of the answer. The rest is not looked at: who measures writes must not
// be busy with it.
func post(node *harness.Node, path string, form url.Values) (code int, text string, err error) {
	const head = 4 << 10
	req, err := http.NewRequest(http.MethodPost, node.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "X-Dashboard-Uid": {"death"}, "X-Panel-Id": {"7"}}
	resp, err := (&http.Client{Timeout: 2 * deathWithin}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	first, err := io.ReadAll(io.LimitReader(resp.Body, head))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode, string(first), err
}

// TestDeathList: each query of the list ends in its limit and says so, memory stays bounded, and writes go on.
func TestDeathList(t *testing.T) {
	t.Setenv("GOMEMLIMIT", deathMemory)
	dir := harness.Dir(t)
	limits := harness.WriteFile(t, dir, "limits.yml", "tenants: {hasty: {query_timeout: 1ms, query_max_concurrency: 1}}\n")
	node := env.StartLoneNode(t, filepath.Join(dir, "data"), "--limits.config-file="+limits, "--query.max-samples=500000", "--query.timeout="+deathTimeout, "--query.slow-log-threshold=1ms")
	load := &steady{t: t, node: node, series: deathSeries}
	load.fill(deathScrapes, 15*time.Second)

	stop := load.start()
	defer stop()

	list := deathList(time.Now())
	for _, d := range list { // Each alone, and all that may be by writing alone.
		if err := d.ask(node, false); err != nil {
			t.Error(err)
		}
	}
	postTooMuch(t, node)
	hasty(t, node)
	load.taken()

	var quiet, crowded []time.Duration
	for round := range deathRounds {
		time.Sleep(deathRound)
		quiet = append(quiet, load.taken()...)
		crowd(t, node, list, round)
		crowded = append(crowded, load.taken()...)
	}
	stop()

	without, with := latenciesOf(quiet), latenciesOf(crowded)
	t.Logf("writes without queries:     %s", without)
	t.Logf("writes with four at a time: %s (p50 %.2fx, p99 %.2fx)", with, float64(with.p50)/float64(without.p50), float64(with.p99)/float64(without.p99))
	if with.n == 0 || with.p99 > writeWithin {
		t.Errorf("queries stop writes: %s", with)
	}
	if len(load.bad) > 0 {
		t.Errorf("%d writes were not taken, the first: %s", len(load.bad), load.bad[0])
	}
	rss := peakRSS(t, node.Process)
	t.Logf("most memory: %d MiB of %d", rss>>20, deathRSS>>20)
	if rss > deathRSS {
		t.Errorf("the node had %d MiB, more than %d", rss>>20, deathRSS>>20)
	}
	metrics, err := node.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range []string{
		"query_max_samples", "query_max_memory_bytes", "query_max_subquery_points", "query_max_expression_depth", "query_max_expression_bytes",
		"query_max_matchers", "query_max_regex_bytes", "query_timeout",
	} {
		if metrics.Labelled("penstock_query_refused_total", "reason", reason) == 0 {
			t.Errorf("%s is not counted", reason)
		}
	}
	if log := node.Process.Log(); !strings.Contains(log, `msg="slow query"`) || !strings.Contains(log, `dashboard=death panel=7 endpoint=/query`) {
		t.Error("the slow-query log does not say whose the slow queries are")
	}
	if resp, err := node.Call("/api/v1/status/queries", nil); err != nil || !strings.Contains(resp.Body, `"queries":[]`) {
		t.Errorf("something still runs: %s, %v", resp.Body, err)
	}
}

// crowd plays the queries that take something, four at a time, for a round.
func crowd(t *testing.T, node *harness.Node, list []death, round int) {
	const players = 4
	var all sync.WaitGroup
	until := time.Now().Add(deathRound)
	for player := range players {
		all.Go(func() {
			for i := player + players*round; time.Now().Before(until); i++ {
				if d := list[i%len(list)]; d.always {
					if err := d.ask(node, true); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

// hasty asks as a tenant that has no time: what it is told is the file's.
func hasty(t *testing.T, node *harness.Node) {
	t.Helper()
	tenant := node.API
	tenant.Tenant = "hasty"
	resp, err := tenant.Call("/api/v1/query", url.Values{"query": {"sum_over_time(vector(time())[1h:1ms])"}})
	if err != nil || resp.Code != http.StatusServiceUnavailable || resp.ErrorType != "timeout" ||
		!strings.Contains(resp.Error, "it took longer than 1ms, which is the limit (query_timeout)") {
		t.Errorf("a tenant without time: status %d: %s, %v", resp.Code, resp.Body, err)
	}
	resp, err = tenant.Call("/api/v1/status/limits", nil)
	if err != nil || !strings.Contains(resp.Body, `"query_timeout":"1ms"`) || !strings.Contains(resp.Body, `"query_max_samples":500000`) {
		t.Errorf("its limits: status %d: %s, %v", resp.Code, resp.Body, err)
	}
}

// postTooMuch announces a form of 100 MB: it is refused without being read.
func postTooMuch(t *testing.T, node *harness.Node) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(node.URL, "http://"), deathWithin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(deathWithin)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/v1/query HTTP/1.1\r\nHost: node\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", 100<<20)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Errorf("a form of 100 MB: %v", err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "a form may have 10 MiB") {
		t.Errorf("a form of 100 MB: status %d: %s, %v", resp.StatusCode, text, err)
	}
}
