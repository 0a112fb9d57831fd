// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/e2e/harness"
)

// grafanaCall is a call that Grafana makes of a data source of the type Prometheus, and what it looks for in the answer.
type grafanaCall struct {
	what   string
	method string
	path   string
	form   string // as in goldenCalls
	check  func(data json.RawMessage) error
}

// grafanaCalls is what a user makes of a new data source: it is added and tested, a metric is looked for and shown in
// Explore, and then everything there is in metrics Drilldown.
func grafanaCalls() []grafanaCall {
	get, post := http.MethodGet, http.MethodPost
	everything := `match[]={__name__=~".+"}`
	return []grafanaCall{
		{"save and test", post, "/query", "query=1+1&time={e}", scalarIs("2")},
		{"which application and version", get, "/status/buildinfo", "", isVersion},
		{"whether there are rules", get, "/rules", "", hasKeys("groups")},
		{"whether there are alerts", get, "/alerts", "", hasKeys("alerts")},
		{"what it can do", get, "/features", "", hasKeys("api", "promql", "promql_functions")},

		{"labels in Explore", get, "/labels", "start={s}&end={e}&limit=40000", textsWith("__name__", "instance", "job")},
		{"labels in Explore", post, "/labels", "start={s}&end={e}&limit=40000", textsWith("__name__", "instance", "job")},
		{"metrics in Explore", get, "/label/__name__/values", "start={s}&end={e}&limit=40000", textsWith("up", "http_requests_total", "native_seconds")},
		{"texts of the metrics", get, "/metadata", "limit=20000", isMetadata},
		{"labels of a metric", post, "/labels", "start={s}&end={e}&limit=40000&match[]=http_requests_total", textsWith("code", "instance", "job")},
		{"values of a label of a metric", get, "/label/code/values", `start={s}&end={e}&limit=40000&match[]=http_requests_total{job="api"}`, textsWith("200", "404", "500")},
		{"a label with a dot", get, "/label/U__service_2e_name/values", "start={s}&end={e}", textsWith("a b")},
		{"series of a selector", post, "/series", "match[]=http_requests_total&start={s}&end={e}&limit=40000", listOf("__name__", "code")},
		{"query as it is typed", post, "/parse_query", "query=sum(rate(http_requests_total[5m])) by (code)", hasKeys("type")},
		{"query made pretty", post, "/format_query", "query=sum(rate(http_requests_total[5m])) by (code)", isText},
		{"graph", post, "/query_range", "query=sum by (code) (rate(http_requests_total[5m]))&start={s}&end={e}&step=15", results("matrix", 3, "values")},
		{"graph of a native histogram", post, "/query_range", "query=rate(native_seconds[5m])&start={s}&end={e}&step=15", results("matrix", 3, "histograms")},
		{"table", post, "/query", "query=up&time={e}", results("vector", 3, "value")},
		{"table of a native histogram", post, "/query", "query=native_seconds&time={e}", results("vector", 3, "histogram")},
		{"exemplars of the graph", post, "/query_exemplars", "query=sum by (code) (rate(http_requests_total[5m]))&start={s}&end={e}", listOf("seriesLabels", "exemplars")},
		{"statistics of the query inspector", post, "/query_range", "query=up&start={s}&end={e}&step=15&stats=all", hasKeys("stats")},
		{"a variable by label values", get, "/label/instance/values", "match[]=up&start={s}&end={e}", textsWith("a:9090", "b:9090", "c:9090")},
		{"a variable by a query result", post, "/query", "query=count by (job) (up)&time={e}", results("vector", 1, "value")},

		{"metrics in Drilldown", get, "/label/__name__/values", everything + "&start={s}&end={e}&limit=40000", textsWith("up", "special", "http.server.duration")},
		{"labels in Drilldown", get, "/labels", everything + "&start={s}&end={e}&limit=40000", textsWith("__name__", "job", "service.name")},
		{"metrics by a part of the name", get, "/label/__name__/values", `match[]={__name__=~"(?i:.*http.*)"}&start={s}&end={e}&limit=40000`, textsWith("http_requests_total")},
		{"metrics with a label", get, "/label/__name__/values", `match[]={__name__=~".+",job="batch"}&limit=40000`, textsWith("native_gauge")},
		{"texts in Drilldown", get, "/metadata", "limit=40000", isMetadata},
		{"preview of a counter", post, "/query_range", `query=sum(rate(http_requests_total{__ignore_usage__=""}[1m0s]))&start={s}&end={e}&step=30`, results("matrix", 1, "values")},
		{"preview of a gauge", post, "/query_range", `query=avg({"http.server.duration", __ignore_usage__=""})&start={s}&end={e}&step=30`, results("matrix", 1, "values")},
		{"heat map", post, "/query_range", `query=sum by (le) (rate(http_request_seconds_bucket{__ignore_usage__=""}[1m0s]))&start={s}&end={e}&step=30`, results("matrix", 4, "values")},
		{"breakdown by a label", post, "/query_range", `query=sum by (instance) (rate(http_requests_total{__ignore_usage__=""}[1m0s]))&start={s}&end={e}&step=30`, results("matrix", 3, "values")},
		{"resources of OpenTelemetry", post, "/query", "query=count(target_info{}) by (job, instance)&time={e}", results("vector", 0, "")},
		{"nothing with that name", post, "/series", "match[]=nothing_there&start={s}&end={e}", isEmpty},
		{"cardinality", get, "/status/tsdb", "limit=10", hasKeys("headStats", "seriesCountByMetricName", "labelValueCountByLabelName", "memoryInBytesByLabelName", "seriesCountByLabelValuePair")},
	}
}

// grafana makes the calls, packed and with the headers that Grafana sends, on all sides. That the Prometheus answers so, too,
// shows that the test looks for the right things.
func (g *golden) grafana(t *testing.T) {
	for _, api := range append(slices.Clone(g.sides), g.prometheus) {
		for _, c := range grafanaCalls() {
			header := http.Header{"Accept-Encoding": {"gzip"}, "User-Agent": {"Grafana/13.0.0"}, "X-Dashboard-Uid": {"a1"}, "X-Panel-Id": {"2"}}
			path, body, query := c.path, "", g.form(c.form).Encode()
			if c.method == http.MethodPost {
				header.Set("Content-Type", formType)
				body = query
			} else if query != "" {
				path += "?" + query
			}
			got := ask(t, api, c.method, path, header, body)
			if api.Name == g.prometheus.Name && c.path == "/metadata" {
				continue // It has what it scrapes, which is nothing.
			}
			if err := grafanaSays(got, c); err != nil {
				t.Errorf("%s on %s (%s %s): %v: %.300s", c.what, api.Name, c.method, c.path, err, got.body)
			}
		}
	}
	// The data source may be told a path, and a tenant.
	prefixed := env.StartLoneNode(t, harness.Dir(t), "--web.external-url=http://example.org/prometheus/")
	defer prefixed.Process.Kill()
	for _, c := range []grafanaCall{grafanaCalls()[0], grafanaCalls()[1]} {
		resp, err := prefixed.Call("/prometheus/api/v1"+c.path, g.form(c.form))
		if err == nil {
			err = errors.Join(resp.Complete(), c.check(resp.Data))
		}
		if err != nil {
			t.Errorf("%s under a path: %v", c.what, err)
		}
	}
}

// grafanaSays is what Grafana does with an answer: it wants a success without warnings, and then looks into it.
func grafanaSays(a answer, c grafanaCall) error {
	var fields struct {
		Status   string
		Data     json.RawMessage
		Warnings []string
	}
	if a.code != http.StatusOK || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		return fmt.Errorf("status %d, %s", a.code, a.header.Get("Content-Type"))
	}
	if err := json.Unmarshal(a.body, &fields); err != nil {
		return err
	}
	if fields.Status != "success" || len(fields.Warnings) > 0 {
		return fmt.Errorf("it is %q, with warnings %q", fields.Status, fields.Warnings)
	}
	return c.check(fields.Data)
}

func hasKeys(keys ...string) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return err
		}
		for _, key := range keys {
			if len(fields[key]) == 0 || string(fields[key]) == "null" {
				return fmt.Errorf("there is no %q", key)
			}
		}
		return nil
	}
}

// textsWith wants a sorted list of strings with some in it.
func textsWith(some ...string) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		var list []string
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
			return errors.New("they are not sorted, each once")
		}
		for _, s := range some {
			if !slices.Contains(list, s) {
				return fmt.Errorf("%q is not among them", s)
			}
		}
		return nil
	}
}

// listOf wants a list that is not empty, of objects with some keys.
func listOf(keys ...string) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("there is nothing")
		}
		for _, entry := range list {
			if err := hasKeys(keys...)(entry); err != nil {
				return err
			}
		}
		return nil
	}
}

// results wants so many results of a type, each with labels and values.
func results(kind string, n int, values string) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		var answer struct {
			ResultType string
			Result     []map[string]json.RawMessage
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return err
		}
		if answer.ResultType != kind || answer.Result == nil || len(answer.Result) != n {
			return fmt.Errorf("%d results of type %q, want %d of %q", len(answer.Result), answer.ResultType, n, kind)
		}
		for _, r := range answer.Result {
			if len(r["metric"]) == 0 || len(r[values]) == 0 {
				return fmt.Errorf("a result without metric or %s", values)
			}
		}
		return nil
	}
}

func scalarIs(want string) func(json.RawMessage) error {
	return func(data json.RawMessage) error {
		var answer struct {
			ResultType string
			Result     [2]any
		}
		if err := json.Unmarshal(data, &answer); err != nil {
			return err
		}
		if answer.ResultType != "scalar" || answer.Result[1] != want {
			return fmt.Errorf("it is not the scalar %s", want)
		}
		return nil
	}
}

func isVersion(data json.RawMessage) error {
	var v struct{ Version, GoVersion *string }
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	if v.Version == nil || v.GoVersion == nil {
		return errors.New("it has no version")
	}
	return nil
}

func isText(data json.RawMessage) error {
	var s string
	return json.Unmarshal(data, &s)
}

func isEmpty(data json.RawMessage) error {
	if string(data) != "[]" {
		return errors.New("it is not an empty list")
	}
	return nil
}

func isMetadata(data json.RawMessage) error {
	var families map[string][]struct{ Type, Help, Unit *string }
	if err := json.Unmarshal(data, &families); err != nil {
		return err
	}
	for name := range goldenFamilies {
		f := families[name]
		if len(f) != 1 || f[0].Type == nil || f[0].Help == nil || f[0].Unit == nil {
			return fmt.Errorf("%q is not there with type, help and unit", name)
		}
	}
	return nil
}
