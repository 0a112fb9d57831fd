// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// benchSeries is a batch as Prometheus sends it: 2,000 samples of as many series,
// with 11 labels and about 240 label bytes each.
const benchSeries = 2000

func benchRequest(ts int64) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for i := range benchSeries {
		pairs := []string{"__name__", "http_request_duration_seconds_bucket"}
		for l := range 10 {
			pairs = append(pairs, fmt.Sprintf("label_%02d", l), fmt.Sprintf("value-%d-%s", i*7919%(100*(l+1)), strings.Repeat("x", 4)))
		}
		pairs[len(pairs)-1] += fmt.Sprint(i)
		req.Timeseries = append(req.Timeseries, seriesV1(ts, float64(i), pairs...))
	}
	return req
}

func perSample(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSeries, "ns/sample")
}

// benchBodies are requests of consecutive timestamps, so that no two are the same.
func benchBodies(b *testing.B, v2 bool) (bodies [][]byte, contentType string) {
	b.Helper()
	base := time.Now().Add(-time.Hour).UnixMilli()
	for i := range 64 {
		req := benchRequest(base + int64(i)*1000)
		if v2 {
			bodies = append(bodies, encodeV2(b, toV2(req.Timeseries)))
		} else {
			bodies = append(bodies, encodeV1(b, req))
		}
	}
	if v2 {
		return bodies, typeV2
	}
	return bodies, typeV1
}

// BenchmarkHandlerLocal is one request from the HTTP handler to the commit of a real
// TSDB with its write-ahead log, in a cluster of one. Series exist, samples repeat
// every 64 requests.
func BenchmarkHandlerLocal(b *testing.B) {
	for _, version := range []string{"1.0", "2.0"} {
		b.Run(version, func(b *testing.B) {
			bodies, contentType := benchBodies(b, version == "2.0")
			h := oneNode(b, openStore(b))
			benchmarkHandler(b, h, bodies, contentType)
		})
	}
}

// BenchmarkHandlerReplicated is the same with RF=3 and peers that answer at once: what
// a coordinator spends that owns everything itself.
func BenchmarkHandlerReplicated(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = readBody(r, nil, 1<<24)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	addr := strings.TrimPrefix(srv.URL, "http://")
	view := &ring.View{Self: "a"}
	var members []ring.Member
	for _, name := range []string{"a", "b", "c"} {
		m := ring.Member{Name: name, State: ring.Active, InternalAddr: addr}
		members = append(members, m)
		view.Members = append(view.Members, ring.MemberStatus{Member: m, Alive: true})
	}
	view.Ring = ring.New(members, 3)
	d := NewDistributor(DistributorConfig{
		RF: 3, View: func() *ring.View { return view }, Hints: newMemHints(),
		Local: NewLocal(LocalConfig{Store: openStore(b)}, nil),
	}, quietLogger(), nil)
	defer d.Close()
	h := NewHandler(HandlerConfig{Writer: d, Tenant: tenantOf}, quietLogger(), nil)
	bodies, contentType := benchBodies(b, false)
	benchmarkHandler(b, h, bodies, contentType)
}

func benchmarkHandler(b *testing.B, h http.Handler, bodies [][]byte, contentType string) {
	w := httptest.NewRecorder()
	send := func(i int) {
		r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(bodies[i%len(bodies)]))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Content-Encoding", "snappy")
		w = httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(b, http.StatusNoContent, w.Code)
	}
	send(0) // Series are created.
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		send(i)
	}
	perSample(b)
}

// BenchmarkScan is the walk over a decompressed body, without labels.
func BenchmarkScan(b *testing.B) {
	for _, proto := range []protocol{protoV1, protoV2} {
		b.Run(proto.String(), func(b *testing.B) {
			bodies, _ := benchBodies(b, proto == protoV2)
			body, err := snappy.Decode(nil, bodies[0])
			require.NoError(b, err)
			pool := batchPool{limits: Limits{}.withDefaults()}
			b.ReportAllocs()
			for b.Loop() {
				batch := pool.get(testTenant)
				if proto == protoV2 {
					err = batch.scanV2(body)
				} else {
					err = batch.scanV1(body)
				}
				require.NoError(b, err)
				batch.release()
			}
			perSample(b)
		})
	}
}

// BenchmarkValidate decodes labels and computes keys: what the series cache will save.
func BenchmarkValidate(b *testing.B) {
	bodies, _ := benchBodies(b, false)
	body, err := snappy.Decode(nil, bodies[0])
	require.NoError(b, err)
	pool := batchPool{limits: Limits{}.withDefaults()}
	batch := pool.get(testTenant)
	require.NoError(b, batch.scanV1(body))
	b.ReportAllocs()
	for b.Loop() {
		batch.valid = batch.valid[:0]
		require.NoError(b, batch.validate(anyTime()))
	}
	perSample(b)
}

// BenchmarkTally decides a batch that three owners accept.
func BenchmarkTally(b *testing.B) {
	batch := batchOf(b, benchRequest(1).Timeseries...)
	var members []ring.Member
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		members = append(members, ring.Member{Name: name})
	}
	r := ring.New(members, 3)
	b.ReportAllocs()
	for b.Loop() {
		p := group(batch, r)
		t := newTally(batch, 3, p.width)
		for n := range p.shares {
			t.record(&p.shares[n], Reply{All: Accepted})
		}
		t.finish()
		if o := t.outcome(); o.Written.Samples != benchSeries {
			b.Fatal(o)
		}
	}
	perSample(b)
}
