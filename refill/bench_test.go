// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package refill

import (
	"context"
	"fmt"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// BenchmarkPass is the cost of a pass without the network and the bound on bytes: write, read back, compare.
func BenchmarkPass(b *testing.B) {
	const series, samples = 5_000, 240
	end := testNow.UnixMilli() / width * width
	db := openDB(b, b.TempDir())
	defer db.Close()
	for i := range int64(samples) {
		app := db.Appender(context.Background())
		for j := range series {
			lset := labels.FromStrings("__name__", "http_requests_total", "instance", fmt.Sprintf("host-%03d.example.org:9090", j%100), "path", fmt.Sprintf("/api/v1/%d", j/100), "job", "api")
			_, err := app.Append(0, lset, end-width+i*15_000, float64(i*int64(j%17)))
			require.NoError(b, err)
		}
		require.NoError(b, app.Commit())
	}
	p := &peers{dbs: map[string]*tsdb.DB{"a": db}}
	d := newDisk(b)
	cfg := config(b, d, p)
	cfg.BytesPerSecond = -1
	r, err := New(cfg, quiet(), nil)
	require.NoError(b, err)
	b.ReportAllocs()
	var got passed
	for b.Loop() {
		got, err = r.pass(b.Context(), unit{"a", end - width, end, []string{"x"}}, 0, 1)
		require.NoError(b, err)
	}
	require.EqualValues(b, series*samples, got.digest.Samples)
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(series*samples), "ns/sample")
	b.ReportMetric(float64(got.bytes)*float64(b.N)/b.Elapsed().Seconds()/(1<<20), "MiB/s")
}
