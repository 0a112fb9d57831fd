// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

const noneWritten = "0 0 0"

func specBodies(t *testing.T, name string) (v1, v2 []byte) {
	t.Helper()
	series := []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", name)}
	return encodeV1(t, &prompb.WriteRequest{Timeseries: series}), encodeV2(t, toV2(series))
}

func TestSpecMethods(t *testing.T) {
	t.Parallel()
	h := oneNode(t, openStore(t))
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, "/api/v1/write", nil))
		requireSpec(t, specAnswer{405, "method not allowed; send POST\n", ""}, w)
	}
}

// TestSpecMediaTypes: the content type alone chooses the message, in every spelling of
// it. The version header chooses nothing.
func TestSpecMediaTypes(t *testing.T) {
	t.Parallel()
	v1, v2 := specBodies(t, "x")
	f := func(contentType string, body []byte, want specAnswer, headers ...string) {
		t.Helper()
		store := openStore(t)
		requireSpec(t, want, post(t, oneNode(t, store), contentType, body, headers...))
		require.Equal(t, want.status == 204, len(store.dump(t)) == 1)
	}
	stored1, stored2 := specAnswer{204, "", ""}, specAnswer{204, "", "1 0 0"}
	f("application/x-protobuf", v1, stored1)
	f("", v1, stored1)
	f("application/x-protobuf;", v1, stored1)
	f("application/x-protobuf;proto=prometheus.WriteRequest", v1, stored1)
	f("application/x-protobuf; charset=utf-8", v1, stored1)
	f("application/x-protobuf;proto=io.prometheus.write.v2.Request", v2, stored2)
	f("application/x-protobuf; proto=io.prometheus.write.v2.Request", v2, stored2)
	f("application/x-protobuf ;\tproto=io.prometheus.write.v2.Request", v2, stored2)
	f(`application/x-protobuf;proto="io.prometheus.write.v2.Request"`, v2, stored2)
	f("APPLICATION/X-Protobuf;Proto=io.prometheus.write.v2.Request", v2, stored2)
	f(typeV1, v1, stored1, "X-Prometheus-Remote-Write-Version", "2.0.0")
	f(typeV2, v2, stored2, "X-Prometheus-Remote-Write-Version", "0.1.0")

	unsupported := func(quoted string) specAnswer {
		return specAnswer{415, "unsupported content type " + quoted + "; send application/x-protobuf\n", ""}
	}
	f("application/json", v1, unsupported(`"application/json"`))
	f("application/protobuf", v1, unsupported(`"application/protobuf"`))
	f("application/x-protobuf; proto", v1, unsupported(`"application/x-protobuf; proto"`))
	f("application/x-protobuf;proto=a;proto=b", v1, unsupported(`"application/x-protobuf;proto=a;proto=b"`))
	f("x\x00\n", v1, unsupported(`"x\x00\n"`))
	unknown := func(quoted string) specAnswer {
		return specAnswer{415, "unknown proto message " + quoted + "; send prometheus.WriteRequest or io.prometheus.write.v2.Request\n", ""}
	}
	f("application/x-protobuf;proto=io.prometheus.write.v3.Request", v2, unknown(`"io.prometheus.write.v3.Request"`))
	f("application/x-protobuf;proto=Prometheus.WriteRequest", v1, unknown(`"Prometheus.WriteRequest"`))
	f(`application/x-protobuf;proto=""`, v1, unknown(`""`))
}

func TestSpecCodings(t *testing.T) {
	t.Parallel()
	v1, v2 := specBodies(t, "x")
	h := oneNode(t, openStore(t))
	for _, coding := range []string{"snappy", "SNAPPY", " snappy ", ""} {
		requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, v1, "Content-Encoding", coding))
	}
	f := func(coding string) {
		t.Helper()
		body := "unsupported content encoding " + quote([]byte(coding)) + "; send snappy (block format)\n"
		requireSpec(t, specAnswer{415, body, ""}, post(t, h, typeV1, v1, "Content-Encoding", coding))
		requireSpec(t, specAnswer{415, body, noneWritten}, post(t, h, typeV2, v2, "Content-Encoding", coding))
	}
	f("gzip")
	f("zstd")
	f("identity")
	f("snappy, gzip")
	f("x-snappy-framed")
	// Two headers are one list.
	r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(v1))
	r.Header["Content-Encoding"] = []string{"snappy", "gzip"}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, 415, w.Code)
}

// TestSpecOrder breaks several rules at once: method, tenant, type, coding, declared
// size, body.
func TestSpecOrder(t *testing.T) {
	t.Parallel()
	h := oneNode(t, openStore(t))
	send := func(method string, headers ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/", http.NoBody)
		r.ContentLength = DefaultBodyBytes + 1
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, 405, send("PUT", headerTenant, "bad", "Content-Type", "text/plain", "Content-Encoding", "gzip").Code)
	tenant := "tenant id must match [A-Za-z0-9_-]{1,64}\n"
	requireSpec(t, specAnswer{400, tenant, ""}, send("POST", headerTenant, "bad", "Content-Type", "text/plain", "Content-Encoding", "gzip"))
	requireSpec(t, specAnswer{400, tenant, noneWritten}, send("POST", headerTenant, "bad", "Content-Type", typeV2))
	requireSpec(t, specAnswer{415, "unsupported content type \"text/plain\"; send application/x-protobuf\n", ""},
		send("POST", "Content-Type", "text/plain", "Content-Encoding", "gzip"))
	requireSpec(t, specAnswer{415, "unsupported content encoding \"gzip\"; send snappy (block format)\n", noneWritten},
		send("POST", "Content-Type", typeV2, "Content-Encoding", "gzip"))
	requireSpec(t, specAnswer{413, "body exceeds 16777216 bytes (max_request_bytes in --limits.config-file)\n", noneWritten}, send("POST", "Content-Type", typeV2))
}

// TestSpecBodies are bodies that are refused as a whole, in both versions.
func TestSpecBodies(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	h := oneNode(t, store)
	v1, v2 := specBodies(t, "never")
	f := func(contentType string, body []byte, status int, text string) {
		t.Helper()
		want := specAnswer{status, text + "\n", ""}
		if contentType == typeV2 {
			want.written = noneWritten
		}
		requireSpec(t, want, post(t, h, contentType, body))
	}
	both := func(body []byte, status int, text string) {
		t.Helper()
		f(typeV1, body, status, text)
		f(typeV2, body, status, text)
	}
	pb := func(raw ...byte) []byte { return snappy.Encode(nil, raw) }

	both(nil, 400, "empty body")
	const notSnappy = "cannot decompress: not snappy block format"
	both([]byte("hello, world"), 400, notSnappy)
	both([]byte("\xff\x06\x00\x00sNaPpY"), 400, notSnappy)
	both(v1[:len(v1)-1], 400, notSnappy)
	both(append(binary.AppendUvarint(nil, 10<<20), 0), 400, notSnappy)
	both(bytes.Repeat([]byte{0xff}, 11), 400, notSnappy)
	both(binary.AppendUvarint(nil, 4<<30-1), 413, "decoded size 4294967295 exceeds limit 16777216 (max_decoded_bytes in --limits.config-file)")
	both(snappy.Encode(nil, make([]byte, 31<<20)), 413, "decoded size 32505856 exceeds limit 16777216 (max_decoded_bytes in --limits.config-file)")
	both(make([]byte, DefaultBodyBytes+1), 413, "body exceeds 16777216 bytes (max_request_bytes in --limits.config-file)")

	const mismatch = "cannot decode: body does not match the declared message"
	f(typeV1, v2, 400, mismatch)
	f(typeV2, v1, 400, mismatch)
	// So is one that has both messages: half of it would be lost with a 2xx.
	raw1, err := snappy.Decode(nil, v1)
	require.NoError(t, err)
	raw2, err := snappy.Decode(nil, v2)
	require.NoError(t, err)
	both(snappy.Encode(nil, slices.Concat(raw1, raw2)), 400, mismatch)
	both(snappy.Encode(nil, slices.Concat(raw2, raw1)), 400, mismatch)

	for contentType, field := range map[string]byte{typeV1: 0x0a, typeV2: 0x2a} {
		long := []byte{field, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		f(contentType, pb(field, 0x05, 0x01), 400, "cannot decode: truncated message")
		f(contentType, pb(field), 400, "cannot decode: truncated message")
		f(contentType, pb(field, 0xff, 0xff, 0xff, 0xff, 0x7f), 400, "cannot decode: truncated message")
		f(contentType, snappy.Encode(nil, append(long[:10:10], 0x01)), 400, "cannot decode: truncated message") // -1
		f(contentType, snappy.Encode(nil, append(long[:10:10], 0xff, 0x01)), 400, "cannot decode: varint longer than 10 bytes")
		f(contentType, pb(field&^7, 0x01), 400, "cannot decode: wrong wire type")
		f(contentType, pb(0x00), 400, "cannot decode: illegal field tag")
		f(contentType, pb(7<<3|wireEnd), 400, "cannot decode: end of a group that was not opened")
		f(contentType, snappy.Encode(nil, bytes.Repeat([]byte{7<<3 | wireGroup}, 100_000)), 400, "cannot decode: groups nested deeper than 100")
	}
	f(typeV2, encodeV2(t, &writev2.Request{Symbols: []string{"x"}}), 400, "cannot decode: first symbol must be empty")
	require.Empty(t, store.dump(t))
}

// TestSpecEmptyMessages are legal: nothing was sent, and nothing was written.
func TestSpecEmptyMessages(t *testing.T) {
	t.Parallel()
	h := oneNode(t, openStore(t))
	empty := snappy.Encode(nil, nil)
	requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, empty))
	requireSpec(t, specAnswer{204, "", noneWritten}, post(t, h, typeV2, empty))
	requireSpec(t, specAnswer{204, "", noneWritten}, post(t, h, typeV2, encodeV2(t, &writev2.Request{Symbols: []string{""}})))
	// Fields that nobody knows, and groups of them, are passed over.
	unknown := snappy.Encode(nil, []byte{0x7a, 0x01, 'x', 15<<3 | wireGroup, 15<<3 | wireVarint, 1, 15<<3 | wireEnd})
	requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, unknown))
	requireSpec(t, specAnswer{204, "", noneWritten}, post(t, h, typeV2, unknown))
	// Metadata alone is a 1.0 request.
	requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, encodeV1(t, &prompb.WriteRequest{
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "up", Type: prompb.MetricMetadata_GAUGE, Help: "help"}},
	})))
}

// TestSpecReservedFields: the old place of created timestamps, field 6 of a 2.0 series,
// and the reserved fields of 1.0, are ignored.
func TestSpecReservedFields(t *testing.T) {
	t.Parallel()
	store := openStore(t)
	h := oneNode(t, store)
	now := nowMillis()
	withField6 := func(field int) []byte {
		var raw []byte
		switch field {
		case fieldV1Series:
			series := seriesV1(now, 1, "__name__", "one")
			msg, err := series.Marshal()
			require.NoError(t, err)
			raw = appendEntry(raw, field, append(msg, 6<<3|wireVarint, 0x7f))
			raw = append(raw, 2<<3|wireVarint, 1) // Cortex' source of a request
		default:
			req := toV2([]prompb.TimeSeries{seriesV1(now, 1, "__name__", "two")})
			msg, err := req.Timeseries[0].Marshal()
			require.NoError(t, err)
			for _, s := range req.Symbols {
				raw = appendEntry(raw, fieldV2Symbols, []byte(s))
			}
			raw = appendEntry(raw, field, append(msg, 6<<3|wireVarint, 0x7f))
		}
		return snappy.Encode(nil, raw)
	}
	requireSpec(t, specAnswer{204, "", ""}, post(t, h, typeV1, withField6(fieldV1Series)))
	requireSpec(t, specAnswer{204, "", "1 0 0"}, post(t, h, typeV2, withField6(fieldV2Series)))
	require.Equal(t, map[string][]storedSample{
		`{__name__="one"}`: {float(now, 1)}, `{__name__="two"}`: {float(now, 1)},
	}, store.dump(t))
}

// TestSpecDefect: a panic while a body is read is an answer that ends the retries.
func TestSpecDefect(t *testing.T) {
	t.Parallel()
	pool := batchPool{limits: Limits{}.withDefaults()}
	b := pool.get(testTenant)
	b.pool = nil // Whatever panics.
	b.bodyBuf = []byte{0x0a, 0x00}
	b.cache = &tenantCache{}
	err := b.parseOrRefuse(protoV1, anyTime())
	require.Equal(t, answer{status: 400, text: "cannot decode: this version cannot read the request"}, answerError(err))
}
