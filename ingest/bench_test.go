// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// benchSeries is a batch as Prometheus sends it: 2,000 samples of as many series,
// with 11 labels and about 240 label bytes each.
const benchSeries = 2000

func benchRequest(ts int64) *prompb.WriteRequest { return benchRequestOf(ts, benchSeries) }

func benchRequestOf(ts int64, series int) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for i := range series {
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

// benchLoad makes one request after the other, each a millisecond later than the one
// before: samples that a TSDB has already are another path, and a dearer one.
type benchLoad struct {
	contentType string
	message     []byte // decompressed
	times       []int  // where it has timestamps
	now         int64
	body        []byte
}

func newBenchLoad(t testing.TB, v2 bool) *benchLoad { return newBenchLoadOf(t, v2, benchSeries) }

func newBenchLoadOf(t testing.TB, v2 bool, series int) *benchLoad {
	t.Helper()
	now := time.Now().Add(-time.Hour).UnixMilli()
	return newBenchLoadFrom(t, v2, benchRequestOf(now, series), now)
}

// newBenchLoadFrom makes requests like req, all of whose samples are of the time now.
func newBenchLoadFrom(t testing.TB, v2 bool, req *prompb.WriteRequest, now int64) *benchLoad {
	t.Helper()
	l := &benchLoad{contentType: typeV1, now: now}
	l.body = encodeV1(t, req)
	if v2 {
		l.contentType, l.body = typeV2, encodeV2(t, toV2(req.Timeseries))
	}
	var err error
	l.message, err = snappy.Decode(nil, l.body)
	require.NoError(t, err)
	stamp := binary.AppendUvarint(nil, uint64(l.now))
	for i := 0; i < len(l.message); i++ {
		if bytes.HasPrefix(l.message[i:], stamp) {
			l.times = append(l.times, i)
		}
	}
	require.Len(t, l.times, len(req.Timeseries))
	return l
}

// next returns a request that is valid until the next call.
func (l *benchLoad) next() *http.Request {
	l.now++
	for _, i := range l.times {
		binary.PutUvarint(l.message[i:], uint64(l.now))
	}
	l.body = snappy.Encode(l.body[:cap(l.body)], l.message)
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(l.body))
	r.Header.Set("Content-Type", l.contentType)
	r.Header.Set("Content-Encoding", "snappy")
	return r
}

// BenchmarkHandlerLocal is one request from the HTTP handler to the commit of a real
// TSDB with its write-ahead log, in a cluster of one, once the series exist.
func BenchmarkHandlerLocal(b *testing.B) {
	for _, version := range []string{"1.0", "2.0"} {
		b.Run(version, func(b *testing.B) {
			benchmarkHandler(b, cachedNode(steadyStore{openStore(b)}), newBenchLoad(b, version == "2.0"))
		})
	}
}

// BenchmarkHandlerReplicated is the same with RF=3 and peers that answer at once: what
// a coordinator spends that owns everything itself.
func BenchmarkHandlerReplicated(b *testing.B) {
	for _, version := range []string{"1.0", "2.0"} {
		b.Run(version, func(b *testing.B) {
			benchmarkHandler(b, replicatedNode(b, steadyStore{openStore(b)}), newBenchLoad(b, version == "2.0"))
		})
	}
}

// steadyStore is a TSDB that tells which open it is, as the real store does: series are
// appended by reference.
type steadyStore struct{ *testStore }

type steadyAppender struct{ storage.AppenderV2 }

func (steadyAppender) Generation() uint64 { return 1 }

func (s steadyStore) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	app, err := s.testStore.AppenderV2(ctx, tenant)
	return steadyAppender{app}, err
}

// cachedNode is a handler over a cluster of one, with a series cache.
func cachedNode(store AppenderSource, change ...func(*HandlerConfig)) http.Handler {
	self := ring.Member{Name: "a", State: ring.Active}
	view := &ring.View{Self: "a", Ring: ring.New([]ring.Member{self}, 1), Members: []ring.MemberStatus{{Member: self, Alive: true}}}
	d := NewDistributor(DistributorConfig{
		RF: 1, View: func() *ring.View { return view }, Hints: newMemHints(),
		Local: NewLocal(LocalConfig{Store: store}, nil),
	}, quietLogger(), nil)
	cfg := HandlerConfig{Writer: d, Tenant: tenantOf, Cache: NewSeriesCache(CacheConfig{}, nil)}
	for _, f := range change {
		f(&cfg)
	}
	return NewHandler(cfg, quietLogger(), nil)
}

// replicatedNode is one of three members whose peers accept everything.
func replicatedNode(b testing.TB, store AppenderSource) http.Handler {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(srv.Close)
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
		Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, WriteBufferSize: 128 << 10}},
		Local:  NewLocal(LocalConfig{Store: store}, nil),
	}, quietLogger(), nil)
	b.Cleanup(d.Close)
	return NewHandler(HandlerConfig{Writer: d, Tenant: tenantOf, Cache: NewSeriesCache(CacheConfig{}, nil)}, quietLogger(), nil)
}

func benchmarkHandler(b *testing.B, h http.Handler, load *benchLoad) {
	send := func(r *http.Request) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(b, http.StatusNoContent, w.Code)
	}
	send(load.next()) // Series are created.
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := load.next()
		b.StartTimer()
		send(r)
	}
	perSample(b)
}

// BenchmarkScan is the walk over a decompressed body, without labels.
func BenchmarkScan(b *testing.B) {
	for _, proto := range []protocol{protoV1, protoV2} {
		b.Run(proto.String(), func(b *testing.B) {
			body := newBenchLoad(b, proto == protoV2).message
			var err error
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

// BenchmarkValidate decodes labels and computes keys: what the series cache saves.
func BenchmarkValidate(b *testing.B) {
	body := newBenchLoad(b, false).message
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

// BenchmarkTally decides a batch that all owners accept, of three members and of five.
func BenchmarkTally(b *testing.B) {
	batch := batchOf(b, benchRequest(1).Timeseries...)
	for _, names := range []string{"abc", "abcde"} {
		b.Run(fmt.Sprint(len(names)), func(b *testing.B) {
			var members []ring.Member
			for _, name := range strings.Split(names, "") {
				members = append(members, ring.Member{Name: name})
			}
			r := ring.New(members, 3)
			b.ReportAllocs()
			for b.Loop() {
				p := group(batch, r)
				t := newTally(batch, 3, p)
				for n := range p.shares {
					t.record(&p.shares[n], Reply{All: Accepted})
				}
				t.finish()
				if o := t.outcome(); o.Written.Samples != benchSeries {
					b.Fatal(o)
				}
			}
			perSample(b)
		})
	}
}

// BenchmarkParse is what a request costs before any owner is asked, when the cache knows
// its series: scanned, hashed, looked up and validated.
func BenchmarkParse(b *testing.B) {
	for _, proto := range []protocol{protoV1, protoV2} {
		b.Run(proto.String(), func(b *testing.B) {
			body := newBenchLoad(b, proto == protoV2).message
			pool := batchPool{limits: Limits{}.withDefaults(), cache: NewSeriesCache(CacheConfig{}, nil), strict: true}
			b.ReportAllocs()
			for b.Loop() {
				batch := pool.get(testTenant)
				batch.bodyBuf = append(batch.bodyBuf[:0], body...)
				require.NoError(b, batch.parse(proto, anyTime()))
				batch.release()
			}
			perSample(b)
		})
	}
}
