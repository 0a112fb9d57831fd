// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// What members say to each other on the internal listener; docs/format/read.md is
// the page of it.
const (
	// headerProtocol is in every request and answer. Another number is another language.
	headerProtocol  = "X-Penstock-Protocol"
	protocolVersion = "1"
	// headerLocalStart is in every answer: since when, in milliseconds, the member
	// holds on its own disk all that it was given.
	headerLocalStart = "X-Penstock-Local-Start"
	// trailerFrames ends a streamed read: the number of frames sent. Without it
	// the stream was cut, however well its last byte looks.
	trailerFrames = "X-Penstock-Frames"
	headerTenant  = "X-Scope-OrgID"
	// formUnsorted is in a read whose series may come in any order. Members of the first versions do not know it, and sort.
	formUnsorted = "unsorted"

	pathPrefix = "/internal/v1/"

	// frameBytes is where the sender cuts a series into another frame: Prometheus' own
	// default for remote read.
	frameBytes = 1 << 20
	// frameBytesMax is the largest frame a receiver takes: one of frameBytes, labels as
	// large as the write path lets in, and one chunk too many.
	frameBytesMax = 16 << 20
	// requestBytesMax bounds a question. Matchers from a dashboard are kilobytes.
	requestBytesMax = 4 << 20
)

// Operations of the protocol: the last part of the path, and the label "operation" of metrics.
const (
	opRead      = "read"
	opLabels    = "labels"
	opValues    = "values"
	opSeries    = "series"
	opExemplars = "query_exemplars"
	opMetadata  = "metadata"
	// opCardinality is asked by who is asked for status/tsdb.
	opCardinality = "cardinality"
)

var operations = [...]string{opRead, opLabels, opValues, opSeries, opExemplars, opMetadata, opCardinality}

// reply is the body of every answer but that of a read: Prometheus' own envelope.
type reply[T any] struct {
	Status string `json:"status"`
	Data   T      `json:"data"`
}

// wireExemplars are the exemplars of one series. Unlike Prometheus' API it keeps
// milliseconds and every bit of the value, NaN and infinities too.
type wireExemplars struct {
	Series    labels.Labels  `json:"seriesLabels"`
	Exemplars []wireExemplar `json:"exemplars"`
}

type wireExemplar struct {
	Labels  labels.Labels `json:"labels"`
	Value   string        `json:"value"`
	TimeMs  int64         `json:"timestampMs"`
	HasTime bool          `json:"hasTimestamp"`
}

func toWire(results []exemplar.QueryResult) []wireExemplars {
	out := make([]wireExemplars, len(results))
	for i, r := range results {
		out[i] = wireExemplars{Series: r.SeriesLabels, Exemplars: make([]wireExemplar, len(r.Exemplars))}
		for j, e := range r.Exemplars {
			out[i].Exemplars[j] = wireExemplar{
				Labels: e.Labels, Value: strconv.FormatFloat(e.Value, 'g', -1, 64), TimeMs: e.Ts, HasTime: e.HasTs,
			}
		}
	}
	return out
}

func fromWire(wire []wireExemplars) ([]exemplar.QueryResult, error) {
	out := make([]exemplar.QueryResult, len(wire))
	for i, w := range wire {
		out[i] = exemplar.QueryResult{SeriesLabels: w.Series, Exemplars: make([]exemplar.Exemplar, len(w.Exemplars))}
		for j, e := range w.Exemplars {
			v, err := strconv.ParseFloat(e.Value, 64)
			if err != nil {
				return nil, err
			}
			out[i].Exemplars[j] = exemplar.Exemplar{Labels: e.Labels, Value: v, Ts: e.TimeMs, HasTs: e.HasTime}
		}
	}
	return out, nil
}

// question is what a labels, values, series or exemplar request asks, as a form.
type question struct {
	mint, maxt int64 // Milliseconds, both inclusive.
	limit      int   // 0: none.
	// label is whose values are wanted. It is in the form and not in the path, as in Prometheus' API,
	// because a UTF-8 name may be "..".
	label string
	// matchers are sets: a series matches all of at least one. None at all is every series.
	matchers [][]*labels.Matcher
}

func (q question) form() url.Values {
	form := url.Values{
		"start": {strconv.FormatInt(q.mint, 10)},
		"end":   {strconv.FormatInt(q.maxt, 10)},
	}
	if q.limit > 0 {
		form.Set("limit", strconv.Itoa(q.limit))
	}
	if q.label != "" {
		form.Set("label", q.label)
	}
	for _, set := range q.matchers {
		form.Add("match[]", selector(set))
	}
	return form
}

// selector writes matchers as PromQL.
func selector(set []*labels.Matcher) string {
	parts := make([]string, len(set))
	for i, m := range set {
		parts[i] = m.String()
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func parseQuestion(form url.Values, p parser.Parser) (question, error) {
	var q question
	var err error
	if q.mint, err = strconv.ParseInt(form.Get("start"), 10, 64); err != nil {
		return q, errors.New("start is not a time in milliseconds")
	}
	if q.maxt, err = strconv.ParseInt(form.Get("end"), 10, 64); err != nil {
		return q, errors.New("end is not a time in milliseconds")
	}
	if s := form.Get("limit"); s != "" {
		if q.limit, err = strconv.Atoi(s); err != nil || q.limit < 0 {
			return q, errors.New("limit is not a number of results")
		}
	}
	q.label = form.Get("label")
	q.matchers, err = p.ParseMetricSelectors(form["match[]"])
	return q, err
}
