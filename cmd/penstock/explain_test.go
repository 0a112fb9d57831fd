// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type explainedAnswer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		ResultType string          `json:"resultType"`
		Result     json.RawMessage `json:"result"`
		Explain    []struct {
			Selector string `json:"selector"`
			Cut      bool   `json:"cut"`
			Series   []struct {
				Labels    map[string]string `json:"labels"`
				Stretches []struct {
					Start   float64           `json:"start"`
					End     float64           `json:"end"`
					Samples int               `json:"samples"`
					Replica map[string]string `json:"replica"`
					Why     string            `json:"why"`
					Sources []struct {
						Source  string  `json:"source"`
						Start   float64 `json:"start"`
						End     float64 `json:"end"`
						Samples int     `json:"samples"`
					} `json:"sources"`
				} `json:"stretches"`
			} `json:"series"`
		} `json:"explain"`
	} `json:"data"`
}

func explainQuery(t *testing.T, n *testNode, method, path string, form url.Values) (int, explainedAnswer) {
	t.Helper()
	target, body := n.url()+"/api/v1/"+path, ""
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = form.Encode()
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var a explainedAnswer
	require.NoError(t, json.Unmarshal(raw, &a), "%s", raw)
	return resp.StatusCode, a
}

// TestExplainNamesReplicasAndSources: replica a is down for a while, and the older half of everything is in blocks, here and in the bucket.
func TestExplainNamesReplicasAndSources(t *testing.T) {
	nodes := startCluster(t, 3)
	const every = 15 * time.Second
	start := time.Now().Add(-20 * time.Minute).Truncate(time.Minute)
	at := func(i int) time.Time { return start.Add(time.Duration(i) * every) }
	scrape := func(from, to int) {
		for i := from; i < to; i++ {
			if i < 10 || i >= 30 {
				require.Equal(t, http.StatusNoContent, write(t, nodes[0], "a", 3, at(i).UnixMilli(), float64(i)))
			}
			require.Equal(t, http.StatusNoContent, write(t, nodes[1], "b", 3, at(i).UnixMilli()+5000, float64(i)))
		}
	}
	scrape(0, 20)
	for _, n := range nodes {
		require.NoError(t, n.srv.store.FlushHead(t.Context(), defaultTenant))
		_, err := n.srv.uploader.Sync(t.Context())
		require.NoError(t, err)
	}
	scrape(20, 40)
	for _, n := range nodes {
		require.NoError(t, n.srv.blocks.Sync(t.Context()))
	}

	form := url.Values{
		"query": {`sum(rate(test_metric[2m]))`}, "explain": {"dedup"},
		"start": {fmt.Sprint(at(8).Unix())}, "end": {fmt.Sprint(at(39).Unix())}, "step": {"15"},
	}
	check := func(method, path string, want ...string) explainedAnswer {
		code, a := explainQuery(t, nodes[0], method, path, form)
		require.Equal(t, http.StatusOK, code, a.Error)
		require.NotEmpty(t, a.Data.Result)
		require.Len(t, a.Data.Explain, 1)
		e := a.Data.Explain[0]
		require.Equal(t, `{__name__="test_metric"}`, e.Selector)
		require.False(t, e.Cut)
		require.Len(t, e.Series, 3)
		for _, s := range e.Series {
			require.NotContains(t, s.Labels, "replica")
			found := map[string]bool{}
			for _, stretch := range s.Stretches {
				for _, source := range stretch.Sources {
					kind, _, _ := strings.Cut(source.Source, ":")
					if kind == "peer" {
						kind = source.Source
					}
					found[kind] = true
					require.GreaterOrEqual(t, source.Start, stretch.Start)
					require.LessOrEqual(t, source.End, stretch.End)
					require.Positive(t, source.Samples)
					require.LessOrEqual(t, source.Samples, stretch.Samples)
				}
			}
			for _, name := range want {
				require.True(t, found[name], "%s is not among the sources %v", name, found)
			}
			require.Len(t, found, len(want), "%v", found)
		}
		return a
	}
	// The samples are older than the members, so that the bucket is asked too.
	a := check(http.MethodGet, "query_range", "head", "block", "peer:node-1", "peer:node-2", "bucket")
	stretches := a.Data.Explain[0].Series[0].Stretches
	require.Len(t, stretches, 3, "%+v", stretches)
	require.Equal(t, "matrix", a.Data.ResultType)
	for i, want := range []struct {
		replica, why string
		first, last  int
		offset       float64
	}{{"a", "first", 1, 9, 0}, {"b", "gap", 10, 29, 5}, {"a", "back", 30, 39, 0}} {
		require.Equal(t, map[string]string{"replica": want.replica}, stretches[i].Replica)
		require.Equal(t, want.why, stretches[i].Why)
		require.InDelta(t, float64(at(want.first).Unix())+want.offset, stretches[i].Start, 1e-6, "%d", i)
		require.InDelta(t, float64(at(want.last).Unix())+want.offset, stretches[i].End, 1e-6, "%d", i)
		require.Equal(t, want.last-want.first+1, stretches[i].Samples)
	}
	// The block of this member ends and its head begins in the middle of what b gave.
	for _, source := range stretches[1].Sources {
		switch kind, _, _ := strings.Cut(source.Source, ":"); kind {
		case "block":
			require.Equal(t, 10, source.Samples)
			require.InDelta(t, float64(at(19).Unix()+5), source.End, 1e-6)
		case "head":
			require.Equal(t, 10, source.Samples)
			require.InDelta(t, float64(at(20).Unix()+5), source.Start, 1e-6)
		}
	}

	// A member that is missing is no source.
	nodes[2].stop(t)
	check(http.MethodPost, "query_range", "head", "block", "peer:node-1", "bucket")

	form.Set("explain_limit", "2")
	_, a = explainQuery(t, nodes[0], http.MethodPost, "query_range", form)
	require.Len(t, a.Data.Explain[0].Series, 2)
	require.True(t, a.Data.Explain[0].Cut)

	instant := url.Values{"query": {`test_metric offset 5m`}, "explain": {"dedup"}, "time": {fmt.Sprint(at(39).Unix())}, "dedup": {"false"}}
	_, a = explainQuery(t, nodes[0], http.MethodGet, "query", instant)
	require.Equal(t, "vector", a.Data.ResultType)
	require.Len(t, a.Data.Explain[0].Series, 6, "without dedup each replica's series is one")
	require.Len(t, a.Data.Explain[0].Series[0].Stretches, 1)

	for name, bad := range map[string]string{"explain": "cache", "explain_limit": "0", "query": "sum("} {
		wrong := url.Values{}
		for k, v := range form {
			wrong[k] = v
		}
		wrong.Set(name, bad)
		code, a := explainQuery(t, nodes[0], http.MethodGet, "query_range", wrong)
		require.Equal(t, http.StatusBadRequest, code)
		require.Contains(t, a.Error, name)
	}
}
