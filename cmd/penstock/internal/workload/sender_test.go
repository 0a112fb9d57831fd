// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a RoundTripper that gives the answers of a list, then 204 for ever.
type script struct {
	answers []answer
	calls   []call
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

type call struct {
	at     time.Time
	host   string
	header http.Header
	body   string
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	s.calls = append(s.calls, call{at: time.Now(), host: req.URL.Host, header: req.Header, body: string(body)})
	a := answer{status: http.StatusNoContent}
	if len(s.answers) > 0 {
		a, s.answers = s.answers[0], s.answers[1:]
	}
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func newTestSender(s *script, p Protocol, hosts ...string) *Sender {
	cfg := SenderConfig{Protocol: p, Client: &http.Client{Transport: s}}
	for _, h := range hosts {
		cfg.URLs = append(cfg.URLs, "http://"+h+"/api/v1/write")
	}
	return NewSender(cfg)
}

func (s *script) waits() []time.Duration {
	var out []time.Duration
	for i := 1; i < len(s.calls); i++ {
		out = append(out, s.calls[i].at.Sub(s.calls[i-1].at))
	}
	return out
}

func TestSenderRetriesUntilTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{answers: []answer{
			{status: 503, body: "have 1 of 2 members"},
			{err: errors.New("connection refused")},
			{status: 429},
			{status: 500},
			{status: 503, header: http.Header{"Retry-After": {"3"}}},
			{status: 503, header: http.Header{"Retry-After": {"86400"}}, body: "slow down"},
			{status: 204, header: http.Header{writtenHeader: {"7"}}},
		}}
		sender := newTestSender(s, V2, "n1", "n2", "n3")
		require.NoError(t, sender.Send(t.Context(), Request{Body: []byte("abc"), Samples: 7}))

		require.Equal(t, []time.Duration{
			30 * time.Millisecond, 60 * time.Millisecond, 120 * time.Millisecond, 240 * time.Millisecond,
			3 * time.Second, longestRetryAfter,
		}, s.waits())
		var hosts []string
		for _, c := range s.calls {
			hosts = append(hosts, c.host)
			require.Equal(t, "abc", c.body, "a retry sends the same bytes")
		}
		require.Equal(t, []string{"n1", "n2", "n3", "n1", "n2", "n3", "n1"}, hosts)
		require.Equal(t, Stats{
			Samples: 7, Requests: 1, Retries: 6, Bytes: 3, Written: 7, LastError: "slow down",
			Statuses: map[string]uint64{"503": 3, "429": 1, "500": 1, "error": 1, "204": 1},
		}, sender.Stats())
	})
}

func TestSenderBackoffIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		for range 12 {
			s.answers = append(s.answers, answer{status: 503})
		}
		require.NoError(t, newTestSender(s, V1, "n1").Send(t.Context(), Request{Samples: 1}))
		waits := s.waits()
		require.Equal(t, firstBackoff, waits[0])
		require.Equal(t, longestBackoff, waits[len(waits)-1])
		require.Equal(t, longestBackoff, waits[len(waits)-2])
	})
}

func TestSenderStopsOnRefusal(t *testing.T) {
	f := func(status int) {
		t.Helper()
		s := &script{answers: []answer{{status: status, body: " out of bounds\n"}}}
		sender := newTestSender(s, V1, "n1", "n2")
		err := sender.Send(t.Context(), Request{Body: []byte("abc"), Samples: 5})
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, RefusedError{URL: "http://n1/api/v1/write", Status: status, Body: "out of bounds"}, *refused)
		require.Len(t, s.calls, 1)
		stats := sender.Stats()
		require.Equal(t, uint64(5), stats.Failed)
		require.Equal(t, "out of bounds", stats.LastRefusal)
		require.Zero(t, stats.Samples)
		require.Zero(t, stats.Retries)
	}
	f(400)
	f(401)
	f(404)
	f(413)
	f(415)
	f(302)
}

func TestSenderEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s := &script{}
		for range 1000 {
			s.answers = append(s.answers, answer{status: 503})
		}
		require.ErrorIs(t, newTestSender(s, V1, "n1").Send(ctx, Request{Samples: 1}), context.DeadlineExceeded)
	})
}

func TestSenderHeaders(t *testing.T) {
	f := func(p Protocol, contentType, version string) {
		t.Helper()
		s := &script{}
		require.NoError(t, newTestSender(s, p, "n1").Send(t.Context(), Request{Body: []byte("x")}))
		h := s.calls[0].header
		require.Equal(t, contentType, h.Get("Content-Type"))
		require.Equal(t, version, h.Get("X-Prometheus-Remote-Write-Version"))
		require.Equal(t, "snappy", h.Get("Content-Encoding"))
		require.NotEmpty(t, h.Get("User-Agent"))
	}
	f(V1, "application/x-protobuf", "0.1.0")
	f(V2, "application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
}
