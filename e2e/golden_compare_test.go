// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"go.yaml.in/yaml/v2"
)

// difference is a place at which the answers of Penstock and of Prometheus may differ, and why. The list of them is to stay
// short: whatever is not on it is the same.
type difference struct {
	path  string // of the request, without the prefix /api/v1; *: any
	call  string // what is asked of it, as the list of calls has it; empty: anything
	side  string // empty: all
	field string // as in fieldDiff, with * for any part of the name and a last ** for all that is below
	why   string
}

// fieldDiff is a field that is not the same: "status code", "header Content-Type", or a path such as data.result.0.value.
type fieldDiff struct{ field, want, got string }

func (d fieldDiff) String() string {
	return fmt.Sprintf("%s: Prometheus has %.400s, Penstock has %.400s", d.field, d.want, d.got)
}

// allows tells whether the difference is one that has a reason.
func (d difference) allows(side, path, call, field string) bool {
	call = strings.TrimPrefix(call, "POST ")
	return (d.path == "*" || d.path == path) && (d.call == "" || d.call == call) && (d.side == "" || d.side == side) && matchField(strings.Split(d.field, "."), strings.Split(field, "."))
}

func matchField(pattern, field []string) bool {
	for i, p := range pattern {
		if p == "**" && i == len(pattern)-1 {
			return true
		}
		if i >= len(field) || p != "*" && p != field[i] {
			return false
		}
	}
	return len(pattern) == len(field)
}

// answer is what came back for one request.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// headersCompared are those that a client may go by.
var headersCompared = []string{"Content-Type", "Content-Encoding", "Access-Control-Allow-Origin", "Allow", "Location"}

// compareAnswers returns each field in which two answers differ. JSON is compared by value, numbers as they are written;
// YAML by value; anything else by bytes.
func compareAnswers(call string, want, got answer) []fieldDiff {
	var diffs []fieldDiff
	if want.code != got.code {
		diffs = append(diffs, fieldDiff{"status code", fmt.Sprint(want.code), fmt.Sprint(got.code)})
	}
	for _, name := range headersCompared {
		if w, g := want.header.Get(name), got.header.Get(name); w != g {
			diffs = append(diffs, fieldDiff{"header " + name, w, g})
		}
	}
	if bytes.Equal(want.body, got.body) {
		return diffs
	}
	decode := decoderOf(want.header.Get("Content-Type"))
	if decode == nil {
		return append(diffs, fieldDiff{"body", string(want.body), string(got.body)})
	}
	w, errWant := decode(want.body)
	g, errGot := decode(got.body)
	if errWant != nil || errGot != nil {
		return append(diffs, fieldDiff{"body", string(want.body), string(got.body)})
	}
	return append(diffs, compareValues("", unordered(call, w), unordered(call, g))...)
}

func decoderOf(contentType string) func([]byte) (any, error) {
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		return decodeJSON
	case strings.HasPrefix(contentType, "application/yaml"):
		return decodeYAML
	case strings.HasPrefix(contentType, "text/plain; version="):
		return decodeLines
	case strings.Contains(contentType, "encoding=delimited"):
		return decodeFamilies
	default:
		return nil
	}
}

func decodeJSON(body []byte) (any, error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err := dec.Decode(&v)
	return v, err
}

func decodeYAML(body []byte) (any, error) {
	var v any
	err := yaml.Unmarshal(body, &v)
	return stringKeys(v), err
}

// decodeLines reads the text format as lines in the order of their texts: Prometheus promises none within a family.
func decodeLines(body []byte) (any, error) {
	var lines []any
	for _, line := range slices.Sorted(strings.Lines(string(body))) {
		lines = append(lines, line)
	}
	return lines, nil
}

// decodeFamilies reads protobuf as the texts of its metrics, with the family of each, in their order.
func decodeFamilies(body []byte) (any, error) {
	var metrics []string
	dec := expfmt.NewDecoder(bytes.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		family := &dto.MetricFamily{}
		if err := dec.Decode(family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		for _, m := range family.Metric {
			metrics = append(metrics, fmt.Sprintf("%s %s %s", family.GetName(), family.GetType(), m))
		}
	}
	slices.Sort(metrics)
	out := make([]any, len(metrics))
	for i, m := range metrics {
		out[i] = m
	}
	return out, nil
}

// stringKeys is what YAML has in the form of JSON.
func stringKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[fmt.Sprint(key)] = stringKeys(value)
		}
		return out
	case []any:
		for i := range v {
			v[i] = stringKeys(v[i])
		}
		return v
	default:
		return fmt.Sprint(v)
	}
}

// unordered sorts what Prometheus gives in an order that it does not promise: the parts of status/tsdb that have the same
// value, and what comes out of a function that groups series in a map.
func unordered(call string, answer any) any {
	fields, _ := answer.(map[string]any)
	data, _ := fields["data"].(map[string]any)
	for name, list := range data {
		entries, _ := list.([]any)
		if name == "result" && strings.Contains(call, "histogram_quantile(") {
			slices.SortFunc(entries, func(a, b any) int { return strings.Compare(printed(a), printed(b)) })
			continue
		}
		slices.SortStableFunc(entries, func(a, b any) int {
			valueA, nameA := statOf(a)
			valueB, nameB := statOf(b)
			if nameA == "" || valueA != valueB {
				return 0
			}
			return strings.Compare(nameA, nameB)
		})
	}
	return answer
}

func statOf(v any) (value, name string) {
	fields, _ := v.(map[string]any)
	number, isStat := fields["value"].(json.Number)
	if !isStat {
		return "", ""
	}
	name, _ = fields["name"].(string)
	return number.String(), name
}

func compareValues(at string, want, got any) []fieldDiff {
	below := func(name string) string { return strings.TrimPrefix(at+"."+name, ".") }
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		var diffs []fieldDiff
		names := maps.Clone(w)
		maps.Copy(names, g)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			inWant, is := w[name]
			inGot, has := g[name]
			switch {
			case !is:
				diffs = append(diffs, fieldDiff{below(name), "nothing", printed(inGot)})
			case !has:
				diffs = append(diffs, fieldDiff{below(name), printed(inWant), "nothing"})
			default:
				diffs = append(diffs, compareValues(below(name), inWant, inGot)...)
			}
		}
		return diffs
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		if len(w) != len(g) {
			return []fieldDiff{{below("length"), fmt.Sprintf("%d: %s", len(w), printed(w)), fmt.Sprintf("%d: %s", len(g), printed(g))}}
		}
		var diffs []fieldDiff
		for i := range w {
			diffs = append(diffs, compareValues(below(fmt.Sprint(i)), w[i], g[i])...)
		}
		return diffs
	default:
		if want == got {
			return nil
		}
	}
	return []fieldDiff{{at, printed(want), printed(got)}}
}

func printed(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
