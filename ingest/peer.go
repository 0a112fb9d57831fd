// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/penstock-io/penstock/ring"
)

const (
	// PathInternalWrite is where a member takes the writes of other members.
	PathInternalWrite = "/internal/v1/write"
	// headerTenant carries the tenant between members.
	headerTenant = "X-Scope-OrgID"
	// headerPushVersion carries the version of the protocol between members.
	headerPushVersion = "X-Penstock-Push-Version"
	// pushReplyBytesMax bounds the reply that is read from a peer: a fault for each
	// series of the largest request, with its reason.
	pushReplyBytesMax = 16 << 20
	// pushErrorBytesMax bounds how much of an error text of a peer is kept.
	pushErrorBytesMax = 256
)

// peer is another member as an owner. Safe for concurrent use.
type peer struct {
	name, url string
	cfg       *DistributorConfig
	inflight  gate
	joins     joinQueue
	batches   *batchPool // for joined writes
	circuit   circuit
	logger    *slog.Logger
	metrics   *distributorMetrics
}

// write sends a request with the series of b at the given positions, which load
// holds. It keeps b until nothing reads load any more.
func (p *peer) write(ctx context.Context, b *Batch, load payload, part []uint32) Reply {
	reply, err := p.send(ctx, b, load)
	if err == nil {
		err = reply.checkAgainst(b, part)
	}
	if err != nil {
		return p.failed(err)
	}
	p.metrics.peerRequests.WithLabelValues(peerAnswered).Inc()
	return reply
}

// send sends load, which is in the memory of b, if it fits what may be under way.
func (p *peer) send(ctx context.Context, b *Batch, load payload) (Reply, error) {
	if !p.inflight.enter(len(load.body)) {
		return Reply{}, errOverloaded
	}
	defer p.inflight.leave(len(load.body))
	return p.push(ctx, b.Tenant, &heldBody{batch: b, payload: load})
}

// failed makes a verdict of an error. When the circuit is open a retry will find the
// same, which decide has to know.
func (p *peer) failed(err error) Reply {
	if errors.Is(err, errOverloaded) {
		p.metrics.peerRequests.WithLabelValues(peerOverloaded).Inc()
		return unavailable(ReasonOverloaded, "too many bytes under way to an owner")
	}
	var refused *peerError
	result, detail := peerFailed, "an owner did not answer"
	if errors.As(err, &refused) {
		detail = "an owner is unavailable"
	}
	if errors.Is(err, errCircuitOpen) {
		result = peerSkipped
	}
	p.metrics.peerRequests.WithLabelValues(result).Inc()
	verdict := Unavailable
	if p.circuit.open() {
		verdict = down
	}
	return Reply{All: verdict, Reason: ReasonTransport, Detail: detail}
}

var (
	errCircuitOpen = errors.New("circuit is open")
	errOverloaded  = errors.New("too many bytes under way")
)

// peerError is an answer of a peer that is not a reply.
type peerError struct {
	status int
	text   string
}

func (e *peerError) Error() string {
	return fmt.Sprintf("member answered %d: %s", e.status, e.text)
}

// bodySource gives the body of a request, anew for each attempt of the transport.
type bodySource interface {
	open() io.ReadCloser
	size() int
	contentType() string
}

// push sends one request and reads the reply. The circuit hears how it ended.
func (p *peer) push(ctx context.Context, tenant string, body bodySource) (Reply, error) {
	if !p.circuit.allow(p.cfg.Now()) {
		return Reply{}, errCircuitOpen
	}
	reply, err := p.roundTrip(ctx, tenant, body)
	opened := p.circuit.done(p.cfg.Now(), err == nil)
	if opened {
		p.logger.Warn("member does not take writes; it gets hints until it does", "member", p.name, "err", err)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("push to member %s: %w", p.name, err)
	}
	return reply, nil
}

func (p *peer) roundTrip(ctx context.Context, tenant string, body bodySource) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PeerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, nil)
	if err != nil {
		return Reply{}, err
	}
	req.Body, req.ContentLength = body.open(), int64(body.size())
	req.GetBody = func() (io.ReadCloser, error) { return body.open(), nil }
	req.Header.Set("Content-Type", body.contentType())
	req.Header.Set("Content-Encoding", snappyCoding)
	req.Header.Set(headerTenant, tenant)
	req.Header.Set(headerPushVersion, pushVersionText)
	if _, ok := body.(fillBody); ok {
		req.Header.Set(headerMetadata, metadataFill)
	}
	// An empty value tells the transport that the request may be sent again on a new
	// connection when an idle one turns out to be dead; it is not sent.
	req.Header["X-Idempotency-Key"] = nil

	start := p.cfg.Now()
	p.metrics.peerSentBytes.Add(float64(body.size()))
	resp, err := p.cfg.Client.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	p.metrics.peerSeconds.Observe(p.cfg.Now().Sub(start).Seconds())
	return readPushResponse(resp)
}

func readPushResponse(resp *http.Response) (Reply, error) {
	switch resp.StatusCode {
	case http.StatusNoContent:
		return Reply{All: Accepted}, nil
	case http.StatusOK:
		body, err := io.ReadAll(io.LimitReader(resp.Body, pushReplyBytesMax+1))
		if err != nil {
			return Reply{}, fmt.Errorf("read reply: %w", err)
		}
		if len(body) > pushReplyBytesMax {
			return Reply{}, errPushReply
		}
		return decodeReply(body)
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, pushErrorBytesMax))
		return Reply{}, &peerError{resp.StatusCode, escape(bytes.TrimSpace(text))}
	}
}

// heldBody is a body in the memory of a batch. A transport may read a body for a
// while after the response has arrived, so every reader holds the batch until it is
// closed.
type heldBody struct {
	batch *Batch
	payload
}

func (h *heldBody) contentType() string { return h.proto.contentType() }

func (h *heldBody) size() int { return len(h.body) }

func (h *heldBody) open() io.ReadCloser {
	h.batch.retain()
	return &heldReader{Reader: bytes.NewReader(h.body), close: sync.OnceFunc(h.batch.release)}
}

type heldReader struct {
	*bytes.Reader
	close func()
}

func (r *heldReader) Close() error {
	r.close()
	return nil
}

// ownBody is a body in memory that nobody reuses.
type ownBody []byte

func (ownBody) contentType() string   { return protoV1.contentType() }
func (o ownBody) size() int           { return len(o) }
func (o ownBody) open() io.ReadCloser { return io.NopCloser(bytes.NewReader(o)) }

// peerSet has the peers by name. Safe for concurrent use.
type peerSet struct {
	cfg     *DistributorConfig
	batches *batchPool
	logger  *slog.Logger
	metrics *distributorMetrics
	mu      sync.RWMutex
	byName  map[string]*peer
}

// get returns the peer for a member; a member that moved is a new peer.
func (s *peerSet) get(m ring.Member) *peer {
	url := s.cfg.Scheme + "://" + m.InternalAddr + PathInternalWrite
	s.mu.RLock()
	p := s.byName[m.Name]
	s.mu.RUnlock()
	if p != nil && p.url == url {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.byName[m.Name]; p != nil && p.url == url {
		return p
	}
	p = &peer{
		name: m.Name, url: url, cfg: s.cfg, logger: s.logger, metrics: s.metrics,
		inflight: gate{limit: s.cfg.MaxInflightBytes}, batches: s.batches,
	}
	s.byName[m.Name] = p
	return p
}

// prune forgets the peers that are not members any more.
func (s *peerSet) prune(view *ring.View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.byName {
		if _, known := view.Member(name); !known {
			delete(s.byName, name)
		}
	}
}

// openCircuits is the number of peers that are left alone.
func (s *peerSet) openCircuits() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, p := range s.byName {
		if p.circuit.open() {
			n++
		}
	}
	return n
}
