// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// The backoff of Prometheus' remote write: 30 ms, doubling to 5 s.
	firstBackoff   = 30 * time.Millisecond
	longestBackoff = 5 * time.Second

	// Retry-After is honoured as Prometheus does, but a receiver that asks for
	// more than this would stall a load test without anybody knowing why.
	longestRetryAfter = time.Minute

	// What is shown of the body of a refused request.
	errorBodyMax = 512

	// Connections to one receiver that are kept for the next request.
	idleConnsMax = 16

	writtenHeader = "X-Prometheus-Remote-Write-Samples-Written"
)

// SenderConfig says where requests go.
type SenderConfig struct {
	// URLs are the remote-write endpoints. Every attempt goes to the next one, as
	// a load balancer deals them out.
	URLs     []string
	Protocol Protocol
	// Timeout bounds one attempt. Default 30 s, that of Prometheus.
	Timeout time.Duration
	// Client makes the requests. Default: one of its own.
	Client *http.Client
}

// Sender delivers requests by remote write and retries as Prometheus does: a
// 5xx, a 429 and a broken connection for ever, anything else never. It is safe
// for concurrent use; one request at a time keeps them in order.
type Sender struct {
	cfg  SenderConfig
	next atomic.Uint64
	stats
}

// RefusedError is the answer of a receiver that a retry cannot change.
type RefusedError struct {
	URL    string
	Status int
	Body   string // its beginning
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused the request with status %d: %s", e.URL, e.Status, e.Body)
}

// NewSender returns a sender; it opens no connection.
func NewSender(cfg SenderConfig) *Sender {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: idleConnsMax,
			// The body is compressed already, and answers are tiny.
			DisableCompression: true,
		}}
	}
	return &Sender{cfg: cfg, stats: stats{statuses: map[string]uint64{}}}
}

// Send returns once a receiver has taken r. It returns a RefusedError when r
// was refused, and the error of ctx when that ended first.
func (s *Sender) Send(ctx context.Context, r Request) error {
	backoff := firstBackoff
	for {
		url := s.cfg.URLs[(s.next.Add(1)-1)%uint64(len(s.cfg.URLs))]
		a := s.attempt(ctx, url, r.Body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case a.status/100 == 2:
			s.delivered(r, a)
			return nil
		case !a.retryable():
			s.refused(r, a)
			return &RefusedError{URL: url, Status: a.status, Body: a.body}
		}
		s.retried(a)
		wait := backoff
		if a.retryAfter > 0 {
			wait = min(a.retryAfter, longestRetryAfter)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		backoff = min(2*backoff, longestBackoff)
	}
}

// attempt is how one attempt ended. Status is 0 when there was no answer.
type attempt struct {
	status     int
	body       string
	retryAfter time.Duration
	written    uint64 // what a 2.0 receiver says it stored
}

func (a attempt) retryable() bool {
	return a.status == 0 || a.status == http.StatusTooManyRequests || a.status/100 == 5
}

// attempt sends body once. Every failure to get an answer is the same to the
// sender, so it is a status of 0 rather than an error.
func (s *Sender) attempt(ctx context.Context, url string, body []byte) attempt {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return attempt{status: http.StatusBadRequest, body: err.Error()} // a malformed URL stays malformed
	}
	contentType, version := s.cfg.Protocol.headers()
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("X-Prometheus-Remote-Write-Version", version)
	req.Header.Set("User-Agent", "penstock-workload")

	resp, err := s.cfg.Client.Do(req)
	if err != nil {
		return attempt{body: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, errorBodyMax))
	if err != nil {
		return attempt{body: err.Error()}
	}
	a := attempt{status: resp.StatusCode, body: string(bytes.TrimSpace(text))}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		a.retryAfter = time.Duration(n) * time.Second
	}
	if n, err := strconv.ParseUint(resp.Header.Get(writtenHeader), 10, 64); err == nil {
		a.written = n
	}
	return a
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
