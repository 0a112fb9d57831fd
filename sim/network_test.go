// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// connectTimeout is how long a connection is tried to a host that does not answer, as
// cmd/penstock has it.
const connectTimeout = 2 * time.Second

// network carries requests between hosts over directed links. What happens to a message
// is a function of the seed, the link, the time and the message.
type network struct {
	seed seed
	mu   sync.Mutex
	// cut links let nothing through; slow ones add to the delay.
	cut  map[[2]string]bool
	slow map[[2]string]time.Duration
	// refuses says that a cut link answers at once instead of never, as a firewall may.
	refuses bool
	// loss is the probability that a connection breaks, before or after delivery.
	loss     float64
	maxDelay time.Duration
}

func newNetwork(s seed) *network {
	return &network{seed: s, cut: map[[2]string]bool{}, slow: map[[2]string]time.Duration{}, maxDelay: 3 * time.Millisecond}
}

var (
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset by peer")
	errNoRoute = errors.New("no route to host")
)

func (n *network) setCut(from, to string, on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if on {
		n.cut[[2]string{from, to}] = true
	} else {
		delete(n.cut, [2]string{from, to})
	}
}

func (n *network) setSlow(from, to string, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.slow[[2]string{from, to}] = d
}

func (n *network) setLoss(p float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = p
}

// heal repairs every link.
func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.slow)
	n.loss = 0
}

func (n *network) open(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]string{from, to}]
}

// reachable is whether two hosts hear each other, both ways.
func (n *network) reachable(a, b string) bool { return n.open(a, b) && n.open(b, a) }

// fate is what becomes of one message.
type fate struct {
	there, back time.Duration
	lostBefore  bool // The connection breaks before the request is there.
	lostAfter   bool // It breaks before the answer is back.
	cutAt       int  // The answer ends behind so many bytes; -1: whole.
}

func (n *network) fate(from, to string, req *http.Request, body []byte) fate {
	n.mu.Lock()
	loss, slow := n.loss, n.slow[[2]string{from, to}]+n.slow[[2]string{to, from}]
	n.mu.Unlock()
	r := n.seed.rand("message", from, to, time.Now(), req.URL.Path, body)
	f := fate{there: between(r, 0, n.maxDelay) + slow, back: between(r, 0, n.maxDelay), cutAt: -1}
	switch x := r.Float64(); {
	case x < loss/3:
		f.lostBefore = true
	case x < loss*2/3:
		f.lostAfter = true
	case x < loss:
		f.cutAt = r.IntN(400)
	}
	return f
}

// endpoint is one end of an exchange. gate waits while its process is paused, and
// fails when it is dead.
type endpoint struct {
	name string
	gate func() error
	dead <-chan struct{}
}

// exchange carries a request to the process that listens at the host's address, and the
// answer back.
func (w *world) exchange(ctx context.Context, from endpoint, addr string, req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		_ = req.Body.Close() // In memory.
		if err != nil {
			return nil, err
		}
	}
	if err := from.gate(); err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(addr, ".")
	f := w.net.fate(from.name, name, req, body)
	if err := w.travel(ctx, from, name, f.there); err != nil {
		return nil, err
	}
	if f.lostBefore {
		return nil, errReset
	}
	to := w.listening(addr)
	if to == nil {
		return nil, errRefused
	}
	answer := make(chan *http.Response, 1)
	serverCtx, hangUp := context.WithCancel(context.Background())
	defer hangUp()
	to.running.Go(func() { answer <- to.serve(serverCtx, req, body) })
	var resp *http.Response
	select {
	case resp = <-answer:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-from.dead:
		return nil, errDead
	}
	if err := w.travelBack(ctx, from, name, f.back); err != nil {
		return nil, err
	}
	if resp == nil || f.lostAfter {
		return nil, errReset
	}
	if f.cutAt >= 0 {
		resp.Body = io.NopCloser(&cutReader{r: resp.Body, left: f.cutAt})
	}
	return resp, nil
}

// travel is the way of a request: a link that is cut is found out by a timeout.
func (w *world) travel(ctx context.Context, from endpoint, to string, delay time.Duration) error {
	if err := from.sleep(ctx, delay); err != nil {
		return err
	}
	if w.net.open(from.name, to) && w.hostUp(to) {
		return nil
	}
	if w.net.refuses {
		return errNoRoute
	}
	if err := from.sleep(ctx, connectTimeout); err != nil {
		return err
	}
	return fmt.Errorf("%w: connect timeout", errNoRoute)
}

// travelBack is the way of an answer. Through a cut link it comes when the link is whole again.
func (w *world) travelBack(ctx context.Context, from endpoint, to string, delay time.Duration) error {
	if err := from.sleep(ctx, delay); err != nil {
		return err
	}
	for !w.net.open(to, from.name) {
		if err := from.sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return from.gate()
}

func (e endpoint) sleep(ctx context.Context, d time.Duration) error {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.dead:
			return errDead
		}
	}
	return e.gate()
}

// cutReader is an answer whose connection breaks.
type cutReader struct {
	r    io.Reader
	left int
}

func (c *cutReader) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// recorder is the answer of a handler, kept until it is complete.
type recorder struct {
	header, trailer http.Header
	status          int
	body            bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		r.trailer = http.Header{}
	}
}

func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

func (r *recorder) Flush() { r.WriteHeader(http.StatusOK) }

func (r *recorder) response(req *http.Request) *http.Response {
	r.WriteHeader(http.StatusOK)
	for _, name := range r.header.Values("Trailer") {
		r.trailer.Set(name, r.header.Get(name))
	}
	return &http.Response{
		Status: http.StatusText(r.status), StatusCode: r.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Trailer: r.trailer, Body: io.NopCloser(&r.body), ContentLength: int64(r.body.Len()), Request: req,
	}
}

// serveRecorded runs a handler as net/http does: a handler that panics breaks the connection.
func serveRecorded(ctx context.Context, h http.Handler, req *http.Request, body []byte) (resp *http.Response) {
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler { //nolint:errorlint // A panic value, compared as net/http does.
				panic(v)
			}
			resp = nil
		}
	}()
	r := req.Clone(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.RequestURI = req.URL.RequestURI()
	rec := &recorder{header: http.Header{}}
	h.ServeHTTP(rec, r)
	return rec.response(req)
}
