// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/bucket/buckettest"
)

// putBlock puts a block of one series at every minute of a day into the bucket in dir, as an import does.
func putBlock(t *testing.T, dir, name string, begin time.Time) {
	t.Helper()
	var samples []chunks.Sample
	for at := begin; at.Before(begin.Add(24 * time.Hour)); at = at.Add(time.Minute) {
		samples = append(samples, buckettest.Float(at.UnixMilli(), float64(at.Minute())))
	}
	series := storage.NewListSeries(labels.FromStrings("__name__", "old", "from", name), samples)
	block, err := tsdb.CreateBlock([]storage.Series{series}, t.TempDir(), (48 * time.Hour).Milliseconds(), promslog.NewNopLogger())
	require.NoError(t, err)
	cfg, err := bucket.ParseConfig([]byte("type: FILESYSTEM\nconfig:\n  directory: " + dir))
	require.NoError(t, err)
	b, err := bucket.Open(cfg, promslog.NewNopLogger(), nil)
	require.NoError(t, err)
	defer b.Close()
	blocks := bucket.NewBlocks(b, nil)
	require.NoError(t, blocks.PutBlock(t.Context(), block, map[string]string{bucket.LabelTenant: defaultTenant}, "import"))
}

// TestAnswersAreKept: of days long ago an answer is kept, until a block of these days is imported; and not while the node would take
// samples of that time.
func TestAnswersAreKept(t *testing.T) {
	dir := t.TempDir()
	begin := time.Now().Add(-20 * 24 * time.Hour).Truncate(24 * time.Hour)
	putBlock(t, dir, "a", begin)
	n := loneNode(t, "--objstore.config=type: FILESYSTEM\nconfig:\n  directory: "+dir)
	hits := func(ask func()) (store, engine int) {
		steps := func(source string) int {
			families, err := n.srv.reg.Gather()
			require.NoError(t, err)
			for _, f := range families {
				for _, m := range f.GetMetric() {
					if f.GetName() == "penstock_query_cache_steps_total" && m.GetLabel()[0].GetValue() == source {
						return int(m.GetCounter().GetValue())
					}
				}
			}
			return 0
		}
		s, e := steps("store"), steps("engine")
		ask()
		return steps("store") - s, steps("engine") - e
	}
	series := func(want int, header string) func() {
		return func() {
			t.Helper()
			params := url.Values{"query": {"old"}, "step": {"60"}, "start": {begin.Format(time.RFC3339)}, "end": {begin.Add(10 * time.Hour).Format(time.RFC3339)}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/api/v1/query_range?"+params.Encode(), nil)
			require.NoError(t, err)
			req.Header.Set("Cache-Control", header)
			resp, err := (&http.Client{}).Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
			for i, name := range []string{"a", "b"} {
				require.Equal(t, i < want, strings.Contains(string(body), fmt.Sprintf(`"from":%q`, name)), "%.300s", body)
			}
		}
	}
	f := func(what string, ask func(), wantStore, wantEngine int) {
		t.Helper()
		store, engine := hits(ask)
		require.Equal(t, []int{wantStore, wantEngine}, []int{store, engine}, what)
	}
	const all = 10*60 + 1
	f("nothing is known", series(1, ""), 0, all)
	f("nobody has written yet, so that anything may come", series(1, ""), 0, all)
	require.Equal(t, http.StatusNoContent, write(t, n, "a", 1, time.Now().UnixMilli(), 1))
	f("now only what is new", series(1, ""), 0, all)
	f("kept", series(1, ""), all, 0)
	f("not asked of the cache", series(1, "no-store"), 0, 0)
	putBlock(t, dir, "b", begin)
	require.NoError(t, n.srv.blocks.Sync(t.Context()))
	f("the bucket has more", series(2, ""), 0, all)
	f("kept", series(2, ""), all, 0)
	putBlock(t, dir, "c", begin.Add(-72*time.Hour))
	require.NoError(t, n.srv.blocks.Sync(t.Context()))
	f("a block of other days", series(2, ""), all, 0)
}
