// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/require"
)

// TestHandlerBounds are requests that are small on the wire and large in memory.
func TestHandlerBounds(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	store := openStore(t)
	past := time.Now().Add(-time.Hour)
	h := oneNode(t, store, func(c *HandlerConfig) { c.Now = func() time.Time { return past } })
	body := encodeV1(t, &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{seriesV1(nowMillis(), 1, "__name__", "x")}})
	require.Equal(t, http.StatusBadRequest, post(t, h, typeV1, body).Code)
}
