// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/annotations"
	v1 "github.com/prometheus/prometheus/web/api/v1"
	"github.com/stretchr/testify/require"
)

// incomplete is an error like the querier's.
type incomplete struct{}

func (incomplete) Error() string        { return "2 of 3 members are missing" }
func (incomplete) Is(target error) bool { return target == tsdb.ErrNotReady }

type modeKey struct{}

// queryable is a TSDB whose answers come with a warning, or not at all, by what Params put into the context.
type queryable struct{ *tsdb.DB }

func (q queryable) Querier(mint, maxt int64) (storage.Querier, error) {
	inner, err := q.DB.Querier(mint, maxt)
	return querier{inner}, err
}

type querier struct{ storage.Querier }

func (q querier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	switch ctx.Value(modeKey{}) {
	case "partial":
		return warned{q.Querier.Select(ctx, sorted, hints, ms...)}
	case "incomplete":
		return storage.ErrSeriesSet(incomplete{})
	}
	return q.Querier.Select(ctx, sorted, hints, ms...)
}

func (q querier) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	if ctx.Value(modeKey{}) == "incomplete" {
		return nil, nil, incomplete{}
	}
	return q.Querier.LabelNames(ctx, hints, ms...)
}

type warned struct{ storage.SeriesSet }

func (warned) Warnings() annotations.Annotations {
	return annotations.New().Add(errors.New("partial response: m1 is missing"))
}

// server serves the API over a TSDB with one series up{job="j"} = 1 every 10 s for 1,000 s, and one other="x".
func server(t *testing.T, configure ...func(*Config)) *httptest.Server {
	opts := tsdb.DefaultOptions()
	opts.StripeSize = 512
	opts.EnableExemplarStorage, opts.MaxExemplars = true, 10
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	app := db.Appender(context.Background())
	up := labels.FromStrings("__name__", "up", "job", "j")
	for ts := int64(0); ts <= 1_000_000; ts += 10_000 {
		_, err := app.Append(0, up, ts, 1)
		require.NoError(t, err)
		_, err = app.Append(0, labels.FromStrings("__name__", "other", "x", "ü"), ts, float64(ts))
		require.NoError(t, err)
	}
	_, err = app.AppendExemplar(0, up, exemplar.Exemplar{Labels: labels.FromStrings("trace", "t"), Value: 1, Ts: 5000, HasTs: true})
	require.NoError(t, err)
	require.NoError(t, app.Commit())

	cfg := Config{
		Engine:    promql.NewEngine(promql.EngineOpts{MaxSamples: 100_000, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true}),
		Queryable: queryable{db},
		Exemplars: db,
		Ready:     func() bool { return true },
		Params:    params,
		Metadata: func(_ context.Context, metric string, _, _ int) (map[string][]Metadata, error) {
			all := map[string][]Metadata{
				"up":    {{Type: "gauge", Help: "Is it up."}, {Type: "unknown", Help: "Other."}},
				"other": {{Type: "counter", Unit: "seconds", Help: "h"}},
			}
			if metric != "" {
				return map[string][]Metadata{metric: all[metric]}, nil
			}
			return all, nil
		},
		TSDBStats: func(_ context.Context, limit int) (TSDBStats, error) {
			s := db.Head().Stats("__name__", limit)
			return TSDBStats{Status: v1.TSDBStatus{
				HeadStats:               v1.HeadStats{NumSeries: s.NumSeries, ChunkCount: 7, MinTime: s.MinTime, MaxTime: s.MaxTime, NumLabelPairs: s.IndexPostingStats.NumLabelPairs},
				SeriesCountByMetricName: v1.TSDBStatsFromIndexStats(s.IndexPostingStats.CardinalityMetricsStats),
			}}, nil
		},
		BlockMetas: func(context.Context) []tsdb.BlockMeta { return []tsdb.BlockMeta{{Version: 1}} },
		Flags:      map[string]string{"web.listen-address": ":9009"},
		ConfigYAML: func() string { return "a: b\n" },
		BuildInfo:  BuildInfo{ApplicationVersion: "0.1.0"},
		CORSOrigin: regexp.MustCompile(`^(?:https://good\.example)$`),
	}
	for _, f := range configure {
		f(&cfg)
	}
	s := httptest.NewServer(New(cfg, slog.New(slog.DiscardHandler), nil))
	t.Cleanup(s.Close)
	return s
}

// params reads the parameter partial_response as the real thing does, from the URL or the form.
func params(r *http.Request) (context.Context, error) {
	v := r.FormValue("partial_response")
	if v == "" {
		return r.Context(), nil
	}
	allowed, err := strconv.ParseBool(v)
	if err != nil {
		return nil, errors.New(`invalid parameter "partial_response": not true or false`)
	}
	mode := "incomplete"
	if allowed {
		mode = "partial"
	}
	return context.WithValue(r.Context(), modeKey{}, mode), nil
}

// call makes a request and returns the status and the decoded answer.
func call(t *testing.T, method, addr string, form url.Values) (int, map[string]any) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPost {
		body = strings.NewReader(form.Encode())
	} else if form != nil {
		addr += "?" + form.Encode()
	}
	req, err := http.NewRequest(method, addr, body)
	require.NoError(t, err)
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer map[string]any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return resp.StatusCode, answer
}

func decoded(t *testing.T, s string) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal([]byte(s), &v))
	return v
}

func TestEndpoints(t *testing.T) {
	s := server(t)
	f := func(method, path, query, want string) {
		t.Helper()
		form, err := url.ParseQuery(query)
		require.NoError(t, err)
		status, answer := call(t, method, s.URL+"/api/v1"+path, form)
		require.Equal(t, http.StatusOK, status, "%v", answer)
		require.Equal(t, "success", answer["status"])
		require.Equal(t, decoded(t, want), answer["data"])
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		f(method, "/query", "query=up&time=500", `{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"j"},"value":[500,"1"]}]}`)
		f(method, "/query_range", "query=other&start=10&end=30&step=20", `{"resultType":"matrix","result":[{"metric":{"__name__":"other","x":"ü"},"values":[[10,"10000"],[30,"30000"]]}]}`)
		f(method, "/labels", "", `["__name__","job","x"]`)
		f(method, "/labels", "match[]=up&limit=1", `["__name__"]`)
		f(method, "/series", "match[]=up&match[]=other", `[{"__name__":"other","x":"ü"},{"__name__":"up","job":"j"}]`)
		f(method, "/query_exemplars", "query=up&start=0&end=100", `[{"seriesLabels":{"__name__":"up","job":"j"},"exemplars":[{"labels":{"trace":"t"},"value":"1","timestamp":5}]}]`)
		f(method, "/format_query", "query=sum(up)by(job)", `"sum by (job) (up)"`)
	}
	get := http.MethodGet
	f(get, "/label/job/values", "", `["j"]`)
	f(get, "/label/__name__/values", `match[]={__name__=~".%2B"}&limit=1`, `["other"]`)
	f(get, "/metadata", "", `{"other":[{"type":"counter","unit":"seconds","help":"h"}],"up":[{"type":"gauge","unit":"","help":"Is it up."},{"type":"unknown","unit":"","help":"Other."}]}`)
	f(get, "/metadata", "metric=up&limit_per_metric=1", `{"up":[{"type":"gauge","unit":"","help":"Is it up."}]}`)
	f(get, "/metadata", "limit=1", `{"other":[{"type":"counter","unit":"seconds","help":"h"}]}`)
	f(get, "/metadata", "limit=0", `{}`)
	f(get, "/rules", "", `{"groups":[]}`)
	f(get, "/alerts", "", `{"alerts":[]}`)
	f(get, "/alertmanagers", "", `{"activeAlertmanagers":[],"droppedAlertmanagers":[]}`)
	f(get, "/targets", "", `{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}`)
	f(get, "/status/config", "", `{"yaml":"a: b\n"}`)
	f(get, "/status/flags", "", `{"web.listen-address":":9009"}`)
	f(get, "/status/buildinfo", "", `{"version":"`+PrometheusVersion+`","revision":"","branch":"","buildUser":"","buildDate":"","goVersion":"","application":"Penstock","applicationVersion":"0.1.0"}`)
	f(get, "/notifications", "", `[]`)
	f(get, "/status/walreplay", "", `{"min":0,"max":0,"current":0}`)
}

func TestStatusTSDB(t *testing.T) {
	s := server(t)
	_, answer := call(t, http.MethodGet, s.URL+"/api/v1/status/tsdb", url.Values{"limit": {"1"}})
	data := answer["data"].(map[string]any)
	require.Equal(t, map[string]any{"numSeries": 2.0, "numLabelPairs": 4.0, "chunkCount": 7.0, "minTime": 0.0, "maxTime": 1e6}, data["headStats"])
	require.Len(t, data["seriesCountByMetricName"], 1)
	for _, bad := range []string{"0", "x", "10001"} {
		status, answer := call(t, http.MethodGet, s.URL+"/api/v1/status/tsdb", url.Values{"limit": {bad}})
		require.Equal(t, http.StatusBadRequest, status)
		require.Equal(t, "bad_data", answer["errorType"])
	}
	_, answer = call(t, http.MethodGet, s.URL+"/api/v1/status/tsdb/blocks", nil)
	require.Len(t, answer["data"].(map[string]any)["blocks"], 1)
}

func TestErrors(t *testing.T) {
	s := server(t)
	f := func(path, query string, status int, kind, says string) {
		t.Helper()
		form, err := url.ParseQuery(query)
		require.NoError(t, err)
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			got, answer := call(t, method, s.URL+"/api/v1"+path, form)
			require.Equal(t, status, got, "%v", answer)
			require.Equal(t, "error", answer["status"])
			require.Equal(t, kind, answer["errorType"])
			require.Contains(t, answer["error"], says)
		}
	}
	f("/query", "query=up&partial_response=maybe", 400, "bad_data", `invalid parameter "partial_response"`)
	f("/query", "query=sum(", 400, "bad_data", "parse error")
	f("/query_range", "query=up&start=2&end=1&step=1", 400, "bad_data", "end timestamp must not be before start time")
	f("/series", "", 400, "bad_data", "no match[]")
	f("/query", "query=sum_over_time(up[1000s:1ms])&time=1000", 422, "execution", "too many samples")
	for _, path := range []string{"/query", "/query_range", "/series", "/labels"} {
		f(path, "query=up&start=1&end=2&step=1&match[]=up&partial_response=false", 503, "unavailable", "2 of 3 members are missing")
	}
}

func TestWarnings(t *testing.T) {
	s := server(t)
	for path, query := range map[string]string{
		"/query":       "query=up&time=500",
		"/query_range": "query=up&start=1&end=20&step=5",
		"/series":      "match[]=up",
	} {
		form, err := url.ParseQuery(query + "&partial_response=true")
		require.NoError(t, err)
		status, answer := call(t, http.MethodPost, s.URL+"/api/v1"+path, form)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []any{"partial response: m1 is missing"}, answer["warnings"], path)
		require.NotEmpty(t, answer["data"])
	}
}

func TestGzip(t *testing.T) {
	s := server(t)
	for _, path := range []string{"/api/v1/query?query=up&time=500", "/api/v1/metadata"} {
		req, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
		z, err := gzip.NewReader(resp.Body)
		require.NoError(t, err)
		var answer map[string]any
		require.NoError(t, json.NewDecoder(z).Decode(&answer))
		require.Equal(t, "success", answer["status"])
	}
}

func TestNotReady(t *testing.T) {
	var ready atomic.Bool
	s := server(t, func(cfg *Config) { cfg.Ready = ready.Load })
	for _, path := range []string{"/query?query=up", "/metadata"} {
		status, answer := call(t, http.MethodGet, s.URL+"/api/v1"+path, nil)
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, "unavailable", answer["errorType"])
	}
	ready.Store(true)
	status, _ := call(t, http.MethodGet, s.URL+"/api/v1/query?query=up", nil)
	require.Equal(t, http.StatusOK, status)
}

func TestCORS(t *testing.T) {
	s := server(t)
	origin := func(method, path, origin string) string {
		req, err := http.NewRequest(method, s.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Origin", origin)
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.Header.Get("Access-Control-Allow-Origin")
	}
	for _, path := range []string{"/api/v1/labels", "/api/v1/metadata"} {
		require.Equal(t, "https://good.example", origin(http.MethodGet, path, "https://good.example"))
		require.Empty(t, origin(http.MethodGet, path, "https://evil.example"))
		require.Equal(t, "https://good.example", origin(http.MethodOptions, path, "https://good.example"))
	}
}

// TestWithoutOptions: what is not configured answers, emptily.
func TestWithoutOptions(t *testing.T) {
	s := server(t, func(cfg *Config) {
		*cfg = Config{Engine: cfg.Engine, Queryable: cfg.Queryable, Exemplars: cfg.Exemplars, Ready: cfg.Ready, Params: cfg.Params}
	})
	for _, path := range []string{"/metadata", "/status/config", "/status/flags", "/status/buildinfo", "/status/tsdb/blocks", "/status/runtimeinfo", "/status/self_metrics", "/features"} {
		status, answer := call(t, http.MethodGet, s.URL+"/api/v1"+path, nil)
		require.Equal(t, http.StatusOK, status, "%s: %v", path, answer)
	}
	status, answer := call(t, http.MethodGet, s.URL+"/api/v1/status/tsdb", nil)
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, "not_found", answer["errorType"])
}

// TestNoWrites: remote write is not this handler's.
func TestNoWrites(t *testing.T) {
	s := server(t)
	for _, path := range []string{"/write", "/otlp/v1/metrics"} {
		resp, err := (&http.Client{}).Post(s.URL+"/api/v1"+path, "application/x-protobuf", strings.NewReader("x"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusNotFound, resp.StatusCode)
	}
}

// TestPrometheusVersion: the version that clients see is that of the API we are built with.
func TestPrometheusVersion(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`prometheus/prometheus v0\.3(\d\d)\.(\d+)`).FindStringSubmatch(string(mod))
	require.NotNil(t, version)
	minor, err := strconv.Atoi(version[1])
	require.NoError(t, err)
	require.Equal(t, "3."+strconv.Itoa(minor)+"."+version[2], PrometheusVersion)
}
