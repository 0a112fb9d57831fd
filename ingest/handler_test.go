// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// TestHandlerRefusesRequests are the requests that are refused as a whole: exact
// status, and what the text must say.
func TestHandlerRefusesRequests(t *testing.T) {
	store := openStore(t)
	h := oneNode(t, store)
	good := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "never")}})
	goodV2 := encodeV2(t, &writev2.Request{
		Symbols:    []string{"", "__name__", "never"},
		Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: nowMillis()}}}},
	})
	bomb := binary.AppendUvarint(nil, 4<<30-1)
	framed := []byte("\xff\x06\x00\x00sNaPpY")
	pb := func(raw ...byte) []byte { return snappy.Encode(nil, raw) }

	f := func(name, contentType string, body []byte, status int, text string, headers ...string) {
		t.Helper()
		w := post(t, h, contentType, body, headers...)
		if w.Code != status || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: got %d %q, want %d %q", name, w.Code, w.Body.String(), status, text)
		}
		if w.Body.Len() > answerBytesMax {
			t.Errorf("%s: answer has %d bytes", name, w.Body.Len())
		}
	}
	// Media types and codings.
	f("other type", "application/json", good, 415, `unsupported content type "application/json"; send application/x-protobuf`)
	f("broken type", "application/x-protobuf; proto", good, 415, "unsupported content type")
	f("unknown proto", "application/x-protobuf;proto=foo.Bar", good, 415, `unknown proto message "foo.Bar"`)
	for _, coding := range []string{"gzip", "zstd", "identity"} {
		f(coding, typeV1, good, 415, "unsupported content encoding", "Content-Encoding", coding)
	}
	// Type before coding, coding before body, tenant before all of it.
	f("order", "text/plain", nil, 415, "content type", "Content-Encoding", "gzip")
	f("order", typeV1, nil, 415, "content encoding", "Content-Encoding", "gzip")
	f("tenant", "text/plain", good, 400, "tenant id must match", headerTenant, "bad")
	// Bodies.
	f("empty", typeV1, nil, 400, "empty body")
	f("no snappy", typeV1, []byte("hello, world"), 400, "not snappy block format")
	f("framed", typeV1, framed, 400, "not snappy block format")
	f("declared 4 GiB", typeV1, bomb, 413, "decoded size 4294967295 exceeds limit 16777216")
	f("impossible expansion", typeV1, append(binary.AppendUvarint(nil, 10<<20), 0), 400, "not snappy block format")
	f("too large", typeV1, make([]byte, DefaultBodyBytes+1), 413, "body exceeds 16777216 bytes")
	f("true bomb", typeV1, snappy.Encode(nil, make([]byte, DefaultDecodedBytes+1)), 413, "exceeds limit")
	f("2.0 typed 1.0", typeV1, goodV2, 400, "body does not match the declared message")
	f("1.0 typed 2.0", typeV2, good, 400, "body does not match the declared message")
	f("truncated", typeV1, pb(0x0a, 0x05, 0x01), 400, "cannot decode: truncated")
	f("huge length", typeV1, pb(0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f), 400, "cannot decode: truncated")
	f("negative length", typeV1, pb(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 400, "cannot decode: truncated")
	f("11 byte varint", typeV1, pb(0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01), 400, "cannot decode: varint")
	f("deep groups", typeV1, snappy.Encode(nil, bytes.Repeat([]byte{7<<3 | wireGroup}, 100_000)), 400, "nested deeper")
	f("first symbol", typeV2, encodeV2(t, &writev2.Request{Symbols: []string{"x"}}), 400, "first symbol must be empty")

	require.Empty(t, store.dump(t))
}

func TestHandlerMethodAndLengthHeaders(t *testing.T) {
	h := oneNode(t, openStore(t))
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodHead} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/api/v1/write", nil))
		require.Equal(t, http.StatusMethodNotAllowed, w.Code)
		require.Equal(t, http.MethodPost, w.Header().Get("Allow"))
	}
	// A length that is only declared is refused before a byte is read.
	r := httptest.NewRequest(http.MethodPost, "/api/v1/write", http.NoBody)
	r.ContentLength = 10 << 30
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

// TestHandlerMediaTypes are the spellings of one media type.
func TestHandlerMediaTypes(t *testing.T) {
	store := openStore(t)
	h := oneNode(t, store)
	ts := nowMillis()
	for i, contentType := range []string{
		typeV2,
		"application/x-protobuf; proto=io.prometheus.write.v2.Request",
		`application/x-protobuf ; proto="io.prometheus.write.v2.Request"`,
		"Application/X-Protobuf;PROTO=io.prometheus.write.v2.Request",
	} {
		name := "m" + strconv.Itoa(i)
		body := encodeV2(t, &writev2.Request{
			Symbols:    []string{"", "__name__", name},
			Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: ts, Value: 1}}}},
		})
		w := post(t, h, contentType, body)
		require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		require.Equal(t, "1", w.Header().Get(headerSamplesWritten))
		require.Contains(t, store.dump(t), `{__name__="`+name+`"}`)
	}
	// The type may be absent, and codings have no case.
	v1 := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(ts, 1, "__name__", "v1")}})
	require.Equal(t, http.StatusNoContent, post(t, h, "", v1, "Content-Encoding", "SNAPPY").Code)
	require.Equal(t, http.StatusNoContent, post(t, h, "application/x-protobuf;proto=prometheus.WriteRequest", v1).Code)
	require.Contains(t, store.dump(t), `{__name__="v1"}`)
}

// TestHandlerPartialWrites sends one bad series between two good ones, in 1.0: the
// good ones are stored and the answer says what was wrong.
func TestHandlerPartialWrites(t *testing.T) {
	now := nowMillis()
	badHistogram := intHistogram()
	badHistogram.Count = 3
	f := func(want string, bad prompb.TimeSeries) {
		t.Helper()
		store := openStore(t)
		h := oneNode(t, store)
		// The newest sample of "twice" is there, for the cases about time.
		first := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(now, 1, "__name__", "twice")}})
		require.Equal(t, http.StatusNoContent, post(t, h, typeV1, first).Code)

		w := post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
			seriesV1(now, 1, "__name__", "good1"), bad, seriesV1(now, 2, "__name__", "good2"),
		}}))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), want) {
			t.Errorf("got %d %q, want 400 %q", w.Code, w.Body, want)
		}
		require.Empty(t, w.Header().Get(headerSamplesWritten), "1.0 has no such header")
		got := store.dump(t)
		require.Equal(t, map[string][]storedSample{
			`{__name__="good1"}`: {float(now, 1)},
			`{__name__="good2"}`: {float(now, 2)},
			`{__name__="twice"}`: {float(now, 1)},
		}, got)
	}
	long := strings.Repeat("x", DefaultLabelValueBytes+1)
	many := []string{"__name__", "many"}
	for i := range 100 {
		many = append(many, "l"+strconv.Itoa(i), "v")
	}
	f(`duplicate label "a"`, seriesV1(now, 1, "__name__", "bad", "a", "1", "a", "2"))
	f("no metric name", seriesV1(now, 1, "a", "1"))
	f("no metric name", seriesV1(now, 1, "__name__", "", "a", "1"))
	f("empty label name", seriesV1(now, 1, "__name__", "bad", "", "1"))
	f("not valid UTF-8", seriesV1(now, 1, "__name__", "bad", "a", "\xff"))
	f("not valid UTF-8", seriesV1(now, 1, "__name__", "b\xffd"))
	f("series has 101 labels, limit 64", seriesV1(now, 1, many...))
	f(`value of label "a" has 4097 bytes, limit 4096`, seriesV1(now, 1, "__name__", "bad", "a", long))
	f("label name", seriesV1(now, 1, "__name__", "bad", long, "a"))
	f("no samples", prompb.TimeSeries{Labels: labelsV1("__name__", "bad")})
	f("too far in the future", seriesV1(now+11*60_000, 1, "__name__", "bad"))
	f("too far in the future", seriesV1(math.MaxInt64, 1, "__name__", "bad"))
	f("too far in the past", seriesV1(0, 1, "__name__", "bad"))
	f("too far in the past", seriesV1(math.MinInt64, 1, "__name__", "bad"))
	f("out-of-order window", seriesV1(now-3*3600_000, 1, "__name__", "bad"))
	f("duplicate timestamp, different value", seriesV1(now, 7, "__name__", "twice"))
	f("observations found in buckets", prompb.TimeSeries{Labels: labelsV1("__name__", "bad"), Histograms: []prompb.Histogram{prompb.FromIntHistogram(now, badHistogram)}})
	f("exemplar labels exceed 128 characters", prompb.TimeSeries{
		Labels:    labelsV1("__name__", "bad"),
		Exemplars: []prompb.Exemplar{{Labels: labelsV1("trace", strings.Repeat("é", 128)), Timestamp: now}},
	})
}

// TestHandlerAnswersAreSafe plants what would forge a line of a log.
func TestHandlerAnswersAreSafe(t *testing.T) {
	h := oneNode(t, openStore(t))
	var bad []prompb.TimeSeries
	for range 50 {
		bad = append(bad, seriesV1(nowMillis(), 1, "__name__", "x\nlevel=error\x00", "a\nb", strings.Repeat("é\n", 500), "a\nb", "2"))
	}
	w := post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{Timeseries: bad}))
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.LessOrEqual(t, w.Body.Len(), answerBytesMax)
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	require.LessOrEqual(t, strings.Count(w.Body.String(), "\n"), answerExamples+1)
	require.NotContains(t, w.Body.String(), "\x00")
	require.Contains(t, w.Body.String(), "50 of 50 series")
}

// TestHandlerBounds are requests that are small on the wire and large in memory.
func TestHandlerBounds(t *testing.T) {
	h := oneNode(t, openStore(t))
	repeat := func(n int, unit ...byte) []byte { return snappy.Encode(nil, bytes.Repeat(unit, n)) }
	f := func(contentType string, body []byte, text string) {
		t.Helper()
		w := post(t, h, contentType, body)
		if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), text) {
			t.Errorf("got %d %q, want 413 %q", w.Code, w.Body, text)
		}
	}
	f(typeV1, repeat(DefaultSeriesPerRequest+1, 0x0a, 0x00), "number of series")
	f(typeV2, repeat(DefaultSeriesPerRequest+1, 0x2a, 0x00), "number of series")
	f(typeV2, repeat(DefaultSymbolsPerRequest+1, 0x22, 0x00), "number of symbols")
	samples := bytes.Repeat([]byte{0x12, 0x00}, DefaultItemsPerRequest+1)
	f(typeV1, snappy.Encode(nil, appendEntry(nil, 1, samples)), "number of samples")

	// One long symbol, referenced over and over.
	req := &writev2.Request{Symbols: []string{"", "__name__", strings.Repeat("v", DefaultLabelValueBytes)}}
	for range 20_000 {
		req.Timeseries = append(req.Timeseries, writev2.TimeSeries{LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: 1}}})
	}
	f(typeV2, encodeV2(t, req), "size after writing out symbols")
}

func TestHandlerInflightBytes(t *testing.T) {
	block := make(chan struct{})
	entered := make(chan struct{})
	h := NewHandler(HandlerConfig{
		Tenant:           tenantOf,
		MaxInflightBytes: 100,
		Writer: writerFunc(func(*Batch) Outcome {
			entered <- struct{}{}
			<-block
			return Outcome{}
		}),
	}, quietLogger(), nil)
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", strings.Repeat("x", 200))}})
	done := make(chan int)
	go func() { done <- post(t, h, typeV1, body).Code }()
	<-entered

	w := post(t, h, typeV1, body)
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	after, err := strconv.Atoi(w.Header().Get("Retry-After"))
	require.NoError(t, err)
	require.True(t, after >= 1 && after <= 10, after)
	close(block)
	require.Equal(t, http.StatusNoContent, <-done)
}

type writerFunc func(*Batch) Outcome

func (f writerFunc) Write(_ context.Context, b *Batch) Outcome { return f(b) }

// TestHandlerClock uses the clock that is given.
func TestHandlerClock(t *testing.T) {
	store := openStore(t)
	past := time.Now().Add(-time.Hour)
	h := oneNode(t, store, func(c *HandlerConfig) { c.Now = func() time.Time { return past } })
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "x")}})
	require.Equal(t, http.StatusBadRequest, post(t, h, typeV1, body).Code)
}
