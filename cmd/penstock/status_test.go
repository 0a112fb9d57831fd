// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/golang/snappy"
	dto "github.com/prometheus/client_model/go"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"
	"github.com/stretchr/testify/require"
	yaml "go.yaml.in/yaml/v2"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/ring"
	"github.com/penstock-io/penstock/tsdbstore"
)

// dataOf is the data of a successful answer of the API.
func dataOf[T any](t *testing.T, url string) T {
	t.Helper()
	resp, err := (&http.Client{}).Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	var answer struct{ Data T }
	require.NoError(t, json.Unmarshal(body, &answer))
	return answer.Data
}

// TestStatusConfig: what is in force is shown, with what Prometheus has in the same place, and without secrets.
func TestStatusConfig(t *testing.T) {
	dir := t.TempDir()
	limitsPath := filepath.Join(dir, "limits.yml")
	require.NoError(t, os.WriteFile(limitsPath, []byte("defaults:\n  max_series: 123\ntenants:\n  a:\n    max_series: 456\n"), 0o600))
	n := &testNode{args: []string{
		"--storage.path=" + filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
		"--limits.config-file=" + limitsPath, "--storage.out-of-order-window=90m",
		"--objstore.config={type: S3, prefix: p, config: {bucket: b, endpoint: 'localhost:1', access_key: key, secret_key: hidden-secret, insecure: true}}",
	}}
	n.prepare(t)
	shown := n.srv.configYAML()
	require.NotContains(t, shown, "hidden-secret")
	var got map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(shown), &got))
	at := func(path ...any) any {
		v := got[path[0].(string)]
		for _, key := range path[1:] {
			v = v.(map[any]any)[key]
		}
		return v
	}
	require.Empty(t, at("global", "external_labels"))
	require.Equal(t, "1h30m", at("storage", "tsdb", "out_of_order_time_window"))
	require.Equal(t, "1d", at("storage", "tsdb", "retention", "time"))
	require.Equal(t, 123, at("limits", "defaults", "max_series"))
	require.Equal(t, 456, at("limits", "tenants", "a", "max_series"))
	require.Equal(t, "S3", at("objstore", "type"))
	require.Equal(t, "p", at("objstore", "prefix"))
	require.Equal(t, "b", at("objstore", "config", "bucket"))
	require.Equal(t, "<secret>", at("objstore", "config", "secret_key"))
	require.NotNil(t, at("otlp"))

	// Who reads it as the configuration of a Prometheus finds what it looks for.
	var read promconfig.Config
	require.NoError(t, yaml.Unmarshal([]byte(shown), &read))
	require.True(t, read.GlobalConfig.ExternalLabels.IsEmpty())
	require.EqualValues(t, (90 * time.Minute).Milliseconds(), read.StorageConfig.TSDBConfig.OutOfOrderTimeWindow)
	require.EqualValues(t, 24*time.Hour, read.StorageConfig.TSDBConfig.Retention.Time)

	require.NoError(t, os.WriteFile(limitsPath, []byte("defaults:\n  max_series: 7\n"), 0o600))
	require.NoError(t, n.srv.limits.Reload())
	require.Contains(t, n.srv.configYAML(), "max_series: 7")
	for name, value := range n.srv.cfg.flags {
		require.NotContains(t, value, "hidden-secret", name)
	}
}

// TestCountedSlots: of the members that are asked exactly one counts each slot that any of them owns, and one that lacks
// nothing if there is such an owner.
func TestCountedSlots(t *testing.T) {
	var members []ring.Member
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		members = append(members, ring.Member{Name: name, State: ring.Active})
	}
	r := ring.New(members, 3)
	for _, c := range []struct{ whole, asked []string }{
		{names, names}, {names[1:], names}, {names[:2], names}, {nil, names}, {names[3:], names[3:]}, {names[:1], names[:2]},
	} {
		counters := make([]int, ring.Slots)
		for _, name := range c.asked {
			for slot, counts := range countedSlots(r, name, c.whole, c.asked) {
				if counts {
					counters[slot]++
				}
			}
		}
		for slot, n := range counters {
			owned := 0
			for _, i := range r.Owners(uint16(slot)) {
				for _, name := range c.asked {
					if r.Members()[i].Name == name {
						owned = 1
					}
				}
			}
			require.Equal(t, owned, n, "slot %d", slot)
		}
	}
}

// TestStatusOfCluster: status/tsdb counts each series once whichever member is asked, and metadata is the same on all,
// also on one whose disk was replaced.
func TestStatusOfCluster(t *testing.T) {
	nodes := startCluster(t, 4, "--cluster.replication-factor=3")
	write(t, nodes[0], "a", 50, time.Now().UnixMilli(), 1)
	for i, n := range nodes {
		stats := dataOf[struct {
			HeadStats               struct{ NumSeries, NumLabelPairs, ChunkCount int }
			SeriesCountByMetricName []struct {
				Name  string
				Value int
			}
			LabelValueCountByLabelName []struct {
				Name  string
				Value int
			}
		}](t, n.url()+"/api/v1/status/tsdb?limit=1")
		require.Equal(t, 50, stats.HeadStats.NumSeries, "node %d", i)
		require.Equal(t, 50, stats.HeadStats.ChunkCount)
		require.Equal(t, 52, stats.HeadStats.NumLabelPairs)
		require.Len(t, stats.SeriesCountByMetricName, 1)
		require.Equal(t, 50, stats.SeriesCountByMetricName[0].Value)
		require.Equal(t, "i", stats.LabelValueCountByLabelName[0].Name)
	}
	held := 0
	for _, n := range nodes {
		require.NoError(t, n.srv.store.ReadHead(defaultTenant, func(ix tsdb.IndexReader, _, _ int64) error {
			values, err := ix.LabelValues(t.Context(), "i", nil)
			held += len(values)
			return err
		}))
	}
	require.Equal(t, 3*50, held, "the copies")

	// One member alone was told; the next answer of another has it.
	nodes[1].srv.metadata.Apply(defaultTenant, []ingest.Metadata{{Name: "only_here", Type: "gauge", Help: "Here."}})
	everywhere := func() {
		t.Helper()
		for _, n := range nodes {
			all := dataOf[map[string][]map[string]string](t, n.url()+"/api/v1/metadata")
			require.Equal(t, []map[string]string{{"type": "gauge", "unit": "", "help": "Here."}}, all["only_here"])
		}
	}
	everywhere()
	nodes[1].stop(t)
	nodes[1].start(t)
	everywhere()
}

// TestRuntimeInfo: damage that was set aside is where a Prometheus counts corruptions, and times are UTC.
func TestRuntimeInfo(t *testing.T) {
	n := &testNode{args: []string{"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0"}}
	n.start(t)
	info := func() v1.RuntimeInfo { return dataOf[v1.RuntimeInfo](t, n.url()+"/api/v1/status/runtimeinfo") }
	require.Zero(t, info().CorruptionCount)
	require.True(t, info().ReloadConfigSuccess)
	require.Equal(t, time.UTC, info().StartTime.Location())
	require.NotEmpty(t, info().CWD)
	families, err := n.srv.reg.Gather()
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == tsdbstore.MetricQuarantined }))
}

// TestMetadataOfEmptyDisk: a member whose disk was replaced answers for all metrics from its first moment on.
func TestMetadataOfEmptyDisk(t *testing.T) {
	nodes := startCluster(t, 3)
	raw, err := (&prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "requests_total", Help: "Requests.", Unit: "requests"},
		{Type: prompb.MetricMetadata_GAUGE, MetricFamilyName: "up", Help: "Up."},
	}}).Marshal()
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, nodes[0].url()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "snappy")
	resp, err := (&http.Client{}).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNoContent, resp.StatusCode)

	want := map[string][]map[string]string{
		"requests_total": {{"type": "counter", "unit": "requests", "help": "Requests."}},
		"up":             {{"type": "gauge", "unit": "", "help": "Up."}},
	}
	for _, n := range nodes {
		require.Equal(t, want, dataOf[map[string][]map[string]string](t, n.url()+"/api/v1/metadata"))
	}
	nodes[2].stop(t)
	require.NoError(t, os.RemoveAll(nodes[2].srv.cfg.storage.path))
	nodes[2].start(t)
	require.Equal(t, want, dataOf[map[string][]map[string]string](t, nodes[2].url()+"/api/v1/metadata"))
	require.Equal(t, map[string][]map[string]string{"up": want["up"]}, dataOf[map[string][]map[string]string](t, nodes[2].url()+"/api/v1/metadata?metric=up"))
}
