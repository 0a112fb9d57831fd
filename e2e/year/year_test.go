// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

// Package year fills a bucket with blocks of a year, has a node compact and downsample them, and compares what it answers
// with a Prometheus that has the same blocks on its disk.
package year

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
)

var (
	days   = flag.Int("year.days", 0, "How much there is in the bucket; 365 takes a quarter of an hour.")
	series = flag.Int("year.series", 100, "Of how many series.")
	copies = flag.Int("year.copies", 1, "How many members have uploaded it.")

	// env is set before any test runs and not changed after.
	env *harness.Env
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *days == 0 {
		fmt.Println("a year takes too long for every day: it is run by `make year`")
		return
	}
	var err error
	if env, err = harness.NewEnv(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "prepare the test: %v\n", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	day = 24 * time.Hour
	// resets of the counters are this far apart.
	counterReset = "36h"
	// resolutions are raw, 5m and 1h.
	resolutions = 3
	// compactedWithin is how long compaction may take. It is many times what it takes.
	compactedWithin = 45 * time.Minute
)

// size is how much there is.
type size struct {
	series   int
	interval time.Duration
	length   time.Duration
	copies   []string // Members that each uploaded all of it.
}

// TestYear: results are those of a Prometheus with the same blocks, raw samples to the last bit; those over downsampled
// blocks are within what downsampling promises.
func TestYear(t *testing.T) {
	s := size{series: *series, interval: time.Minute, length: time.Duration(*days) * day}
	for c := range *copies {
		s.copies = append(s.copies, "member-"+strconv.Itoa(c))
	}
	// The end is a while ago: nothing is in a head, and all of it is old enough for every resolution.
	until := time.Now().UTC().Truncate(14 * day).Add(-14 * day)
	from := until.Add(-s.length)
	y := &year{t: t, size: s, from: from, until: until}
	y.fill()
	y.startNode()
	y.waitCompacted()
	y.startPrometheus()
	y.compare()
}

type year struct {
	t *testing.T
	size
	from, until time.Time

	s3         *harness.S3
	node       *harness.Node
	prometheus harness.API
}

func (y *year) generate(args ...string) {
	y.t.Helper()
	args = append([]string{
		"loadgen", "blocks", "--series=" + strconv.Itoa(y.series), "--interval=" + y.interval.String(), "--counter-reset=" + counterReset,
		"--from=" + y.from.Format(time.RFC3339), "--until=" + y.until.Format(time.RFC3339),
	}, args...)
	if code, out := env.RunPenstockWithin(y.t, compactedWithin, args...); code != 0 {
		y.t.Fatalf("penstock %s: exit code %d: %s", strings.Join(args, " "), code, out)
	}
}

// fill puts the blocks into the bucket, those of two hours that members upload.
func (y *year) fill() {
	y.t.Helper()
	y.s3 = env.StartS3(y.t)
	args := []string{"--objstore.config=" + y.s3.ObjstoreConfig(""), "--block-range=2h", "--scratch-dir=" + harness.Dir(y.t)}
	for _, c := range y.copies {
		args = append(args, "--copy="+c)
	}
	begin := time.Now()
	y.generate(args...)
	y.t.Logf("%d days of %d series, one sample every %s: uploaded in %s", int(y.length/day), y.series, y.interval, time.Since(begin).Round(time.Second))
}

func (y *year) startNode() {
	y.t.Helper()
	y.node = env.StartLoneNode(y.t, filepath.Join(harness.Dir(y.t), "data"),
		"--objstore.config="+y.s3.ObjstoreConfig(""),
		"--compact.block-sync-interval=2s", "--compact.consistency-delay=1s",
		// Blocks that were merged are not read, also while they are still there.
		"--compact.deletion-delay=30m",
	)
}

// waitCompacted waits until there is nothing left to do.
func (y *year) waitCompacted() {
	y.t.Helper()
	begin := time.Now()
	idle := 0
	for idle < 3 {
		if time.Since(begin) > compactedWithin {
			y.t.Fatalf("there is still something to compact after %s: %v", compactedWithin, y.state())
		}
		time.Sleep(3 * time.Second)
		state := y.state()
		if state["penstock_compact_runs_total"] > 0 && state["penstock_compact_todo_blocks"] == 0 && state["penstock_compact_last_success_timestamp_seconds"] > 0 {
			idle++
		} else {
			idle = 0
		}
	}
	y.t.Logf("compacted and downsampled in %s: %v", time.Since(begin).Round(time.Second), y.state())
	// Queries see it when the node has listed the bucket anew.
	harness.Eventually(y.t, 10*harness.Patience, "queries see what compaction made", func() error {
		n, err := y.node.Sum("penstock_blockstore_blocks")
		if most := float64(y.length/(2*day)) + 3; err == nil && n > most*resolutions {
			err = fmt.Errorf("%g blocks are visible, want at most %g", n, most*resolutions)
		}
		return err
	})
	y.t.Logf("the node: %s", y.usage())
}

// state is what the metrics of the node say of compaction, the values of all labels added up.
func (y *year) state() map[string]float64 {
	y.t.Helper()
	out := map[string]float64{}
	m, err := y.node.Metrics()
	if err != nil {
		y.t.Fatal(err)
	}
	for _, name := range []string{
		"penstock_compact_runs_total", "penstock_compact_run_failures_total", "penstock_compact_todo_blocks",
		"penstock_compact_last_success_timestamp_seconds", "penstock_bucket_operations_total",
	} {
		if out[name], err = m.Sum(name); err != nil {
			y.t.Fatal(err)
		}
	}
	return out
}

// usage is what the node has used of memory and CPU.
func (y *year) usage() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", y.node.Process.PID()))
	if err != nil {
		return "not known here"
	}
	var out []string
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") || strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "RssAnon") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return strings.Join(out, ", ")
}

// startPrometheus starts one on a directory with the same samples, in blocks of two days.
func (y *year) startPrometheus() {
	y.t.Helper()
	dir := filepath.Join(harness.Dir(y.t), "prometheus")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		y.t.Fatal(err)
	}
	y.generate("--dir="+dir, "--block-range=2d")
	y.prometheus = env.StartPrometheusOn(y.t, dir)
}

// question is a range query, and how near the answer must be to that of raw samples, relatively.
type question struct {
	expr     string
	length   time.Duration
	step     time.Duration
	resolved float64 // For max_source_resolution=auto; 0: is not asked.
}

func (y *year) questions() []question {
	all := []question{
		{expr: `sum by (job) (rate(loadgen_counter_total[5m]))`, length: time.Hour, step: time.Minute},
		{expr: `loadgen_gauge`, length: time.Hour, step: time.Minute},
		{expr: `sum by (job) (rate(loadgen_counter_total[5m]))`, length: day, step: 5 * time.Minute},
		{expr: `sum by (job) (increase(loadgen_counter_total[6h]))`, length: 10 * day, step: time.Hour, resolved: 0.01},
		{expr: `avg_over_time(loadgen_gauge[6h])`, length: 10 * day, step: time.Hour, resolved: 0.02},
		{expr: `sum by (job) (increase(loadgen_counter_total[1d]))`, length: 30 * day, step: 6 * time.Hour, resolved: 0.01},
		{expr: `max_over_time(loadgen_gauge[1d])`, length: 30 * day, step: 6 * time.Hour, resolved: 0.001},
		{expr: `sum by (job) (increase(loadgen_counter_total[2d]))`, length: 365 * day, step: day, resolved: 0.01},
		{expr: `min_over_time(loadgen_gauge[2d])`, length: 365 * day, step: day, resolved: 0.001},
		{expr: `count_over_time(loadgen_gauge[2d])`, length: 365 * day, step: day, resolved: 0.02},
	}
	var fit []question
	for _, q := range all {
		if q.length <= y.length {
			fit = append(fit, q)
		}
	}
	return fit
}

// compare asks both everything.
func (y *year) compare() {
	y.t.Helper()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "query\tover\tresolution\tvalues\trequests\tMB fetched\ttook\tPrometheus\tfurthest off\t")
	for _, q := range y.questions() {
		// Windows reach back, and both must have all of theirs.
		end := y.until.Add(-time.Hour)
		start := end.Add(-q.length)
		if first := y.from.Add(2 * day); start.Before(first) {
			start = first
		}
		params := url.Values{
			"query": {q.expr}, "start": {fmt.Sprint(start.Unix())}, "end": {fmt.Sprint(end.Unix())}, "step": {fmt.Sprint(q.step.Seconds())},
		}
		want, wantTook := y.ask(y.prometheus, params)
		for _, resolution := range []string{"0s", "auto"} {
			limit := 0.0
			if resolution == "auto" {
				if limit = q.resolved; limit == 0 {
					continue
				}
			}
			params.Set("max_source_resolution", resolution)
			before := y.fetched()
			got, took := y.ask(y.node.API, params)
			after := y.fetched()
			off, values := y.furthest(q.expr+" "+resolution, got, want, limit)
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%.0f\t%.2f\t%s\t%s\t%.2g\t\n", q.expr, q.length, resolution, values,
				after[0]-before[0], (after[1]-before[1])/1e6, took.Round(time.Millisecond), wantTook.Round(time.Millisecond), off)
		}
	}
	_ = w.Flush() // Into memory.
	y.t.Logf("results, cold and over the store on this machine:\n%s", table.String())
	y.t.Logf("the node: %s", y.usage())
}

// fetched is how many requests the node has made for ranges of blocks, and the bytes of them.
func (y *year) fetched() [2]float64 {
	y.t.Helper()
	m, err := y.node.Metrics()
	if err != nil {
		y.t.Fatal(err)
	}
	requests, err := m.Sum("penstock_blockstore_requests_total")
	if err != nil {
		y.t.Fatal(err)
	}
	bytes, err := m.Sum("penstock_blockstore_fetched_bytes_total")
	if err != nil {
		y.t.Fatal(err)
	}
	return [2]float64{requests, bytes}
}

// matrix is the answer by series and time.
type matrix map[string]map[string]float64

func (y *year) ask(api harness.API, params url.Values) (matrix, time.Duration) {
	y.t.Helper()
	begin := time.Now()
	resp, err := api.Call("/api/v1/query_range", params)
	took := time.Since(begin)
	if err != nil || resp.Code != http.StatusOK {
		y.t.Fatalf("%s: %s: status %d: %v: %.500s", api.Name, params, resp.Code, err, resp.Body)
	}
	var body struct {
		Warnings []string
		Data     struct {
			Result []struct {
				Metric map[string]string
				Values [][2]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal([]byte(resp.Body), &body); err != nil {
		y.t.Fatal(err)
	}
	if len(body.Warnings) > 0 {
		y.t.Errorf("%s warns: %q", api.Name, body.Warnings)
	}
	out := matrix{}
	for _, r := range body.Data.Result {
		name, err := json.Marshal(r.Metric) // Its keys are sorted.
		if err != nil {
			y.t.Fatal(err)
		}
		values := map[string]float64{}
		for _, v := range r.Values {
			f, err := strconv.ParseFloat(strings.Trim(string(v[1]), `"`), 64)
			if err != nil {
				y.t.Fatal(err)
			}
			values[string(v[0])] = f
		}
		out[string(name)] = values
	}
	return out, took
}

// furthest returns the largest relative difference. More than limit is an error, and so is a value that one has alone.
func (y *year) furthest(what string, got, want matrix, limit float64) (off float64, values int) {
	y.t.Helper()
	if len(got) != len(want) || len(want) == 0 {
		y.t.Errorf("%s: %d series, want %d", what, len(got), len(want))
	}
	for name, points := range want {
		if len(got[name]) != len(points) {
			y.t.Errorf("%s: %s has %d values, want %d", what, name, len(got[name]), len(points))
		}
		for at, v := range points {
			g, ok := got[name][at]
			if !ok {
				continue
			}
			values++
			d := math.Abs(g - v)
			if v != 0 {
				d /= math.Abs(v)
			}
			if d > off {
				off = d
				if d > limit {
					y.t.Errorf("%s: %s at %s is %g, want %g", what, name, at, g, v)
				}
			}
		}
	}
	return off, values
}
