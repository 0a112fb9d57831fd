// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	jsoniter "github.com/json-iterator/go"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/util/jsonutil"
)

// question is a PromQL query, over a range of time if it has a step, and otherwise at its end.
type question struct {
	expr       string
	start, end time.Time
	step       time.Duration
	resolution time.Duration // That samples may have.
	// near is how far apart, relatively, two answers may be. 0: not at all.
	near float64
}

func (q question) String() string {
	return fmt.Sprintf("%s from %s to %s step %s at %s", q.expr, q.start.UTC(), q.end.UTC(), q.step, q.resolution)
}

// answer is the values of each series, as text that both sides write alike and that loses no bit.
type answer map[string][]point

// point is a value at a time: a float, or a histogram.
type point struct{ at, text string }

// seriesName is the labels of a series as text. Thanos shows the external labels by which Penstock tells tenants and copies apart;
// they are left out.
func seriesName(metric map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(metric)) {
		if name != "tenant_id" && name != "receive_replica" {
			pairs = append(pairs, name+"="+strconv.Quote(metric[name]))
		}
	}
	return strings.Join(pairs, ",")
}

// written returns what one of Prometheus' JSON writers wrote.
func written(write func(*jsoniter.Stream)) string {
	stream := jsoniter.NewStream(jsoniter.ConfigDefault, nil, 0)
	write(stream)
	return string(stream.Buffer())
}

func floatPoint(t int64, v float64) point {
	return point{
		written(func(s *jsoniter.Stream) { jsonutil.MarshalTimestamp(t, s) }),
		written(func(s *jsoniter.Stream) { jsonutil.MarshalFloat(v, s) }),
	}
}

func histogramPoint(t int64, h *histogram.FloatHistogram) point {
	return point{
		written(func(s *jsoniter.Stream) { jsonutil.MarshalTimestamp(t, s) }),
		written(func(s *jsoniter.Stream) { jsonutil.MarshalHistogram(h, s) }),
	}
}

// answerOf is the answer that an engine gives in this process.
func answerOf(t *testing.T, m promql.Matrix) answer {
	t.Helper()
	all := answer{}
	for _, s := range m {
		name := seriesName(s.Metric.Map())
		if all[name] != nil {
			t.Fatalf("two series are called %s", name)
		}
		points := []point{}
		for _, p := range s.Floats {
			points = append(points, floatPoint(p.T, p.F))
		}
		for _, p := range s.Histograms {
			points = append(points, histogramPoint(p.T, p.H))
		}
		all[name] = points
	}
	return all
}

// parseAnswer reads the answer of the HTTP API.
func parseAnswer(t *testing.T, body []byte) answer {
	t.Helper()
	var parsed struct {
		Warnings []string
		Data     struct {
			Result []struct {
				Metric     map[string]string
				Values     [][2]json.RawMessage
				Histograms [][2]json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(body, &parsed); err != nil {
		t.Fatalf("%v: %.500s", err, body)
	}
	if len(parsed.Warnings) > 0 {
		t.Errorf("Penstock warns: %q", parsed.Warnings)
	}
	all := answer{}
	for _, s := range parsed.Data.Result {
		points := []point{}
		for _, p := range append(s.Values, s.Histograms...) {
			points = append(points, point{string(p[0]), string(p[1])})
		}
		all[seriesName(s.Metric)] = points
	}
	return all
}

// truth is what a selector of one metric over a range must find.
func (w *world) truth(metric string, from, until time.Time) answer {
	all := answer{}
	for _, s := range w.all {
		if s.labels.Get("__name__") != metric {
			continue
		}
		points := []point{}
		for _, x := range s.between(from.Add(time.Millisecond), until.Add(time.Millisecond), everybody) {
			if x.h != nil {
				points = append(points, histogramPoint(x.t, x.h.ToFloat(nil)))
			} else if !isStale(x.v) {
				points = append(points, floatPoint(x.t, x.v))
			}
		}
		if len(points) > 0 {
			all[seriesName(s.labels.Map())] = points
		}
	}
	return all
}

// sameAnswer compares two answers, and returns how many values there are and how far, relatively, the furthest are apart.
func sameAnswer(t *testing.T, q question, got, want answer) (values int, furthest float64) {
	t.Helper()
	if len(want) == 0 {
		t.Errorf("%s: the question has no answer, so that nothing is shown by it", q)
	}
	if names, others := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(names, others) {
		t.Errorf("%s: the series are\n%s\nwant\n%s", q, strings.Join(names, "\n"), strings.Join(others, "\n"))
		return 0, 0
	}
	for name, points := range want {
		if len(got[name]) != len(points) {
			t.Errorf("%s: %s has %d values, want %d", q, name, len(got[name]), len(points))
			continue
		}
		for i, w := range points {
			g := got[name][i]
			off := apart(g.text, w.text)
			if g.at != w.at || off > q.near {
				t.Errorf("%s: %s has %s at %s, want %s at %s", q, name, g.text, g.at, w.text, w.at)
				return values, off
			}
			furthest = max(furthest, off)
			values++
		}
	}
	return values, furthest
}

// apart returns how far apart two values are, relatively. Histograms are the same or infinitely far apart.
func apart(a, b string) float64 {
	if a == b {
		return 0
	}
	x, errX := strconv.ParseFloat(strings.Trim(a, `"`), 64)
	y, errY := strconv.ParseFloat(strings.Trim(b, `"`), 64)
	if errX != nil || errY != nil || math.IsNaN(x) || math.IsNaN(y) {
		return math.Inf(1)
	}
	return math.Abs(x-y) / max(math.Abs(x), math.Abs(y))
}
