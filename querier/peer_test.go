// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
)

// hang replaces a member by one that accepts requests and says nothing until it is released.
func hang(t *testing.T, c *cluster, i int) (asked <-chan struct{}, release func()) {
	ch, done := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.replace(t, i, http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(ch) })
		<-done
	}))
	return ch, sync.OnceFunc(func() { close(done) })
}

// cutAfter proxies a member and cuts the connection after n bytes of the body of an answer.
type cutAfter struct {
	next http.Handler
	n    int
}

type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		_, _ = w.ResponseWriter.Write(p[:w.left])
		w.Flush()
		panic(http.ErrAbortHandler)
	}
	w.left -= len(p)
	return w.ResponseWriter.Write(p)
}

func (w *cutWriter) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

func (h cutAfter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.next.ServeHTTP(&cutWriter{w, h.n}, r)
}

// TestCutStreamIsMissing: wherever a peer's stream breaks the peer counts as missing, and the answer is never short.
func TestCutStreamIsMissing(t *testing.T) {
	c := newCluster(t, 3, 3)
	want := floats(0, 100_000, 1000, func(i int64) float64 { return float64(i) })
	for i, name := range []string{"a", "b", "c"} {
		c.stores[1].write(t, lset(name), want...)
		if i > 0 { // m1 alone has all; what it does not deliver is noticed.
			c.stores[2].write(t, lset(name), want...)
		}
	}
	handler := NewPeerHandler(PeerHandlerConfig{Local: c.stores[1], Tenant: tenantOf}, quiet(), nil)
	whole := recordRead(t, handler)
	for n := 0; n < len(whole); n += 1 + n/20 {
		c.replace(t, 1, cutAfter{handler, n})
		a := c.query(t, tenantCtx(), 0, 200_000, nil, all())
		require.NoError(t, a.err)
		require.Len(t, a.series, 2, "nothing of a stream cut after %d bytes may be used", n)
		require.InDelta(t, 1, testutil.ToFloat64(c.Querier.metrics.peerRequests.WithLabelValues(opRead, "failed")), 0, "cut after %d bytes", n)
		c.Querier.metrics.peerRequests.Reset()
	}
	c.replace(t, 1, cutAfter{handler, len(whole)})
	require.Len(t, c.query(t, tenantCtx(), 0, 200_000, nil, all()).series, 3, "uncut")

	c.stop(2)
	c.replace(t, 1, cutAfter{handler, len(whole) / 2})
	var incomplete *IncompleteError
	require.ErrorAs(t, c.query(t, tenantCtx(), 0, 200_000, nil, all()).err, &incomplete)
}

// recordRead returns the body of a read of everything.
func recordRead(t *testing.T, h http.Handler) []byte {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, readRequest(t))
	require.Equal(t, http.StatusOK, w.Code)
	return w.Body.Bytes()
}

func readRequest(t *testing.T) *http.Request {
	query, err := remote.ToQuery(0, 200_000, []*matcher{all()}, nil)
	require.NoError(t, err)
	raw, err := (&prompb.ReadRequest{
		Queries: []*prompb.Query{query}, AcceptedResponseTypes: []prompb.ReadRequest_ResponseType{prompb.ReadRequest_STREAMED_XOR_CHUNKS},
	}).Marshal()
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, pathPrefix+opRead, strings.NewReader(string(snappy.Encode(nil, raw))))
	r.Header.Set(headerProtocol, protocolVersion)
	r.Header.Set(headerTenant, testTenant)
	return r
}

// TestCleanEndWithoutTrailerIsMissing: a stream that ends well but early, as behind a proxy that hides a reset.
func TestCleanEndWithoutTrailerIsMissing(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.stores[1].write(t, labels.FromStrings("__name__", "a", "long", strings.Repeat("x", frameBytesWanted)), tsample{t: 1, f: 1})
	c.stores[1].write(t, lset("b"), tsample{t: 1, f: 1})
	body := recordRead(t, NewPeerHandler(PeerHandlerConfig{Local: c.stores[1], Tenant: tenantOf}, quiet(), nil))
	length, size := binary.Uvarint(body)
	first := size + 4 + int(length) // Length, checksum, frame.
	require.Less(t, first, len(body))
	for name, cut := range map[string][]byte{"at a frame": body[:first], "at a checksum": body[:first+1], "everything": body} {
		c.replace(t, 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(headerProtocol, protocolVersion)
			w.Header().Set(headerLocalStart, "0")
			_, _ = w.Write(cut)
		}))
		a := c.query(t, tenantCtx(), 0, 10, nil, all())
		require.NoError(t, a.err, name)
		require.Empty(t, a.series, name)
	}
}

// TestBadPeers: whatever a peer says that is not the protocol makes it missing.
func TestBadPeers(t *testing.T) {
	good := func(w http.ResponseWriter) {
		w.Header().Set(headerProtocol, protocolVersion)
		w.Header().Set(headerLocalStart, "0")
	}
	for name, tc := range map[string]struct {
		answer func(w http.ResponseWriter)
		reason string
	}{
		"other service":  {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "hello") }, `it speaks protocol ""`},
		"other version":  {func(w http.ResponseWriter) { w.Header().Set(headerProtocol, "2") }, `it speaks protocol "2"`},
		"no local start": {func(w http.ResponseWriter) { w.Header().Set(headerProtocol, "1") }, headerLocalStart},
		"not allowed":    {func(w http.ResponseWriter) { http.Error(w, "signature is wrong", http.StatusUnauthorized) }, "status 401: signature is wrong"},
		"garbage":        {func(w http.ResponseWriter) { good(w); _, _ = io.WriteString(w, "\x05xxxxhello") }, "checksum"},
		"huge frame":     {func(w http.ResponseWriter) { good(w); _, _ = io.WriteString(w, "\xff\xff\xff\xff\x7f") }, "exceeded the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 2, 2)
			c.replace(t, 1, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { tc.answer(w) }))
			a := c.query(t, tenantCtx(), 0, 10, nil, all())
			require.ErrorContains(t, a.err, "m1 (")
			require.ErrorContains(t, a.err, tc.reason)
		})
	}
}

func TestSilentPeerIsMissing(t *testing.T) {
	c := newCluster(t, 2, 2, func(cfg *Config) { cfg.PeerTimeout = 20 * time.Millisecond })
	_, release := hang(t, c, 1)
	defer release()
	require.ErrorContains(t, c.query(t, tenantCtx(), 0, 10, nil, all()).err, "m1 ("+errSilent.Error())
}

// TestEveryByteIsASignOfLife: a peer that keeps sending is waited for, however long it takes in all.
func TestEveryByteIsASignOfLife(t *testing.T) {
	signs := 0
	body := &meteredBody{body: iotest.OneByteReader(strings.NewReader("abc")), left: 10, alive: func() { signs++ }}
	_, err := io.ReadAll(body)
	require.NoError(t, err)
	require.Equal(t, 3, signs)
}

// TestTooLargeAnswerEndsTheQuery: it is refused by its limit, not taken for a missing member.
func TestTooLargeAnswerEndsTheQuery(t *testing.T) {
	c := newCluster(t, 3, 3, func(cfg *Config) { cfg.MaxPeerBytes = 500 })
	for _, s := range c.stores {
		s.write(t, lset("a"), floats(0, 1_000_000, 1000, func(i int64) float64 { return math.Sqrt(float64(i)) })...)
	}
	a := c.query(t, WithPartialResponse(tenantCtx(), true), 0, math.MaxInt64, nil, all())
	require.ErrorContains(t, a.err, "exceeds 500 bytes")
	require.Empty(t, a.series)
}

// TestCancelledQuery: the caller's reason to stop is not a peer's fault.
func TestCancelledQuery(t *testing.T) {
	c := newCluster(t, 2, 2)
	asked, release := hang(t, c, 1)
	defer release()
	ctx, cancel := context.WithCancel(tenantCtx())
	go func() {
		<-asked
		cancel()
	}()
	require.ErrorIs(t, c.query(t, ctx, 0, 10, nil, all()).err, context.Canceled)
}

// TestLargeSeriesIsSplitAndJoined: a series of several frames comes back as one.
func TestLargeSeriesIsSplitAndJoined(t *testing.T) {
	c := newCluster(t, 2, 2)
	rnd := seeded(t)
	want := floats(0, 250_000*1000, 1000, func(int64) float64 { return rnd.Float64() }) // More than 2 MiB that do not compress.
	c.stores[1].write(t, lset("b"), want[:10]...)
	for part := range slices.Chunk(want, 1000) {
		c.stores[1].write(t, lset("a"), part...)
	}
	p := &peers{client: &http.Client{}, silence: time.Minute, maxBytes: DefaultMaxPeerBytes, metrics: newMetrics(nil), logger: quiet()}
	set, _, err := p.read(tenantCtx(), c.members.Members[1], span{0, math.MaxInt64}, true, nil, []*matcher{all()})
	require.NoError(t, err)
	require.GreaterOrEqual(t, set.(*bufferedSet).frames, 3, "of which series b is one")
	require.Len(t, set.(*bufferedSet).series, 2)

	a := c.query(t, tenantCtx(), 0, math.MaxInt64, nil, all())
	require.NoError(t, a.err)
	requireSame(t, want, a.series[lset("a").String()])
	requireSame(t, want[:10], a.series[lset("b").String()])
}

// TestPeerHandlerStatuses: what is wrong before the first byte has a status of its own.
func TestPeerHandlerStatuses(t *testing.T) {
	s := newStore(t)
	h := NewPeerHandler(PeerHandlerConfig{Local: s, Tenant: func(r *http.Request) (string, error) {
		if r.Header.Get(headerTenant) == "" {
			return "", errors.New("no tenant")
		}
		return tenantOf(r)
	}}, quiet(), nil)
	f := func(operation, form string, change func(*http.Request), want int, says string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, pathPrefix+operation, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set(headerProtocol, protocolVersion)
		r.Header.Set(headerTenant, testTenant)
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, want, w.Code)
		require.Contains(t, w.Body.String(), says)
		require.Equal(t, protocolVersion, w.Header().Get(headerProtocol))
	}
	ok := "start=0&end=10&match[]=" + url.QueryEscape(`{a="b"}`)
	f(opLabels, ok, nil, 200, "success")
	f(opLabels, ok, func(r *http.Request) { r.Header.Del(headerTenant) }, 400, "no tenant")
	f(opLabels, ok, func(r *http.Request) { r.Header.Set(headerProtocol, "9") }, 400, `protocol "9"`)
	f(opLabels, "start=x", nil, 400, "start is not a time")
	f(opLabels, "start=0&end=y", nil, 400, "end is not a time")
	f(opLabels, ok+"&limit=-1", nil, 400, "limit")
	f(opSeries, ok+"&match[]=%7B", nil, 400, "parse error")
	f(opSeries, "start=0&end=1", nil, 400, "0 selectors")
	f(opRead, "not snappy", nil, 400, "decode read request")
	f(opRead, string(snappy.Encode(nil, nil)), nil, 400, "one query")
	s.opening.Store(true)
	f(opLabels, ok, nil, 503, errLocalNotReady.Error())
	s.opening.Store(false)
	s.broken = errors.New("disk on fire")
	f(opLabels, ok, nil, 503, "disk on fire")
	f(opExemplars, ok, nil, 503, "disk on fire")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, readRequest(t))
	require.Equal(t, 503, w.Code)
}

// TestPeerHandlerAbortsMidStream: an error after the first frame is seen by the peer as a broken connection, one before it as an error.
func TestPeerHandlerAbortsMidStream(t *testing.T) {
	s := newStore(t)
	s.write(t, lset("a"), tsample{t: 1, f: 1})
	w := httptest.NewRecorder()
	NewPeerHandler(PeerHandlerConfig{Local: failing{s}, Tenant: tenantOf}, quiet(), nil).ServeHTTP(w, readRequest(t))
	require.Equal(t, http.StatusInternalServerError, w.Code)

	for i := range 5 {
		s.write(t, labels.FromStrings("__name__", "a", "long", strings.Repeat(string(rune('a'+i)), frameBytesWanted/4)), tsample{t: 1, f: 1})
	}
	h := NewPeerHandler(PeerHandlerConfig{Local: failing{s}, Tenant: tenantOf}, quiet(), nil)
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(httptest.NewRecorder(), readRequest(t)) })
}

// TestAnswersAreJSON: what is not a read is Prometheus' envelope, so that people can look at it with curl.
func TestAnswersAreJSON(t *testing.T) {
	s := newStore(t)
	s.write(t, lset("a"), tsample{t: 1, f: 1})
	r := httptest.NewRequest(http.MethodPost, pathPrefix+opValues+"?start=0&end=10&label=__name__", nil)
	r.Header.Set(headerProtocol, protocolVersion)
	r.Header.Set(headerTenant, testTenant)
	w := httptest.NewRecorder()
	NewPeerHandler(PeerHandlerConfig{Local: s, Tenant: tenantOf}, quiet(), nil).ServeHTTP(w, r)
	var got map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, map[string]any{"status": "success", "data": []any{"a"}}, got)
}

// TestUnreachablePort: a peer that is gone without a trace.
func TestUnreachablePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	c := newCluster(t, 2, 2)
	c.members.Members[1].URL = "http://" + addr
	require.ErrorContains(t, c.query(t, tenantCtx(), 0, 10, nil, all()).err, "connection refused")
}

// TestErrorsShowNoAddress: what users read names members, not where they are.
func TestErrorsShowNoAddress(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	addr := srv.Listener.Addr().String()
	srv.Close()
	_, err := (&http.Client{}).Post("http://"+addr+"/", "text/plain", nil)
	require.ErrorContains(t, err, addr)
	got := withoutAddress(err)
	require.ErrorContains(t, got, "refused")
	require.NotContains(t, got.Error(), addr)
	require.NoError(t, withoutAddress(nil))
}
