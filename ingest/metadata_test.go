// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

func openMeta(t *testing.T, cfg MetadataConfig) *MetadataStore {
	t.Helper()
	s, err := OpenMetadata(cfg, quietLogger(), nil)
	require.NoError(t, err)
	return s
}

func TestMetadataSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "metadata")
	s := openMeta(t, MetadataConfig{Dir: dir})
	up := Metadata{Name: "up", Type: "gauge", Help: "Up?\n\"quoted\" \u2028", Unit: "bool"}
	rps := Metadata{Name: "requests_total", Type: "counter"}
	require.Equal(t, []Metadata{up, rps}, s.Apply(testTenant, []Metadata{up, rps}))
	s.Apply("other", []Metadata{rps})
	// Run writes a last time when it ends.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, s.Run(ctx))

	again := openMeta(t, MetadataConfig{Dir: dir})
	require.Equal(t, []Metadata{rps, up}, again.Get(testTenant, "", 0))
	require.Equal(t, []Metadata{rps}, again.Get(testTenant, "", 1))
	require.Equal(t, []Metadata{up}, again.Get(testTenant, "up", 0))
	require.Empty(t, again.Get(testTenant, "down", 0))
	require.Equal(t, []Metadata{rps}, again.Get("other", "", 0))
	require.Empty(t, again.Get("third", "", 0), "tenants do not see each other")
}

// TestMetadataIsToldWhenDue tells other members what is new and what they may have
// missed, and not every batch of every sender.
func TestMetadataIsToldWhenDue(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	s := openMeta(t, MetadataConfig{Dir: t.TempDir(), Now: func() time.Time { return now }})
	entry := []Metadata{{Name: "up", Type: "gauge"}}
	require.Len(t, s.Apply(testTenant, entry), 1)
	require.Empty(t, s.Apply(testTenant, entry))
	entry[0].Help = "changed"
	require.Len(t, s.Apply(testTenant, entry), 1)
	now = now.Add(metadataRefresh)
	require.Len(t, s.Apply(testTenant, entry), 1)
	require.Empty(t, s.Apply(testTenant, entry))
}

func TestMetadataIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openMeta(t, MetadataConfig{Dir: dir, MaxBytes: 2000, MaxTenants: 2})
	var many []Metadata
	for i := range 1000 {
		many = append(many, Metadata{Name: fmt.Sprintf("metric_%04d", i), Type: "gauge"})
	}
	kept := len(s.Apply(testTenant, many))
	require.Greater(t, kept, 10)
	require.Less(t, kept, 30)
	// What is known may still change its text within the bound.
	require.Len(t, s.Apply(testTenant, []Metadata{{Name: "metric_0000", Type: "info"}}), 1)
	require.Len(t, s.Apply("b", many[:1]), 1)
	require.Empty(t, s.Apply("c", many[:1]), "no third tenant")
	for _, name := range []string{"..", ".", "", "a/b", ".hidden"} {
		require.Empty(t, openMeta(t, MetadataConfig{Dir: t.TempDir()}).Apply(name, many[:1]), name)
	}
	require.NoError(t, s.Flush())
	require.LessOrEqual(t, len(openMeta(t, MetadataConfig{Dir: dir, MaxBytes: 500}).Get(testTenant, "", 0)), 8)
}

// TestMetadataDamagedFile starts without what it cannot read and replaces it.
func TestMetadataDamagedFile(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "{", `{"version":2,"families":[]}`, strings.Repeat(" ", 20_000) + "{}"} {
		dir := t.TempDir()
		path := filepath.Join(dir, testTenant+".json")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".tmp-left-over"), nil, 0o600))
		s := openMeta(t, MetadataConfig{Dir: dir, MaxBytes: 2000})
		require.Empty(t, s.Get(testTenant, "", 0))
		s.Apply(testTenant, []Metadata{{Name: "up", Type: "gauge"}})
		require.NoError(t, s.Flush())
		require.Len(t, openMeta(t, MetadataConfig{Dir: dir}).Get(testTenant, "", 0), 1)
	}
}

// TestMetadataSample reads the checked-in file that docs/format/metadata.md explains.
func TestMetadataSample(t *testing.T) {
	t.Parallel()
	s := openMeta(t, MetadataConfig{Dir: filepath.Join("testdata", "metadata_v1")})
	require.Equal(t, []Metadata{
		{Name: "http_requests_total", Type: "counter", Help: "Requests served."},
		{Name: "up", Type: "gauge", Help: "1 if the target could be scraped.", Unit: "bool"},
	}, s.Get("default-tenant", "", 0))
}

// TestMetadataOfBothProtocols arrives in the store, under the name of the family.
func TestMetadataOfBothProtocols(t *testing.T) {
	t.Parallel()
	meta := openMeta(t, MetadataConfig{Dir: t.TempDir()})
	local := NewLocal(LocalConfig{Store: openStore(t), Metadata: meta}, nil)
	static := ring.NewStatic(ring.Member{Name: "a", State: ring.Active}, 1)
	d := NewDistributor(DistributorConfig{RF: 1, View: static.View, Local: local, Hints: newMemHints()}, quietLogger(), nil)
	h := NewHandler(HandlerConfig{Writer: d, Tenant: tenantOf}, quietLogger(), nil)

	v1 := encodeV1(t, &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{
		{Type: prompb.MetricMetadata_SUMMARY, MetricFamilyName: "rpc_seconds", Help: "RPC time.", Unit: "seconds"},
		{MetricFamilyName: "", Help: "no name"},
		{MetricFamilyName: "bad\xff"},
		{MetricFamilyName: "long", Help: strings.Repeat("x", familyHelpBytesMax+1)},
	}})
	require.Equal(t, http.StatusNoContent, post(t, h, typeV1, v1).Code)

	ts := nowMillis()
	v2 := encodeV2(t, &writev2.Request{
		Symbols: []string{"", "__name__", "lat_bucket", "lat_sum", "le", "1", "Latency.", "seconds", "up"},
		Timeseries: []writev2.TimeSeries{
			{LabelsRefs: []uint32{1, 2, 4, 5}, Samples: []writev2.Sample{{Timestamp: ts}}, Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_HISTOGRAM, HelpRef: 6, UnitRef: 7}},
			{LabelsRefs: []uint32{1, 3}, Samples: []writev2.Sample{{Timestamp: ts}}, Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_HISTOGRAM, HelpRef: 6, UnitRef: 7}},
			{LabelsRefs: []uint32{1, 8}, Samples: []writev2.Sample{{Timestamp: ts}}},
		},
	})
	require.Equal(t, http.StatusNoContent, post(t, h, typeV2, v2).Code)
	require.Equal(t, []Metadata{
		{Name: "lat", Type: "histogram", Help: "Latency.", Unit: "seconds"},
		{Name: "rpc_seconds", Type: "summary", Help: "RPC time.", Unit: "seconds"},
	}, meta.Get(testTenant, "", 0))
}
