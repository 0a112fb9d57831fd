// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// errSilent ends a request to a peer that has said nothing for Config.PeerTimeout.
var errSilent = errors.New("the peer went silent")

// peers asks other members over HTTP. It is safe for concurrent use.
type peers struct {
	client   *http.Client
	silence  time.Duration // Longest wait for the next byte.
	maxBytes int64         // Of one answer.
	received func(context.Context, int64) error
	turn     func(context.Context) (func(), error)
	metrics  *metrics
	logger   *slog.Logger
}

// request is one question to one peer.
type request struct {
	operation   string
	path        string // Below pathPrefix, with its query.
	contentType string
	body        string
}

// ask sends the request and gives the body of a good answer to read, which must consume all of it.
// It returns what the peer says beside it. Any error means that the answer must not be used: there is no half answer.
func (p *peers) ask(ctx context.Context, m Member, req request, read func(*http.Response, io.Reader) error) (s said, err error) {
	started := time.Now()
	defer func() {
		outcome := "ok"
		if err != nil {
			outcome = "failed"
			p.logger.Debug("peer did not answer", "member", m.Name, "operation", req.operation, "err", err)
		}
		p.metrics.peerRequests.WithLabelValues(req.operation, outcome).Inc()
		p.metrics.peerSeconds.WithLabelValues(req.operation).Observe(time.Since(started).Seconds())
	}()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(p.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	resp, err := p.send(ctx, m, req)
	if err != nil {
		return said{}, causeOf(ctx, err)
	}
	defer resp.Body.Close()
	body := &meteredBody{body: resp.Body, left: p.maxBytes, member: m.Name, limit: p.maxBytes, alive: func() { watchdog.Reset(p.silence) }}
	if p.received != nil {
		body.received = func(n int64) error { return p.received(ctx, n) }
	}
	defer func() { p.metrics.peerBytes.Add(float64(p.maxBytes - body.left)) }()
	s, err = inspect(resp, body)
	if err != nil {
		return said{}, causeOf(ctx, err)
	}
	if err := read(resp, body); err != nil {
		return said{}, causeOf(ctx, err)
	}
	return s, nil
}

func (p *peers) send(ctx context.Context, m Member, req request) (*http.Response, error) {
	tenant, ok := TenantFrom(ctx)
	if !ok {
		return nil, errNoTenant
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+pathPrefix+req.path, strings.NewReader(req.body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", req.contentType)
	r.Header.Set(headerProtocol, protocolVersion)
	r.Header.Set(headerTenant, tenant)
	r.Header.Set(headerMembers, m.digest)
	resp, err := p.client.Do(r)
	return resp, withoutAddress(err)
}

// withoutAddress takes the addresses of a member out of an error: users read the
// message, and whose address it was is in the member's name.
func withoutAddress(err error) error {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// inspect checks the head of an answer and returns what it says.
func inspect(resp *http.Response, body io.Reader) (s said, err error) {
	if resp.StatusCode != http.StatusOK {
		const saidMax = 512
		said, _ := io.ReadAll(io.LimitReader(body, saidMax)) // Whatever came of it is good enough for a message.
		return s, fmt.Errorf("status %d: %s", resp.StatusCode, strings.TrimSpace(string(said)))
	}
	if v := resp.Header.Get(headerProtocol); v != protocolVersion {
		return s, fmt.Errorf("it speaks protocol %q, not %q", v, protocolVersion)
	}
	if s.localStart, err = strconv.ParseInt(resp.Header.Get(headerLocalStart), 10, 64); err != nil {
		return s, fmt.Errorf("header %s: %w", headerLocalStart, err)
	}
	s.accepts = parseAccepts(resp.Header)
	s.testimony, err = decodeTestimony(resp.Header)
	return s, err
}

// causeOf returns why ctx ended, if it did, instead of what that looked like from below.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// meteredBody reads an answer, keeps the watchdog quiet and stops at the limit.
type meteredBody struct {
	body   io.Reader
	left   int64
	alive  func()
	member string
	limit  int64

	received func(bytes int64) error // Nil: nobody is told.
}

func (b *meteredBody) Read(buf []byte) (int, error) {
	n, err := b.body.Read(buf)
	if n > 0 {
		b.alive()
	}
	b.left -= int64(n)
	if b.left < 0 {
		return 0, &tooLargeError{member: b.member, limit: b.limit}
	}
	if b.received != nil && n > 0 {
		if err := b.received(int64(n)); err != nil {
			return 0, err
		}
	}
	return n, err
}
