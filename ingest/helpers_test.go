// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

const testTenant = "team-a"

func quietLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

// testStore is a real TSDB as the storage of every tenant. It can be opened anew, which
// waits for the appends under way and gives it another generation.
type testStore struct {
	db         *tsdb.DB
	dir        string
	opts       *tsdb.Options
	generation uint64
	mu         sync.RWMutex
	// other has the stores of tenants that have one of their own.
	other map[string]*testStore
}

func openStore(t testing.TB, change ...func(*tsdb.Options)) *testStore {
	t.Helper()
	opts := tsdb.DefaultOptions()
	opts.OutOfOrderTimeWindow = (2 * time.Hour).Milliseconds()
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = 1000
	opts.IsolationDisabled = true
	opts.StripeSize = 64 // By default most of the time to open one goes into its locks.
	for _, f := range change {
		f(opts)
	}
	s := &testStore{dir: t.TempDir(), opts: opts}
	s.open(t)
	t.Cleanup(func() { require.NoError(t, s.db.Close()) })
	return s
}

func (s *testStore) open(t testing.TB) {
	t.Helper()
	var err error
	s.db, err = tsdb.Open(s.dir, quietLogger(), nil, s.opts, nil)
	require.NoError(t, err)
	s.db.DisableCompactions()
	s.generation++
}

func (s *testStore) reopen(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NoError(t, s.db.Close())
	s.open(t)
}

// renew opens the TSDB anew with all it has in blocks and nothing in its logs, so that
// it gives the references of the last open to other series.
func (s *testStore) renew(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if head := s.db.Head(); head.NumSeries() > 0 {
		require.NoError(t, s.db.CompactHead(tsdb.NewRangeHeadWithIsolationDisabled(head, head.MinTime(), head.MaxTime())))
		require.NoError(t, s.db.CompactOOOHead(t.Context()))
	}
	require.NoError(t, s.db.Close())
	for _, dir := range []string{"wal", "wbl", "chunks_head"} {
		require.NoError(t, os.RemoveAll(filepath.Join(s.dir, dir)))
	}
	s.open(t)
}

// withDB keeps the TSDB open while f uses it.
func (s *testStore) withDB(f func(*tsdb.DB)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.db)
}

func (s *testStore) AppenderV2(ctx context.Context, tenant string) (storage.AppenderV2, error) {
	if other := s.other[tenant]; other != nil {
		return other.AppenderV2(ctx, tenant)
	}
	s.mu.RLock()
	return &testAppender{s.db.AppenderV2(ctx), s}, nil
}

// testAppender keeps its TSDB open until it ends.
type testAppender struct {
	storage.AppenderV2
	store *testStore
}

func (a *testAppender) Generation() uint64 { return a.store.generation }

func (a *testAppender) Commit() error {
	defer a.store.mu.RUnlock()
	return a.AppenderV2.Commit()
}

func (a *testAppender) Rollback() error {
	defer a.store.mu.RUnlock()
	return a.AppenderV2.Rollback()
}

func (s *testStore) Appender(ctx context.Context, _ string) (storage.Appender, error) {
	s.mu.RLock()
	return &testExemplarAppender{s.db.Appender(ctx), s}, nil
}

type testExemplarAppender struct {
	storage.Appender
	store *testStore
}

func (a *testExemplarAppender) Commit() error {
	defer a.store.mu.RUnlock()
	return a.Appender.Commit()
}

func (a *testExemplarAppender) Rollback() error {
	defer a.store.mu.RUnlock()
	return a.Appender.Rollback()
}

func (s *testStore) ExemplarQuerier(ctx context.Context, _ string) (storage.ExemplarQuerier, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db.ExemplarQuerier(ctx)
}

// storedSample is one sample as a query returns it. Values are bits, so that NaNs
// compare.
type storedSample struct {
	t    int64
	bits uint64
	hist string
}

// dump returns everything the store has, by series.
func (s *testStore) dump(t testing.TB) map[string][]storedSample {
	t.Helper()
	q, err := s.db.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer q.Close()
	out := map[string][]storedSample{}
	set := q.Select(t.Context(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	for set.Next() {
		name := set.At().Labels().String()
		it := set.At().Iterator(nil)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			switch vt {
			case chunkenc.ValFloat:
				ts, v := it.At()
				out[name] = append(out[name], storedSample{t: ts, bits: math.Float64bits(v)})
			case chunkenc.ValHistogram:
				ts, h := it.AtHistogram(nil)
				out[name] = append(out[name], storedSample{t: ts, bits: math.Float64bits(h.Sum), hist: h.String()})
			case chunkenc.ValFloatHistogram:
				ts, h := it.AtFloatHistogram(nil)
				out[name] = append(out[name], storedSample{t: ts, bits: math.Float64bits(h.Sum), hist: "float " + h.String()})
			}
		}
		require.NoError(t, it.Err())
	}
	require.NoError(t, set.Err())
	return out
}

// traces returns the exemplars that the store has by series: the value of their label,
// in the order of time.
func (s *testStore) traces(t testing.TB) map[string][]string {
	t.Helper()
	q, err := s.db.ExemplarQuerier(t.Context())
	require.NoError(t, err)
	results, err := q.Select(math.MinInt64, math.MaxInt64, []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+")})
	require.NoError(t, err)
	out := map[string][]string{}
	for _, r := range results {
		for _, e := range r.Exemplars {
			out[r.SeriesLabels.String()] = append(out[r.SeriesLabels.String()], e.Labels.Get("trace"))
		}
	}
	return out
}

func float(t int64, v float64) storedSample {
	return storedSample{t: t, bits: math.Float64bits(v)}
}

func staleNaN() float64 { return math.Float64frombits(value.StaleNaN) }

// post sends a body that is compressed already.
func post(t testing.TB, h http.Handler, contentType string, body []byte, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Encoding", "snappy")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	typeV1 = "application/x-protobuf"
	typeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

func encodeV1(t testing.TB, req *prompb.WriteRequest) []byte {
	t.Helper()
	data, err := req.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, data)
}

func encodeV2(t testing.TB, req *writev2.Request) []byte {
	t.Helper()
	data, err := req.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, data)
}

// labelsV1 makes labels of pairs, in the order given.
func labelsV1(pairs ...string) []prompb.Label {
	var out []prompb.Label
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, prompb.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func seriesV1(ts int64, v float64, pairs ...string) prompb.TimeSeries {
	return prompb.TimeSeries{Labels: labelsV1(pairs...), Samples: []prompb.Sample{{Timestamp: ts, Value: v}}}
}

func intHistogram() *histogram.Histogram {
	return &histogram.Histogram{
		Schema: 1, Count: 10, Sum: 12.5, ZeroThreshold: 0.001, ZeroCount: 2,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}, {Offset: 1, Length: 1}}, PositiveBuckets: []int64{1, 1, -1},
		NegativeSpans: []histogram.Span{{Offset: 0, Length: 2}}, NegativeBuckets: []int64{3, -2},
	}
}

func customHistogram() *histogram.Histogram {
	return &histogram.Histogram{
		Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 7,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []int64{1, 1, 1},
		CustomValues: []float64{0.5, 1, 2},
	}
}

// nameOf returns the metric name of a series. Unlike a batch's own decoder it may be
// used by several owners at the same time.
func nameOf(b *Batch, s *Series) string {
	d := newLabelDecoder()
	return b.labelsOf(s, &d).Get("__name__")
}

func nowMillis() int64 { return time.Now().UnixMilli() }
