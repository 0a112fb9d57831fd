// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"
)

func loneNode(t *testing.T, flags ...string) *testNode {
	t.Helper()
	n := &testNode{args: append([]string{
		"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0",
	}, flags...)}
	n.start(t)
	return n
}

// TestTenants: a tenant is a name that can be a directory, a label value and part of a
// URL, or a 400 before anything else is looked at. None is made by a request that is
// refused.
func TestTenants(t *testing.T) {
	n := loneNode(t)
	send := func(header, tenant string) (int, string) {
		t.Helper()
		// The body is nothing that could be stored, so that no TSDB is opened for a name.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.url()+"/api/v1/write", bytes.NewReader(snappy.Encode(nil, nil)))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header[http.CanonicalHeaderKey(header)] = []string{tenant}
		resp, err := (&http.Client{}).Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	for _, header := range []string{"X-Scope-OrgID", "THANOS-TENANT"} {
		for _, good := range []string{"", "a", "team-a", "__internal", "0", strings.Repeat("x", 64)} {
			status, body := send(header, good)
			require.Equal(t, http.StatusNoContent, status, "%q: %s", good, body)
		}
		for _, bad := range []string{".", "..", "a/b", `a\b`, "%2e%2e", "a b", "a|b", "ü", strings.Repeat("x", 65), strings.Repeat("x", 200)} {
			status, body := send(header, bad)
			require.Equal(t, http.StatusBadRequest, status, bad)
			require.Equal(t, fmt.Sprintf("tenant id %.80q must match [A-Za-z0-9_-]{1,64}\n", bad), body)
		}
	}
	require.Empty(t, n.srv.store.Tenants())

	// A byte that no client sends: the server refuses the request itself.
	conn, err := net.Dial("tcp", n.srv.public.addr())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(eventually)))
	_, err = io.WriteString(conn, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: a\x00b\r\nContent-Length: 0\r\n\r\n")
	require.NoError(t, err)
	answer := make([]byte, 12)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 400", string(answer))
}

// TestCredentialsComeFirst answers 401 before a byte of the body has come.
func TestCredentialsComeFirst(t *testing.T) {
	const hash = "$2a$04$HD.8V9T6UcEhKvlSo.5c6egtD14neCJt7.Yf.8cKEXxY.xRPlAyYi" // of "secret"
	file := filepath.Join(t.TempDir(), "web.yml")
	require.NoError(t, os.WriteFile(file, []byte("basic_auth_users:\n  sender: "+hash+"\n"), 0o600))
	n := loneNode(t, "--web.config.file="+file)
	for _, header := range []string{"", "Authorization: Basic c2VuZGVyOndyb25n\r\n"} {
		conn, err := net.Dial("tcp", n.srv.public.addr())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(eventually)))
		fmt.Fprintf(conn, "POST /api/v1/write HTTP/1.1\r\nHost: x\r\nX-Scope-OrgID: ..\r\n%sContent-Length: 10000000\r\n\r\n", header)
		answer := make([]byte, 12)
		_, err = io.ReadFull(conn, answer)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 401", string(answer))
	}
}
