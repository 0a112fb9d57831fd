// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/stretchr/testify/require"
)

// noted is how a storage tells what an answer lacks, for the mode that params has put into the context.
func noted(ctx context.Context, note func(error)) context.Context {
	switch ctx.Value(modeKey{}) {
	case "partial":
		note(errors.New("partial response: m1 is missing"))
	case "incomplete":
		note(incomplete{})
	}
	return ctx
}

func readBody(t *testing.T, types ...prompb.ReadRequest_ResponseType) []byte {
	t.Helper()
	req := prompb.ReadRequest{AcceptedResponseTypes: types, Queries: []*prompb.Query{{
		EndTimestampMs: 1_000_000,
		Matchers:       []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_EQ, Name: "__name__", Value: "up"}},
	}}}
	raw, err := req.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func read(t *testing.T, addr string, body []byte) (*http.Response, []byte, error) {
	t.Helper()
	resp, err := (&http.Client{}).Post(addr, "application/x-protobuf", bytes.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp, got, err
}

// TestRemoteRead: what is a part of an answer is refused with 503, or says so in a header.
func TestRemoteRead(t *testing.T) {
	s := server(t, func(cfg *Config) { cfg.Notes = noted })
	for _, types := range [][]prompb.ReadRequest_ResponseType{nil, {prompb.ReadRequest_STREAMED_XOR_CHUNKS}} {
		body := readBody(t, types...)
		resp, got, err := read(t, s.URL+"/api/v1/read", body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NotEmpty(t, got)
		require.Empty(t, resp.Header.Get(headerWarnings))

		resp, got, err = read(t, s.URL+"/api/v1/read?partial_response=true", body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NotEmpty(t, got)
		require.Equal(t, "partial response: m1 is missing", resp.Header.Get(headerWarnings))
	}
	resp, got, err := read(t, s.URL+"/api/v1/read?partial_response=false", readBody(t))
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Contains(t, string(got), "2 of 3 members are missing")
	resp, _, err = read(t, s.URL+"/api/v1/read", []byte("no snappy"))
	require.NoError(t, err)
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

// brokenQueryable has chunks of one series and then an error.
type brokenQueryable struct{ queryable }

func (b brokenQueryable) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	inner, err := b.DB.ChunkQuerier(mint, maxt)
	return brokenQuerier{inner}, err
}

type brokenQuerier struct{ storage.ChunkQuerier }

func (q brokenQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.ChunkSeriesSet {
	return brokenSet{q.ChunkQuerier.Select(ctx, sorted, hints, ms...)}
}

type brokenSet struct{ storage.ChunkSeriesSet }

func (brokenSet) Err() error { return errors.New("a peer went silent") }

// TestRemoteReadBreaks: a stream that fails on the way ends with a broken connection, not with a text.
func TestRemoteReadBreaks(t *testing.T) {
	s := server(t, func(cfg *Config) { cfg.Queryable = brokenQueryable{cfg.Queryable.(queryable)} })
	resp, _, err := read(t, s.URL+"/api/v1/read", readBody(t, prompb.ReadRequest_STREAMED_XOR_CHUNKS))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// TestExemplarWarnings: exemplars have the warnings that their interface has no place for.
func TestExemplarWarnings(t *testing.T) {
	s := server(t, func(cfg *Config) { cfg.Notes = noted })
	form := url.Values{"query": {"up"}, "start": {"0"}, "end": {"100"}}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		form.Del("partial_response")
		_, complete := call(t, method, s.URL+"/api/v1/query_exemplars", form)
		require.NotContains(t, complete, "warnings")
		form.Set("partial_response", "true")
		status, partial := call(t, method, s.URL+"/api/v1/query_exemplars", form)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, []any{"partial response: m1 is missing"}, partial["warnings"])
		require.Equal(t, complete["data"], partial["data"])
		require.NotEmpty(t, partial["data"])
	}
	status, answer := call(t, http.MethodGet, s.URL+"/api/v1/query_exemplars", url.Values{"query": {"("}, "partial_response": {"true"}})
	require.Equal(t, http.StatusBadRequest, status)
	require.NotContains(t, answer, "warnings")
}

var _ storage.ExemplarQueryable = (*lackingExemplars)(nil)

// lackingExemplars cannot answer now.
type lackingExemplars struct{}

func (lackingExemplars) ExemplarQuerier(context.Context) (storage.ExemplarQuerier, error) {
	return lackingExemplars{}, nil
}

func (lackingExemplars) Select(int64, int64, ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	return nil, incomplete{}
}

func TestExemplarsIncomplete(t *testing.T) {
	s := server(t, func(cfg *Config) { cfg.Exemplars = lackingExemplars{} })
	status, answer := call(t, http.MethodGet, s.URL+"/api/v1/query_exemplars", url.Values{"query": {"up"}})
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "unavailable", answer["errorType"])
}
