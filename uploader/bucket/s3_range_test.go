// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// openAt returns the S3 driver with the given server behind it.
func openAt(t *testing.T, handler http.HandlerFunc) *S3 {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	cfg, err := ParseConfig(fmt.Appendf(nil, "type: S3\nconfig:\n  bucket: b\n  endpoint: %s\n  access_key: k\n  secret_key: s\n", server.URL))
	require.NoError(t, err)
	b, err := NewS3(*cfg.S3)
	require.NoError(t, err)
	return b
}

// TestRangeAnsweredWithTheWholeObject has a store that does not know ranges.
func TestRangeAnsweredWithTheWholeObject(t *testing.T) {
	content := strings.Repeat("0123456789", 1000)
	b := openAt(t, func(w http.ResponseWriter, r *http.Request) {
		require.NotEmpty(t, r.Header.Get("Range"))
		_, _ = io.WriteString(w, content)
	})
	for _, c := range []struct {
		off, length int64
		want        string
	}{
		{0, 5, content[:5]},
		{4321, 100, content[4321:4421]},
		{9990, 100, content[9990:]},
		{9990, -1, content[9990:]},
	} {
		r, err := b.GetRange(t.Context(), "k", c.off, c.length)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.Equal(t, c.want, string(got))
	}
	_, err := b.GetRange(t.Context(), "k", -7, -1)
	require.ErrorIs(t, err, errWrongRange, "of unknown size, as this one is")
	_, err = b.GetRange(t.Context(), "k", 10_001, 1)
	require.ErrorIs(t, err, ErrInvalidRange)
}

// TestRangeAnsweredWithAnother has a store, or a cache before it, that mixes ranges up.
func TestRangeAnsweredWithAnother(t *testing.T) {
	header := ""
	b := openAt(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", header)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, "abc")
	})
	for _, header = range []string{"bytes 4-6/10", "bytes x-6/10", "3-5"} {
		_, err := b.GetRange(t.Context(), "k", 3, 3)
		require.ErrorIs(t, err, errWrongRange, header)
	}
	header = "bytes 3-5/10"
	r, err := b.GetRange(t.Context(), "k", 3, 3)
	require.NoError(t, err)
	require.NoError(t, r.Close())
}
