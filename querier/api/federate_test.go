// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// federated serves the API over series with samples around now.
func federated(t *testing.T) string {
	opts := tsdb.DefaultOptions()
	opts.StripeSize = 512
	db, err := tsdb.Open(t.TempDir(), nil, nil, opts, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	now := time.Now().UnixMilli()
	app := db.AppenderV2(context.Background())
	add := func(ago time.Duration, f float64, h *histogram.Histogram, fh *histogram.FloatHistogram, pairs ...string) {
		_, err := app.Append(0, labels.FromStrings(pairs...), 0, now-ago.Milliseconds(), f, h, fh, storage.AOptions{})
		require.NoError(t, err)
	}
	add(2*time.Minute, 1, nil, nil, "__name__", "up", "instance", "a")
	add(time.Minute, 2, nil, nil, "__name__", "up", "instance", "a")
	add(time.Minute, 3, nil, nil, "__name__", "b_metric", "job", "x")
	add(6*time.Minute, 4, nil, nil, "__name__", "too_old")
	add(2*time.Minute, 5, nil, nil, "__name__", "ended")
	add(time.Minute, math.Float64frombits(value.StaleNaN), nil, nil, "__name__", "ended")
	add(time.Minute, 0, &histogram.Histogram{
		Schema: 1, Count: 3, Sum: 4, ZeroThreshold: 1e-3, PositiveSpans: []histogram.Span{{Length: 2}}, PositiveBuckets: []int64{1, 1},
	}, nil, "__name__", "native")
	add(time.Minute, 0, nil, &histogram.FloatHistogram{
		Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 7, CustomValues: []float64{1, 2, 3},
		PositiveSpans: []histogram.Span{{Length: 1}, {Offset: 1, Length: 2}}, PositiveBuckets: []float64{1, 2, 3},
	}, "__name__", "custom")
	add(-time.Minute, 9, nil, nil, "__name__", "in_the_future")
	require.NoError(t, app.Commit())
	return server(t, func(cfg *Config) { cfg.Queryable = queryable{db} }).URL + pathFederate
}

func getFederate(t *testing.T, addr, accept string, form url.Values) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, addr+"?"+form.Encode(), nil)
	require.NoError(t, err)
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(body)
}

var everything = url.Values{"match[]": {`{__name__=~".+"}`}}

func TestFederateText(t *testing.T) {
	addr := federated(t)
	status, header, body := getFederate(t, addr, "", everything)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, header.Get("Content-Type"), "text/plain; version=0.0.4")
	var lines []string
	for line := range strings.Lines(body) {
		if i := strings.LastIndex(line, " "); !strings.HasPrefix(line, "#") {
			line = line[:i] // Without the time.
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	require.Equal(t, []string{
		"# TYPE b_metric untyped", `b_metric{job="x",instance=""} 3`,
		"# TYPE custom histogram",
		`custom_bucket{instance="",le="1"} 1`, `custom_bucket{instance="",le="2"} 1`, `custom_bucket{instance="",le="3"} 3`,
		`custom_bucket{instance="",le="+Inf"} 6`, `custom_sum{instance=""} 7`, `custom_count{instance=""} 6`,
		"# TYPE up untyped", `up{instance="a"} 2`,
	}, lines)

	_, _, body = getFederate(t, addr, "", url.Values{"match[]": {"up", "up", `{job="x"}`}})
	require.Equal(t, 2, strings.Count(body, "# TYPE"), "each series once: %s", body)
	_, _, body = getFederate(t, addr, "", nil)
	require.Empty(t, body, "nothing was asked for")
}

func TestFederateProtobuf(t *testing.T) {
	_, header, body := getFederate(t, federated(t), string(expfmt.NewFormat(expfmt.TypeProtoDelim)), everything)
	require.Contains(t, header.Get("Content-Type"), "encoding=delimited")
	got := map[string]*dto.MetricFamily{}
	dec := expfmt.NewDecoder(strings.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		family := &dto.MetricFamily{}
		if err := dec.Decode(family); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		got[family.GetName()] = family
	}
	require.Len(t, got, 4)
	h := got["native"].Metric[0].Histogram
	require.Equal(t, dto.MetricType_HISTOGRAM, got["native"].GetType())
	require.Equal(t, []float64{1, 2}, h.PositiveCount)
	require.Equal(t, int32(1), h.GetSchema())
	require.Equal(t, 3.0, h.GetSampleCountFloat())
	require.Len(t, got["custom"].Metric[0].Histogram.Bucket, 3)
}

// TestFederateFamilies: a family begins anew where the sort of its samples changes.
func TestFederateFamilies(t *testing.T) {
	h := &histogram.FloatHistogram{Schema: 0, Count: 1}
	gauge := h.Copy()
	gauge.CounterResetHint = histogram.GaugeType
	named := func(name, x string) labels.Labels { return labels.FromStrings("__name__", name, "x", x) }
	out := families([]promql.Sample{
		{Metric: labels.FromStrings("x", "nameless"), F: 1},
		{Metric: named("m", "1"), F: 1},
		{Metric: named("m", "2"), F: 1},
		{Metric: named("m", "3"), H: h},
		{Metric: named("m", "4"), H: gauge},
		{Metric: named("m", "5"), F: 1},
		{Metric: named("n", "1"), F: 1},
	}, true)
	var got []string
	for _, f := range out {
		got = append(got, f.GetName()+" "+f.GetType().String()+" "+strings.Repeat("x", len(f.Metric)))
	}
	require.Equal(t, []string{"m UNTYPED xx", "m HISTOGRAM x", "m GAUGE_HISTOGRAM x", "m UNTYPED x", "n UNTYPED x"}, got)
}

func TestFederateErrors(t *testing.T) {
	addr := federated(t)
	for query, want := range map[string]struct {
		status int
		says   string
	}{
		"match[]={":                         {400, "parse error"},
		"match[]=%zz":                       {400, "error parsing form values"},
		"match[]=up&partial_response=maybe": {400, `invalid parameter "partial_response"`},
		"match[]=up&partial_response=false": {503, "2 of 3 members are missing"},
	} {
		resp, err := (&http.Client{}).Get(addr + "?" + query)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want.status, resp.StatusCode, query)
		require.Contains(t, string(body), want.says)
		require.Contains(t, resp.Header.Get("Content-Type"), "text/plain")
	}
	status, header, body := getFederate(t, addr, "", url.Values{"match[]": {"up"}, "partial_response": {"true"}})
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "partial response: m1 is missing", header.Get(headerWarnings))
	require.Contains(t, body, "up{")
}
