// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// explainer notes what it is asked and explains one series of each select.
type explainer struct {
	asked []string
	limit []int
	err   error
}

func (e *explainer) explain(_ context.Context, limit int, hints *storage.SelectHints, ms ...*labels.Matcher) (ExplainedSelect, error) {
	e.asked = append(e.asked, fmt.Sprintf("%s [%d, %d]", selectorText(ms), hints.Start, hints.End))
	e.limit = append(e.limit, limit)
	return ExplainedSelect{Series: []ExplainedSeries{{Labels: labels.FromStrings("job", "j")}}}, e.err
}

func TestExplain(t *testing.T) {
	e := &explainer{}
	s := server(t, func(c *Config) { c.Explain = &ExplainConfig{Select: e.explain} })
	get := func(path string, form url.Values) (int, map[string]json.RawMessage, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path+"?"+form.Encode(), nil)
		require.NoError(t, err)
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := (&http.Client{}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body := io.Reader(resp.Body)
		if resp.Header.Get("Content-Encoding") == "gzip" {
			body, err = gzip.NewReader(resp.Body)
			require.NoError(t, err)
		}
		var a struct {
			Status, Error string
			Data          map[string]json.RawMessage
		}
		require.NoError(t, json.NewDecoder(body).Decode(&a))
		return resp.StatusCode, a.Data, a.Error
	}
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return v
	}

	ranged := form("query", `sum(rate(up[1m])) / sum(rate(up[1m])) + up offset 1m`, "start", "500", "end", "600", "step", "50")
	code, plain, _ := get("/api/v1/query_range", ranged)
	require.Equal(t, http.StatusOK, code)
	require.NotContains(t, plain, "explain")
	require.Empty(t, e.asked)

	ranged.Set("explain", "dedup")
	ranged.Set("explain_limit", "7")
	code, data, _ := get("/api/v1/query_range", ranged)
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, plain["result"], data["result"])
	require.Equal(t, plain["resultType"], data["resultType"])
	require.Equal(t, []string{
		`{__name__="up"} [440001, 600000]`, // Twice in the query.
		`{__name__="up"} [140001, 540000]`,
	}, e.asked)
	require.Equal(t, []int{7, 6}, e.limit, "the limit is on all selects")
	var explained []map[string]any
	require.NoError(t, json.Unmarshal(data["explain"], &explained))
	require.Len(t, explained, 2)
	require.InDelta(t, 440.001, explained[0]["start"], 1e-9)
	require.Equal(t, `{__name__="up"}`, explained[0]["selector"])

	ranged.Set("explain_limit", "1")
	_, data, _ = get("/api/v1/query_range", ranged)
	require.NoError(t, json.Unmarshal(data["explain"], &explained))
	require.Equal(t, true, explained[1]["cut"], "nothing is left for the second")
	require.Len(t, e.asked, 3)

	instant := form("query", "up", "time", "500", "explain", "dedup")
	code, data, _ = get("/api/v1/query", instant)
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, data, "explain")
	require.Equal(t, explainSeries, e.limit[len(e.limit)-1])

	for _, bad := range [][2]string{{"explain", "cost"}, {"explain_limit", "0"}, {"explain_limit", "100000"}, {"query", "up{"}, {"time", "x"}} {
		wrong := form("query", "up", "time", "500", "explain", "dedup")
		wrong.Set(bad[0], bad[1])
		code, _, message := get("/api/v1/query", wrong)
		require.Equal(t, http.StatusBadRequest, code, bad)
		require.Contains(t, message, bad[0])
	}
	for _, failed := range []struct {
		err  error
		code int
	}{
		{incomplete{}, http.StatusServiceUnavailable},
		{context.DeadlineExceeded, http.StatusServiceUnavailable},
		{errors.New("too much"), http.StatusUnprocessableEntity},
	} {
		e.err = failed.err
		code, _, message := get("/api/v1/query", instant)
		require.Equal(t, failed.code, code)
		require.NotEmpty(t, message)
	}
}
