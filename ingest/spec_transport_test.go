// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawConnection speaks HTTP by hand with a server of one node, which waits for bodies for a
// given time.
type rawConnection struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func dialRaw(t *testing.T, bodyWithin time.Duration) *rawConnection {
	t.Helper()
	node := oneNode(t, openStore(t), func(c *HandlerConfig) { c.Limits.BodyBytes = 1 << 20 })
	// Counted from the end of the head, so that a slow test is not taken for a slow sender.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin)); err != nil {
			t.Error(err)
		}
		node.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return &rawConnection{t, conn, bufio.NewReader(conn)}
}

// head sends the head of a 2.0 request with more headers, and the beginning of its body.
func (c *rawConnection) head(headers string, body ...byte) {
	c.t.Helper()
	head := fmt.Sprintf("POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Encoding: snappy\r\n%s\r\n\r\n", typeV2, headers)
	_, err := c.Write(append([]byte(head), body...))
	require.NoError(c.t, err)
}

// wants reads the answer.
func (c *rawConnection) wants(status int, text string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.answers, nil)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.Equal(c.t, status, resp.StatusCode)
	require.Equal(c.t, text+"\n", string(body))
	for _, name := range writtenHeaders {
		require.Equal(c.t, "0", resp.Header.Get(name))
	}
}

// TestSpecDeclaredLength is answered before a byte of the body is there, and without
// memory for it.
func TestSpecDeclaredLength(t *testing.T) {
	t.Parallel()
	c := dialRaw(t, time.Minute)
	c.head("Content-Length: 10737418240")
	c.wants(413, "body exceeds 1048576 bytes (max_request_bytes in --limits.config-file)")
	c = dialRaw(t, time.Minute)
	c.head("Content-Length: 10737418240\r\nExpect: 100-continue")
	c.wants(413, "body exceeds 1048576 bytes (max_request_bytes in --limits.config-file)")
}

// TestSpecEndlessBody is read to the limit and no further.
func TestSpecEndlessBody(t *testing.T) {
	t.Parallel()
	c := dialRaw(t, time.Minute)
	c.head("Transfer-Encoding: chunked")
	go func() {
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
		for {
			if _, err := io.WriteString(c, chunk); err != nil {
				return // The server has hung up.
			}
		}
	}()
	c.wants(413, "body exceeds 1048576 bytes (max_request_bytes in --limits.config-file)")
}

// TestSpecSlowBody is given up after a time, however little is missing.
func TestSpecSlowBody(t *testing.T) {
	t.Parallel()
	_, v2 := specBodies(t, "x")
	cut := v2[:len(v2)-1]
	for header, body := range map[string][]byte{
		"Transfer-Encoding: chunked":               append(fmt.Appendf(nil, "%x\r\n", len(v2)), cut...),
		fmt.Sprintf("Content-Length: %d", len(v2)): cut,
	} {
		c := dialRaw(t, 100*time.Millisecond)
		c.head(header, body...)
		c.wants(408, "body did not arrive in time")
	}
}

// TestSpecCutBody is a body that ends before its length; the sender may still listen.
func TestSpecCutBody(t *testing.T) {
	t.Parallel()
	c := dialRaw(t, time.Minute)
	c.head("Content-Length: 100")
	_, err := c.Write([]byte("xy"))
	require.NoError(t, err)
	require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
	c.wants(400, "cannot read body")
}
