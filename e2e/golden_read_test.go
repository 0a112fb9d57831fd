// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/penstock-io/penstock/e2e/harness"
)

// federate wants what a Prometheus that scrapes another one gets, in each format.
func (g *golden) federate(t *testing.T) {
	for _, accept := range []string{
		"", "*/*", "text/plain", string(expfmt.NewFormat(expfmt.TypeProtoDelim)), string(expfmt.NewFormat(expfmt.TypeOpenMetrics)),
		"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
		string(expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(1)),
		"text/plain;version=0.0.4;escaping=allow-utf-8", "text/plain;version=0.0.4;escaping=underscores", "text/plain;version=0.0.4;escaping=values",
	} {
		for _, text := range []string{
			`match[]={__name__=~".+",__name__!~"native_(custom|float|gauge)"}`, `match[]={__name__=~"native_.*"}`,
			"match[]=native_custom", "match[]=native_float", "match[]=native_gauge", "match[]=up", "match[]=up&match[]=special&match[]=up", `match[]={"http.server.duration"}`,
			"match[]=goes_away", "match[]=nothing_there", "", "match[]=", "match[]={", "match[]=sum(up)", "match[]={}",
		} {
			query := g.form(text).Encode()
			g.same(t, "/federate", text, func(api harness.API) answer {
				return ask(t, api, http.MethodGet, "/federate?"+query, http.Header{"Accept": {accept}}, "")
			})
		}
	}
	for _, raw := range []string{"match[]=up%zz", "match[]=%ff"} {
		g.same(t, "/federate", raw, func(api harness.API) answer { return ask(t, api, http.MethodGet, "/federate?"+raw, nil, "") })
	}
	for _, encoding := range []string{"gzip", "deflate"} {
		g.same(t, "/federate", encoding, func(api harness.API) answer {
			return ask(t, api, http.MethodGet, "/federate?match[]=up", http.Header{"Accept-Encoding": {encoding}}, "")
		})
	}
}

// readCase is a remote read request.
type readCase struct {
	name     string
	types    []prompb.ReadRequest_ResponseType
	queries  []*prompb.Query
	encoding string // empty: snappy
}

func (g *golden) readCases() []readCase {
	from, to := g.begin.UnixMilli(), g.end.UnixMilli()
	match := func(kind prompb.LabelMatcher_Type, name, value string) *prompb.LabelMatcher {
		return &prompb.LabelMatcher{Type: kind, Name: name, Value: value}
	}
	all := &prompb.Query{StartTimestampMs: from, EndTimestampMs: to, Matchers: []*prompb.LabelMatcher{match(prompb.LabelMatcher_RE, "__name__", ".+")}}
	part := &prompb.Query{StartTimestampMs: from + 60_000, EndTimestampMs: from + 600_000, Matchers: []*prompb.LabelMatcher{
		match(prompb.LabelMatcher_NRE, "__name__", "native.*|special"), match(prompb.LabelMatcher_NEQ, "job", ""),
	}}
	hinted := &prompb.Query{StartTimestampMs: from, EndTimestampMs: to, Matchers: []*prompb.LabelMatcher{match(prompb.LabelMatcher_EQ, "__name__", "up")}, Hints: &prompb.ReadHints{
		StartMs: from, EndMs: to, StepMs: 60_000, Func: "rate", RangeMs: 60_000,
	}}
	bad := &prompb.Query{StartTimestampMs: from, EndTimestampMs: to, Matchers: []*prompb.LabelMatcher{match(prompb.LabelMatcher_RE, "a", "(")}}
	nothing := &prompb.Query{StartTimestampMs: 1, EndTimestampMs: 2, Matchers: all.Matchers}
	var cases []readCase
	for name, types := range map[string][]prompb.ReadRequest_ResponseType{
		"sampled": nil, "sampled by name": {prompb.ReadRequest_SAMPLES}, "streamed": {prompb.ReadRequest_STREAMED_XOR_CHUNKS},
		"either": {prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES}, "neither": {99},
	} {
		cases = append(cases,
			readCase{name: name + " all", types: types, queries: []*prompb.Query{all}},
			readCase{name: name + " part", types: types, queries: []*prompb.Query{part}},
			readCase{name: name + " two", types: types, queries: []*prompb.Query{part, hinted}},
			readCase{name: name + " bad", types: types, queries: []*prompb.Query{bad}},
			readCase{name: name + " nothing", types: types, queries: []*prompb.Query{nothing}},
			readCase{name: name + " none", types: types},
		)
	}
	return append(cases, readCase{name: "no snappy", encoding: "none"})
}

// remoteRead wants the samples that a Prometheus gives, sampled and streamed, and the same errors. Chunks may be cut elsewhere.
func (g *golden) remoteRead(t *testing.T) {
	for _, c := range g.readCases() {
		req := prompb.ReadRequest{Queries: c.queries, AcceptedResponseTypes: c.types}
		raw, err := req.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		body := "no snappy block"
		if c.encoding == "" {
			body = string(snappy.Encode(nil, raw))
		}
		call := func(api harness.API) answer {
			return ask(t, api, http.MethodPost, "/read", http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}}, body)
		}
		want := call(g.prometheus)
		wantSamples := samplesOf(t, want)
		if strings.HasSuffix(c.name, "all") && want.code == http.StatusOK && len(wantSamples) < 60 {
			t.Fatalf("%s: Prometheus has %d series, which says little", c.name, len(wantSamples))
		}
		for _, side := range g.sides {
			got := call(side)
			if samples := samplesOf(t, got); !slices.Equal(samples, wantSamples) {
				t.Errorf("read %s on %s: %s", c.name, side.Name, firstDifference(wantSamples, samples))
			}
			if want.code == http.StatusOK {
				want.body, got.body = nil, nil
			}
			for _, diff := range compareAnswers(c.name, want, got) {
				t.Errorf("read %s on %s: %s", c.name, side.Name, diff)
			}
		}
	}
}

// storedSeries: without deduplication a remote read has each series of the pair once for each replica, as it is stored.
func (g *golden) storedSeries(t *testing.T) {
	pair := g.sides[len(g.sides)-1]
	for _, types := range [][]prompb.ReadRequest_ResponseType{nil, {prompb.ReadRequest_STREAMED_XOR_CHUNKS}} {
		raw, err := (&prompb.ReadRequest{Queries: g.readCases()[0].queries, AcceptedResponseTypes: types}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		read := func(api harness.API, path string) []string {
			return samplesOf(t, ask(t, api, http.MethodPost, path, http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"snappy"}}, string(snappy.Encode(nil, raw))))
		}
		var want []string
		for _, line := range read(g.prometheus, "/read") {
			want = append(want, line, line)
		}
		got := read(pair, "/read?dedup=false")
		for i := range got {
			for _, replica := range []string{"a", "b"} {
				label := fmt.Sprint(prompb.Label{Name: harness.ReplicaLabel, Value: replica})
				got[i] = strings.Replace(strings.Replace(got[i], " "+label, "", 1), label+" ", "", 1)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("read without dedup: %s", firstDifference(want, got))
		}
	}
}

// samplesOf is a line for each series of each query, with all its samples.
func samplesOf(t *testing.T, a answer) []string {
	t.Helper()
	switch contentType := a.header.Get("Content-Type"); {
	case a.code != http.StatusOK:
		return nil
	case strings.HasPrefix(contentType, "application/x-streamed-protobuf"):
		return streamedSamples(t, a.body)
	default:
		return plainSamples(t, a.body)
	}
}

func plainSamples(t *testing.T, body []byte) []string {
	t.Helper()
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var resp prompb.ReadResponse
	if err := resp.Unmarshal(raw); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i, result := range resp.Results {
		for _, s := range result.Timeseries {
			var line strings.Builder
			fmt.Fprintf(&line, "%d %v", i, s.Labels)
			for _, p := range s.Samples {
				fmt.Fprintf(&line, " %d=%v", p.Timestamp, p.Value)
			}
			for _, h := range s.Histograms {
				fmt.Fprintf(&line, " %d=%s", h.Timestamp, printHistogram(h.ToFloatHistogram()))
			}
			if len(s.Samples)+len(s.Histograms) > 0 { // A chunk around the time is no sample in it.
				lines = append(lines, line.String())
			}
		}
	}
	slices.Sort(lines) // They come in the order of their making, which means nothing.
	return lines
}

func streamedSamples(t *testing.T, body []byte) []string {
	t.Helper()
	var lines []string
	last := ""
	stream := remote.NewChunkedReader(bytes.NewReader(body), 50<<20, nil)
	var it chunkenc.Iterator
	for {
		var frame prompb.ChunkedReadResponse
		if err := stream.NextProto(&frame); errors.Is(err, io.EOF) {
			return lines
		} else if err != nil {
			t.Fatal(err)
		}
		for _, s := range frame.ChunkedSeries {
			if name := fmt.Sprint(frame.QueryIndex, s.Labels); name != last { // Else it goes on from the frame before.
				lines, last = append(lines, name), name
			}
			for _, c := range s.Chunks {
				chunk, err := chunkenc.FromData(chunkenc.Encoding(c.Type), c.Data)
				if err != nil {
					t.Fatal(err)
				}
				it = chunk.Iterator(it)
				lines[len(lines)-1] += printSamples(it)
				if err := it.Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

func printSamples(it chunkenc.Iterator) string {
	var out strings.Builder
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		if kind == chunkenc.ValFloat {
			ts, v := it.At()
			fmt.Fprintf(&out, " %d=%v", ts, v)
			continue
		}
		ts, h := it.AtFloatHistogram(nil)
		fmt.Fprintf(&out, " %d=%s", ts, printHistogram(h))
	}
	return out.String()
}

// printHistogram leaves out what depends on where a chunk begins: whether it is known to be no reset, and empty buckets that others of the
// chunk have.
func printHistogram(h *histogram.FloatHistogram) string {
	if h.CounterResetHint != histogram.GaugeType {
		h.CounterResetHint = histogram.UnknownCounterReset
	}
	return h.Copy().Compact(0).TestExpression() // An iterator lends its spans.
}

// firstDifference tells where two lists of series begin to differ.
func firstDifference(want, got []string) string {
	for i := range want {
		if i >= len(got) {
			return fmt.Sprintf("%d series in place of %d", len(got), len(want))
		}
		if want[i] == got[i] {
			continue
		}
		same := 0
		for same < min(len(want[i]), len(got[i])) && want[i][same] == got[i][same] {
			same++
		}
		from := max(0, same-100)
		return fmt.Sprintf("%.120s: Prometheus has …%.300s, Penstock …%.300s", want[i], want[i][from:], got[i][from:])
	}
	return fmt.Sprintf("%d series in place of %d", len(got), len(want))
}
