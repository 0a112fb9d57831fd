// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package blockstore

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// rangesOverHTTP reads ranges through the S3 driver, and does the rest itself.
type rangesOverHTTP struct {
	bucket.Bucket
	s3 bucket.Bucket
}

func (b rangesOverHTTP) GetRange(ctx context.Context, key string, off, length int64) (io.ReadCloser, error) {
	return b.s3.GetRange(ctx, key, off, length)
}

// TestStoreThatDoesNotKnowRanges answers every second range request with the whole object and 200.
func TestStoreThatDoesNotKnowRanges(t *testing.T) {
	memory := bucket.NewMemory()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		content, err := memory.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/b/"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer content.Close()
		all, _ := io.ReadAll(content)
		var from, to int
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &from, &to); requests.Add(1)%2 == 0 && n == 2 {
			to = min(to, len(all)-1)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(all)))
			w.WriteHeader(http.StatusPartialContent)
			all = all[from : to+1]
		}
		_, _ = w.Write(all)
	}))
	defer server.Close()
	cfg, err := bucket.ParseConfig(fmt.Appendf(nil, "type: S3\nconfig:\n  bucket: b\n  endpoint: %s\n  access_key: k\n  secret_key: s\n", server.URL))
	require.NoError(t, err)
	s3, err := bucket.Open(cfg, nil, nil)
	require.NoError(t, err)

	f := newFixtureOn(t, rangesOverHTTP{memory, s3})
	_, local := f.addLocal(manySeries(rand.New(rand.NewPCG(7, 8)), 300))
	s := f.open(func(c *Config) { c.guesses = &guesses{edge: pageBytes, series: 100, chunk: 100} })
	r := rand.New(rand.NewPCG(9, 10))
	for range 20 {
		require.NoError(t, compare(t, r, s, local))
		evictRandomly(r, s)
	}
	require.Greater(t, requests.Load(), int64(10))
}
