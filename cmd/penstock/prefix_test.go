// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPrefix: every endpoint is below the path of the external URL, and redirects stay there.
func TestPrefix(t *testing.T) {
	n := &testNode{args: []string{
		"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
		"--web.external-url=https://metrics.example/pen/stock/", "--web.enable-lifecycle",
	}}
	n.start(t)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(path string) (int, string, string) {
		t.Helper()
		resp, err := client.Get(n.url() + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header.Get("Location"), string(body)
	}
	for _, path := range []string{
		"/", "/metrics", "/-/healthy", "/-/ready", "/federate?match[]=up", "/api/v1/query?query=1", "/api/v1/labels", "/api/v1/metadata",
		"/api/v1/label/x/values", "/api/v1/series?match[]=up", "/api/v1/query_exemplars?query=up", "/api/v1/rules", "/api/v1/features",
		"/api/v1/openapi.yaml", "/api/v1/status/tsdb", "/api/v1/status/ring", "/api/v1/status/limits", "/api/v1/status/senders",
		"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/buildinfo", "/api/v1/status/runtimeinfo", "/debug/pprof/cmdline",
	} {
		status, _, body := get("/pen/stock" + path)
		require.Equal(t, http.StatusOK, status, "%s: %s", path, body)
		if path == "/metrics" || strings.HasPrefix(path, "/-/") {
			continue // At the root as well.
		}
		if status, _, _ := get(path); path != "/" {
			require.Equal(t, http.StatusNotFound, status, path)
		}
	}
	for path, want := range map[string]string{
		"/":                             "/pen/stock/",
		"/pen/stock":                    "/pen/stock/",
		"/pen/stock/debug/pprof":        "/pen/stock/debug/pprof/",
		"/pen/stock/api/v1//labels":     "/pen/stock/api/v1/labels",
		"/pen/stock/x/../api/v1/labels": "/pen/stock/api/v1/labels",
	} {
		status, to, _ := get(path)
		require.Contains(t, []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect}, status, path)
		require.Equal(t, want, to, path)
	}
	_, _, landing := get("/pen/stock/")
	for _, link := range strings.Split(landing, `href="`)[1:] {
		link, _, _ = strings.Cut(link, `"`)
		if strings.HasPrefix(link, "/") {
			status, _, _ := get(link)
			require.Equal(t, http.StatusOK, status, link)
		}
	}
	_, _, spec := get("/pen/stock/api/v1/openapi.yaml")
	require.Contains(t, spec, "https://metrics.example/pen/stock")
	status, _, _ := get("/pen/stockade")
	require.Equal(t, http.StatusNotFound, status)
}

// TestRoutePrefix: behind a proxy that takes the path away there is none.
func TestRoutePrefix(t *testing.T) {
	for _, c := range []struct{ external, route, want string }{
		{"", "", ""},
		{"http://x", "", ""},
		{"http://x/", "", ""},
		{"http://x/a", "", "/a"},
		{"http://x/a/b/", "", "/a/b"},
		{"http://x/a", "/", ""},
		{"http://x/a", "/c/", "/c"},
		{"", "c", "/c"},
		{"", "c/../d", "/d"},
	} {
		cfg := &config{}
		cfg.web.externalURL, cfg.web.routePrefix = c.external, c.route
		require.Equal(t, c.want, cfg.prefix(), "%+v", c)
	}
}
