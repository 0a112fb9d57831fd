// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

func TestResolutionOfARequest(t *testing.T) {
	for _, c := range []struct {
		auto             bool
		resolution, step string
		lookback         string
		want             downsample.Limit
		wantLookback     string
	}{
		{false, "", "3600", "", downsample.Limit{}, ""},
		{true, "", "3600", "", downsample.Limit{Max: 720_000}, ""},
		{true, "", "", "", downsample.Limit{}, ""}, // An instant query.
		{true, "0s", "3600", "", downsample.Limit{Strict: true}, ""},
		{false, "auto", "1d", "", downsample.Limit{Max: 17_280_000}, "3600"},
		{false, "auto", "1d", "7m", downsample.Limit{Max: 17_280_000}, "7m"},
		{false, "1h", "", "", downsample.Limit{Max: 3_600_000, Strict: true}, "3600"},
		{false, "5m", "", "", downsample.Limit{Max: 300_000, Strict: true}, ""},
	} {
		form := url.Values{paramResolution: {c.resolution}, "step": {c.step}, paramLookback: {c.lookback}}
		r := httptest.NewRequest(http.MethodGet, "/api/v1/query_range?"+form.Encode(), nil)
		s := &server{cfg: &config{query: queryConfig{autoDownsampling: c.auto}}}
		ctx, err := s.withResolution(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, c.want, downsample.LimitFrom(ctx), "%+v", c)
		require.Equal(t, c.wantLookback, r.FormValue(paramLookback), "%+v", c)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/query?"+paramResolution+"=coarse", nil)
	_, err := (&server{cfg: &config{}}).withResolution(t.Context(), r)
	require.EqualError(t, err, `invalid parameter "max_source_resolution": "coarse" is neither a duration nor "auto"`)
}

// putDownsampled puts two days of a counter at five minutes into the bucket in dir, without the raw block that it was made of.
func putDownsampled(t *testing.T, dir string, begin time.Time) {
	t.Helper()
	var samples []chunks.Sample
	for at := begin.UnixMilli() + 1000; at < begin.Add(48*time.Hour).UnixMilli(); at += 30_000 {
		samples = append(samples, buckettest.Float(at, float64(len(samples))))
	}
	temp := t.TempDir()
	series := storage.NewListSeries(labels.FromStrings("__name__", "old_total"), samples)
	src, _ := buckettest.WriteBlock(t, temp, (96 * time.Hour).Milliseconds(), series)
	id, _, err := downsample.New(nil, nil, nil).Downsample(t.Context(), src, downsample.FiveMinutes, temp)
	require.NoError(t, err)

	cfg, err := bucket.ParseConfig([]byte("type: FILESYSTEM\nconfig:\n  directory: " + dir))
	require.NoError(t, err)
	b, err := bucket.Open(cfg, promslog.NewNopLogger(), nil)
	require.NoError(t, err)
	defer b.Close()
	blocks := bucket.NewBlocks(b, nil)
	require.NoError(t, blocks.PutBlock(t.Context(), filepath.Join(temp, id.String()), map[string]string{bucket.LabelTenant: defaultTenant}, "compactor"))
	meta, err := blocks.Meta(t.Context(), id)
	require.NoError(t, err)
	meta.Thanos.Downsample.Resolution = downsample.FiveMinutes
	content, err := meta.Encode()
	require.NoError(t, err)
	require.NoError(t, b.Put(t.Context(), id.String()+"/meta.json", bytes.NewReader(content), int64(len(content))))
}

// TestDownsampledSamplesOverHTTP asks a node for a time of which nothing but samples of five minutes is left.
func TestDownsampledSamplesOverHTTP(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now().Add(-60 * 24 * time.Hour).Truncate(48 * time.Hour)
	putDownsampled(t, dir, begin)
	n := loneNode(t, "--objstore.config=type: FILESYSTEM\nconfig:\n  directory: "+dir)
	ask := func(params string) (int, string) {
		resp, err := (&http.Client{}).Get(n.url() + "/api/v1/query?time=" + begin.Add(30*time.Hour).Format(time.RFC3339) + "&query=" + params)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for _, resolution := range []string{"", "5m", "1h"} {
		status, body := ask("round(increase(old_total[1d]))&max_source_resolution=" + resolution)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, `"2880"`, resolution)
		require.NotContains(t, body, "warnings")
	}
	status, body := ask("increase(old_total[1d])&max_source_resolution=0s")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"result":[]`)
	require.Contains(t, body, "leave max_source_resolution out to get coarser ones")
	status, body = ask("old_total&max_source_resolution=coarse")
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, body, `"errorType":"bad_data"`)
}
