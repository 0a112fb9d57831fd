// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// TestIncompleteEverywhere: with two of three members gone every endpoint that reads what they may have refuses, with a text
// that names them; or, if a part is asked for, answers and says so.
func TestIncompleteEverywhere(t *testing.T) {
	nodes := startCluster(t, 3)
	now := time.Now()
	write(t, nodes[0], "a", 5, now.UnixMilli(), 1)
	stamp := now.UTC().Format(time.RFC3339)
	whole := url.Values{
		"query": {"test_metric"}, "match[]": {"test_metric"}, "time": {stamp}, "start": {now.Add(-time.Minute).UTC().Format(time.RFC3339)}, "end": {stamp}, "step": {"15"},
	}
	ask := func(method, path string, form url.Values, body []byte) (int, http.Header, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, nodes[0].url()+path+"?"+form.Encode(), bytes.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-protobuf")
		resp, err := (&http.Client{}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header, string(got)
	}
	get := []string{"/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels", "/api/v1/label/i/values", "/api/v1/query_exemplars", "/api/v1/status/tsdb"}
	for _, path := range append(get, "/federate") {
		status, header, body := ask(http.MethodGet, path, whole, nil)
		require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
		require.NotContains(t, body, "warnings")
		require.Empty(t, header.Get("X-Penstock-Warnings"))
	}

	for _, n := range nodes[1:] {
		n.stop(t)
	}
	part := url.Values{"partial_response": {"true"}}
	for name, values := range whole {
		part[name] = values
	}
	says := func(text string) {
		t.Helper()
		for _, words := range []string{"may be lacking: 2 of 3 members are missing", "node-1 (", "node-2 (", "replication factor 3 allows 1"} {
			require.Contains(t, text, words)
		}
	}
	for _, path := range get {
		status, _, body := ask(http.MethodGet, path, whole, nil)
		require.Equal(t, http.StatusServiceUnavailable, status, path)
		var answer struct {
			ErrorType, Error string
			Warnings         []string
			Data             json.RawMessage
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		require.Equal(t, "unavailable", answer.ErrorType, path)
		says(answer.Error)
		require.Contains(t, answer.Error, "partial_response=true")

		status, _, body = ask(http.MethodGet, path, part, nil)
		require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
		require.NoError(t, json.Unmarshal([]byte(body), &answer))
		require.NotEmpty(t, answer.Warnings, path)
		says(strings.Join(answer.Warnings, " "))
	}

	status, header, body := ask(http.MethodGet, "/federate", whole, nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, header.Get("Content-Type"), "text/plain")
	says(body)
	status, header, body = ask(http.MethodGet, "/federate", part, nil)
	require.Equal(t, http.StatusOK, status)
	says(header.Get("X-Penstock-Warnings"))
	require.Equal(t, 5, strings.Count(body, "test_metric{"))

	for _, types := range [][]prompb.ReadRequest_ResponseType{nil, {prompb.ReadRequest_STREAMED_XOR_CHUNKS}} {
		raw, err := (&prompb.ReadRequest{AcceptedResponseTypes: types, Queries: []*prompb.Query{{
			StartTimestampMs: now.Add(-time.Minute).UnixMilli(), EndTimestampMs: now.UnixMilli(),
			Matchers: []*prompb.LabelMatcher{{Name: "__name__", Value: "test_metric"}},
		}}}).Marshal()
		require.NoError(t, err)
		for _, dedup := range []string{"true", "false"} {
			status, _, body = ask(http.MethodPost, "/api/v1/read", url.Values{"dedup": {dedup}}, snappy.Encode(nil, raw))
			require.Equal(t, http.StatusServiceUnavailable, status)
			says(body)
			status, header, body = ask(http.MethodPost, "/api/v1/read", url.Values{"dedup": {dedup}, "partial_response": {"true"}}, snappy.Encode(nil, raw))
			require.Equal(t, http.StatusOK, status)
			says(header.Get("X-Penstock-Warnings"))
			require.NotEmpty(t, body)
		}
	}

	// What no sample hangs on goes on.
	for _, path := range []string{"/api/v1/metadata", "/api/v1/rules", "/api/v1/status/config", "/api/v1/status/buildinfo", "/api/v1/format_query"} {
		status, _, body := ask(http.MethodGet, path, whole, nil)
		require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
	}
}
