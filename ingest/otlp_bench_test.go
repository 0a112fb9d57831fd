// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/storage/remote"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// BenchmarkOTLP is one request of 2,000 data points from the HTTP handler to the commit of
// a real TSDB: ours, in a cluster of one, and that of Prometheus.
func BenchmarkOTLP(b *testing.B) {
	base := time.Now().Add(-time.Hour)
	var bodies [][]byte
	for i := range 16 {
		md, ms := oneScope("host.name", "h", "os.type", "linux")
		for n := range benchSeries {
			p := addSum(ms, "http.server.requests", pmetric.AggregationTemporalityCumulative).AppendEmpty()
			p.SetTimestamp(pcommon.NewTimestampFromTime(base.Add(time.Duration(i) * time.Second)))
			p.SetIntValue(int64(i))
			for l := range 8 {
				p.Attributes().PutStr("label.number."+strconv.Itoa(l), "value-"+strconv.Itoa(n*7919%(100*(l+1))))
			}
			p.Attributes().PutInt("series", int64(n))
		}
		bodies = append(bodies, otlpBody(b, md))
	}
	cfg := promconfig.DefaultOTLPConfig
	for name, h := range map[string]http.Handler{
		"penstock": newOTLPNode(b, cfg).handler,
		"prometheus": remote.NewOTLPWriteHandler(quietLogger(), prometheus.NewRegistry(), openStore(b).db, func() promconfig.Config {
			return promconfig.Config{OTLPConfig: cfg}
		}, remote.OTLPOptions{}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if w := postOTLP(b, h, bodies[i%len(bodies)]); w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
			perSample(b)
		})
	}
}
