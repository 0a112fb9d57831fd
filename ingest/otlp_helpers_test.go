// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/penstock-io/penstock/ring"
)

// otlpNode is the OTLP handler of a cluster of one over a real TSDB.
type otlpNode struct {
	store   *testStore
	meta    *MetadataStore
	handler http.Handler
}

func newOTLPNode(t testing.TB, cfg promconfig.OTLPConfig, change ...func(*HandlerConfig)) *otlpNode {
	t.Helper()
	meta, err := OpenMetadata(MetadataConfig{Dir: t.TempDir()}, quietLogger(), nil)
	require.NoError(t, err)
	store := openStore(t)
	static := ring.NewStatic(ring.Member{Name: "a", State: ring.Active}, 1)
	d := NewDistributor(DistributorConfig{
		RF: 1, View: static.View, Hints: newMemHints(),
		Local: NewLocal(LocalConfig{Store: generationStore{store}, Metadata: meta}, nil),
	}, quietLogger(), nil)
	t.Cleanup(d.Close)
	handlerCfg := HandlerConfig{Writer: d, Tenant: tenantOf, Cache: NewSeriesCache(CacheConfig{}, nil)}
	for _, c := range change {
		c(&handlerCfg)
	}
	_, h := NewHandlers(handlerCfg, cfg, quietLogger(), nil)
	return &otlpNode{store, meta, h}
}

// generationStore tells which open of the TSDB its appenders are of, as a node's storage
// does: then the cache's references are used.
type generationStore struct{ *testStore }

func (s generationStore) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	app, err := s.testStore.AppenderV2(ctx, tenant)
	return generationAppender{app}, err
}

type generationAppender struct{ storage.AppenderV2 }

func (generationAppender) Generation() uint64 { return 1 }

// otlpOver is the OTLP handler over a Writer that a test makes up.
func otlpOver(w Writer, change ...func(*HandlerConfig)) http.Handler {
	cfg := HandlerConfig{Writer: w, Tenant: tenantOf}
	for _, c := range change {
		c(&cfg)
	}
	_, h := NewHandlers(cfg, promconfig.DefaultOTLPConfig, quietLogger(), nil)
	return h
}

// postOTLP sends a body; headers may change or, with an empty value, drop the usual ones.
func postOTLP(t testing.TB, h http.Handler, body []byte, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/otlp/v1/metrics", bytes.NewReader(body))
	r.Header.Set("Content-Type", mediaType)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func otlpBody(t testing.TB, md pmetric.Metrics) []byte {
	t.Helper()
	body, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	require.NoError(t, err)
	return body
}

func gzipped(t testing.TB, body []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	_, err := z.Write(body)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return buf.Bytes()
}

// partialSuccess decodes the answer to a protobuf request that was a 200.
func partialSuccess(t testing.TB, w *httptest.ResponseRecorder) pmetricotlp.ExportPartialSuccess {
	t.Helper()
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, mediaType, w.Header().Get("Content-Type"))
	resp := pmetricotlp.NewExportResponse()
	require.NoError(t, resp.UnmarshalProto(w.Body.Bytes()))
	return resp.PartialSuccess()
}

// statusMessage decodes the google.rpc.Status of a failure.
func statusMessage(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	c := cursor{b: w.Body.Bytes()}
	field, typ, err := c.tag()
	require.NoError(t, err)
	require.Equal(t, int32(2), field)
	msg, err := c.message(typ)
	require.NoError(t, err)
	require.True(t, c.done())
	return string(msg)
}

// oneScope returns the metrics of one resource of a service "shop/cart", and their place.
func oneScope(attrs ...string) (pmetric.Metrics, pmetric.MetricSlice) {
	md := pmetric.NewMetrics()
	return md, addResource(md, append([]string{"service.name", "cart", "service.namespace", "shop", "service.instance.id", "cart-1"}, attrs...)...)
}

func addResource(md pmetric.Metrics, attrs ...string) pmetric.MetricSlice {
	rm := md.ResourceMetrics().AppendEmpty()
	putAll(rm.Resource().Attributes(), attrs...)
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("otel/test")
	sm.Scope().SetVersion("1.2")
	putAll(sm.Scope().Attributes(), "scope.attr", "s")
	return sm.Metrics()
}

func putAll(m pcommon.Map, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		m.PutStr(pairs[i], pairs[i+1])
	}
}

func named(ms pmetric.MetricSlice, name, unit string) pmetric.Metric {
	m := ms.AppendEmpty()
	m.SetName(name)
	m.SetUnit(unit)
	m.SetDescription("What " + name + " is.")
	return m
}

func addGauge(ms pmetric.MetricSlice, name string, at time.Time, v float64, attrs ...string) {
	p := named(ms, name, "").SetEmptyGauge().DataPoints().AppendEmpty()
	p.SetTimestamp(pcommon.NewTimestampFromTime(at))
	p.SetDoubleValue(v)
	putAll(p.Attributes(), attrs...)
}

func addSum(ms pmetric.MetricSlice, name string, t pmetric.AggregationTemporality) pmetric.NumberDataPointSlice {
	s := named(ms, name, "1").SetEmptySum()
	s.SetIsMonotonic(true)
	s.SetAggregationTemporality(t)
	return s.DataPoints()
}

// storedExemplars returns all exemplars of a store as text.
func (s *testStore) storedExemplars(t testing.TB) []string {
	t.Helper()
	q, err := s.db.ExemplarQuerier(t.Context())
	require.NoError(t, err)
	res, err := q.Select(math.MinInt64, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")})
	require.NoError(t, err)
	var out []string
	for _, r := range res {
		for _, e := range r.Exemplars {
			out = append(out, r.SeriesLabels.String()+" "+e.Labels.String()+" "+time.UnixMilli(e.Ts).UTC().String()+" "+formatFloat(e.Value))
		}
	}
	return out
}
