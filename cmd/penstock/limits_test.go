// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// limitedNode is a lone node with a limits file.
type limitedNode struct {
	testNode
	file string
}

func startLimited(t *testing.T, content string, flags ...string) *limitedNode {
	t.Helper()
	n := &limitedNode{file: filepath.Join(t.TempDir(), "limits.yml")}
	n.set(t, content)
	n.args = append([]string{
		"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
		"--limits.config-file=" + n.file,
	}, flags...)
	n.start(t)
	return n
}

func (n *limitedNode) set(t *testing.T, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(n.file, []byte(content), 0o600))
}

// do sends a request and returns the status and the text of the answer. It may be
// called by any goroutine.
func do(method, url, tenant string, body []byte) (int, string, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(text)), err
}

func (n *limitedNode) internalURL() string { return "http://" + n.srv.internal.addr() }

// numbered is a write of one sample of each of the numbered series.
func numbered(ts int64, from, to int) []byte {
	var req prompb.WriteRequest
	for i := from; i < to; i++ {
		req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: "n"}, {Name: "i", Value: fmt.Sprint(i)}},
			Samples: []prompb.Sample{{Timestamp: ts, Value: 1}},
		})
	}
	raw, err := req.Marshal()
	if err != nil {
		panic(err) // Of a message made here.
	}
	return snappy.Encode(nil, raw)
}

func (n *limitedNode) write(t *testing.T, tenant string, body []byte, want int) string {
	t.Helper()
	code, text, err := do(http.MethodPost, n.url()+"/api/v1/write", tenant, body)
	require.NoError(t, err)
	require.Equal(t, want, code, text)
	return text
}

func TestReloadOfLimits(t *testing.T) {
	n := startLimited(t, "defaults: {max_label_names_per_series: 2}")
	now := time.Now().UnixMilli()
	n.write(t, "", numbered(now, 0, 1), http.StatusNoContent)

	reload := func(base string) (int, string) {
		code, text, err := do(http.MethodPost, base+"/-/reload", "", nil)
		require.NoError(t, err)
		return code, text
	}
	n.set(t, "defaults: {max_label_names_per_series: 1}")
	n.write(t, "", numbered(now, 0, 1), http.StatusNoContent)
	code, _ := reload(n.internalURL())
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, n.write(t, "", numbered(now, 0, 1), http.StatusBadRequest), "series has 2 labels, limit 1 (max_label_names_per_series in --limits.config-file)")

	n.set(t, "defaults: {max_labels: 2}")
	code, text := reload(n.internalURL())
	require.Equal(t, http.StatusInternalServerError, code)
	require.Contains(t, text, "reload failed: limits stay as they were: --limits.config-file="+n.file+`: section "defaults": line 1: unknown key "max_labels"`)
	n.write(t, "", numbered(now, 0, 1), http.StatusBadRequest)
	_, metrics, err := do(http.MethodGet, n.url()+"/metrics", "", nil)
	require.NoError(t, err)
	require.Contains(t, metrics, "\npenstock_config_last_reload_successful 0\n")

	// A signal does the same.
	hangups := make(chan os.Signal)
	n.srv.background("reload", n.srv.reloadOn(hangups))
	n.set(t, "")
	hangups <- os.Interrupt // Any: the channel is that of the one signal.
	require.Eventually(t, func() bool { return n.srv.limits.State().OK }, eventually, time.Millisecond)
	n.write(t, "", numbered(now, 0, 1), http.StatusNoContent)

	code, _ = reload(n.url())
	require.Equal(t, http.StatusNotFound, code, "not on the public listener")
}

func TestReloadOnThePublicListener(t *testing.T) {
	n := startLimited(t, "", "--web.enable-lifecycle")
	code, _, err := do(http.MethodPost, n.url()+"/-/reload", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code)
	code, _, err = do(http.MethodGet, n.url()+"/-/reload", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusMethodNotAllowed, code)
}

// One tenant makes new series without end while limits are reloaded. It keeps the
// series that it has, and another tenant notices nothing.
func TestCardinalityExplosionConcernsOneTenant(t *testing.T) {
	const limit = 100
	limits := fmt.Sprintf("tenants: {hostile: {max_series: %d}}", limit)
	n := startLimited(t, limits)
	now := time.Now().UnixMilli()
	n.write(t, "hostile", numbered(now, 0, limit), http.StatusNoContent)

	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 1; !stop.Load(); i++ {
				from := ((w+1)*1_000_000 + i) * 50
				code, text, err := do(http.MethodPost, n.url()+"/api/v1/write", "hostile", numbered(now, from, from+50))
				if err != nil || code != http.StatusBadRequest || !strings.Contains(text, "active series limit 100 of tenant") {
					t.Errorf("hostile: %d %q %v", code, text, err)
					return
				}
			}
		})
	}
	for i := range 20 {
		n.write(t, "good", numbered(now+int64(i), 0, 50+i), http.StatusNoContent)
		n.write(t, "hostile", numbered(now+int64(i), 0, limit), http.StatusNoContent)
		code, text, err := do(http.MethodPost, n.internalURL()+"/-/reload", "", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, code, text)
	}
	stop.Store(true)
	wg.Wait()

	// Old and new in one request: the old ones are stored.
	text := n.write(t, "hostile", numbered(now+1000, limit-2, limit+1), http.StatusBadRequest)
	require.Equal(t, fmt.Sprintf("1 of 3 series refused in whole or part (1 samples, 0 histograms, 0 exemplars); the rest is stored. limit: 1. Examples:\n"+
		`n{i="100"}: timestamp %d: active series limit 100 of tenant "hostile" on this node reached; existing series are not affected (max_series in --limits.config-file)`, now+1000), text)
	require.Equal(t, limit, n.srv.store.HeadSeries("hostile"))
	require.Equal(t, 69, n.srv.store.HeadSeries("good"))
}

func TestNodeLimits(t *testing.T) {
	n := startLimited(t, "node: {require_tenant: true, max_tenants: 1, max_series: 3}")
	now := time.Now().UnixMilli()
	require.Equal(t, "no tenant: send the header X-Scope-OrgID (node.require_tenant in --limits.config-file)",
		n.write(t, "", numbered(now, 0, 1), http.StatusBadRequest))
	code, text, err := do(http.MethodGet, n.url()+"/api/v1/labels", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, code, text)

	n.write(t, "a", numbered(now, 0, 3), http.StatusNoContent)
	require.Contains(t, n.write(t, "b", numbered(now, 0, 1), http.StatusBadRequest),
		`tenant "b" refused: this node already has its limit of 1 tenants (node.max_tenants in --limits.config-file)`)
	require.Contains(t, n.write(t, "a", numbered(now, 3, 4), http.StatusBadRequest),
		"active series limit 3 of this node reached; existing series are not affected (node.max_series in --limits.config-file)")

	n.set(t, "node: {max_tenants: 2}")
	require.NoError(t, n.srv.limits.Reload())
	n.write(t, "b", numbered(now, 0, 1), http.StatusNoContent)
	n.write(t, "a", numbered(now, 3, 4), http.StatusNoContent)
}

func TestStatusOfLimits(t *testing.T) {
	n := startLimited(t, "node: {require_tenant: true}\ntenants: {a: {ingestion_rate: 7, max_series: 9}}")
	n.write(t, "a", numbered(time.Now().UnixMilli(), 0, 3), http.StatusNoContent)
	code, text, err := do(http.MethodGet, n.url()+"/api/v1/status/limits", "a", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, code)
	var answer struct {
		Status string
		Data   struct {
			Tenant     string
			Limits     map[string]float64
			Node       map[string]any
			HeadSeries int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &answer))
	require.Equal(t, "success", answer.Status)
	require.Equal(t, "a", answer.Data.Tenant)
	require.InDelta(t, 7, answer.Data.Limits["ingestion_rate"], 0)
	require.InDelta(t, 9, answer.Data.Limits["max_series"], 0)
	require.InDelta(t, 16<<20, answer.Data.Limits["max_request_bytes"], 0)
	require.Equal(t, true, answer.Data.Node["require_tenant"])
	require.Equal(t, 3, answer.Data.HeadSeries)

	code, text, err = do(http.MethodGet, n.url()+"/api/v1/status/limits", "", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, text, `"errorType":"bad_data"`)
}

func TestBadLimitsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.yml")
	require.NoError(t, os.WriteFile(file, []byte("tenants:\n  a:\n    max_serie: 1\n"), 0o600))
	for _, args := range [][]string{
		{"check", "config"},
		{"--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0", "--storage.path=" + t.TempDir(), "--log.level=error"},
	} {
		err := run(t.Context(), append(args, "--limits.config-file="+file), io.Discard)
		require.ErrorContains(t, err, "--limits.config-file="+file+`: section "tenants.a": line 3: unknown key "max_serie"`)
		require.NotContains(t, err.Error(), "\n", "one line")
	}
}
