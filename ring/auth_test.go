// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

var testKey = bytes.Repeat([]byte{7}, 32)

// headerOf returns the signature that a member puts on a request.
func headerOf(t *testing.T, a *Auth, method, url string) string {
	t.Helper()
	var got string
	rt := a.RoundTripper(roundTripFunc(func(r *http.Request) (*http.Response, error) {
		got = r.Header.Get(AuthHeader)
		return &http.Response{}, nil
	}))
	r := httptest.NewRequest(method, url, nil)
	_, err := rt.RoundTrip(r)
	require.NoError(t, err)
	require.Empty(t, r.Header.Get(AuthHeader), "a RoundTripper must not change its request")
	return got
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAuthLetsMembersThroughARealServer(t *testing.T) {
	server := httptest.NewServer(NewAuth(testKey, "a", nil).Middleware(http.StripPrefix("/internal", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))))
	defer server.Close()
	client := server.Client()
	client.Transport = NewAuth(testKey, "b", nil).RoundTripper(client.Transport)
	for _, uri := range []string{"/internal/v1/write", "/internal/v1/label/a%2Fb/values?match[]={a=%22b%22}&x=%20", "/internal/"} {
		resp, err := client.Post(server.URL+uri, "", strings.NewReader("body"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusNoContent, resp.StatusCode, uri)
	}
}

func TestAuthRefuses(t *testing.T) {
	now := time.Unix(1_795_176_000, 0)
	reg := prometheus.NewPedanticRegistry()
	server := NewAuth(testKey, "a", reg)
	client := NewAuth(testKey, "b", nil)
	stranger := NewAuth(bytes.Repeat([]byte{8}, 32), "b", nil)
	server.now = func() time.Time { return now }
	client.now, stranger.now = server.now, server.now
	handler := server.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))

	f := func(header, method, uri string, wantStatus int, wantReason string) {
		t.Helper()
		counter := server.failures.WithLabelValues("missing")
		if wantReason != "" {
			counter = server.failures.WithLabelValues(wantReason)
		}
		before := testutil.ToFloat64(counter)
		r := httptest.NewRequest(method, uri, nil)
		r.Header.Set(AuthHeader, header)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.Equal(t, wantStatus, w.Code)
		if wantReason != "" {
			require.Equal(t, before+1, testutil.ToFloat64(counter))
			require.Contains(t, w.Body.String(), "unauthorized: ")
		}
	}
	const uri = "/internal/v1/write?x=1"
	good := headerOf(t, client, "POST", uri)
	f(good, "POST", uri, http.StatusNoContent, "")
	f(good, "GET", uri, http.StatusUnauthorized, "signature")
	f(good, "POST", "/internal/v1/write?x=2", http.StatusUnauthorized, "signature")
	f(strings.Replace(good, ";b;", ";c;", 1), "POST", uri, http.StatusUnauthorized, "signature")
	f(strings.Replace(good, "1795176000", "1795176001", 1), "POST", uri, http.StatusUnauthorized, "signature")
	f(headerOf(t, stranger, "POST", uri), "POST", uri, http.StatusUnauthorized, "signature")
	f("", "POST", uri, http.StatusUnauthorized, "missing")
	f("v2;"+good[3:], "POST", uri, http.StatusUnauthorized, "malformed")
	f(good+"!", "POST", uri, http.StatusUnauthorized, "malformed")
	f(";;;", "POST", uri, http.StatusUnauthorized, "malformed")
	f("v1;b;1;", "POST", uri, http.StatusUnauthorized, "signature")

	// Up to 15 minutes either way are the clocks' fault, more is an old request.
	now = now.Add(authSkewMax)
	f(good, "POST", uri, http.StatusNoContent, "")
	now = now.Add(time.Second)
	f(good, "POST", uri, http.StatusUnauthorized, "skew")
	now = now.Add(-2*authSkewMax - time.Second)
	f(good, "POST", uri, http.StatusNoContent, "")
	now = now.Add(-time.Second)
	f(good, "POST", uri, http.StatusUnauthorized, "skew")
}

func TestAuthWithoutAKeyDoesNothing(t *testing.T) {
	a := NewAuth(nil, "a", prometheus.NewPedanticRegistry())
	require.Empty(t, headerOf(t, a, "GET", "/"))
	w := httptest.NewRecorder()
	a.Middleware(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusNotFound, w.Code)
}

// The key for requests is not the one for gossip: who learns one has not the other.
func TestAuthDerivesItsOwnKey(t *testing.T) {
	require.NotEqual(t, testKey, NewAuth(testKey, "a", nil).key)
}
