// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Writer writes batches. It keeps no reference to the batch after returning unless
// it retains it. Safe for concurrent use.
type Writer interface {
	Write(ctx context.Context, b *Batch) Outcome
}

// HandlerConfig configures the public write handler.
type HandlerConfig struct {
	Writer Writer
	// Tenant returns the tenant of a request. An error is answered with 400.
	Tenant func(*http.Request) (string, error)
	Limits Limits
	// Cache is shared with the internal handler and Local; nil is none.
	Cache *SeriesCache
	// Election drops what need not be stored of HA replicas; nil is off.
	Election *Election
	// MaxInflightBytes bounds the decoded bytes of all requests under way; beyond it
	// senders are told to come back. Zero means DefaultInflightBytes.
	MaxInflightBytes int64
	// MaxFuture and MaxPast are how far from now a timestamp may be. Zero means
	// DefaultMaxFuture and DefaultMaxPast.
	MaxFuture, MaxPast time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Defaults of HandlerConfig.
const (
	// DefaultInflightBytes lets sixteen requests of the largest size be under way.
	DefaultInflightBytes = 16 * DefaultDecodedBytes
	// DefaultMaxFuture is the guard that Prometheus' own receiver has. Owners allow
	// twice as much, so that clocks some minutes apart change no verdict.
	DefaultMaxFuture = 10 * time.Minute
	// DefaultMaxPast only keeps nonsense (0, the smallest integer) from becoming the
	// first timestamp of an empty TSDB; what is too old otherwise, a TSDB knows.
	DefaultMaxPast = 365 * 24 * time.Hour
)

func (c HandlerConfig) withDefaults() HandlerConfig {
	c.Limits = c.Limits.withDefaults()
	setDefault(&c.MaxInflightBytes, DefaultInflightBytes)
	setDefault(&c.MaxFuture, DefaultMaxFuture)
	setDefault(&c.MaxPast, DefaultMaxPast)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

type handler struct {
	cfg      HandlerConfig
	inflight gate
	batches  batchPool
	logger   *slog.Logger
	metrics  *handlerMetrics
}

// NewHandler returns the public write handler: remote write 1.0 and 2.0.
func NewHandler(cfg HandlerConfig, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	cfg = cfg.withDefaults()
	return &handler{
		cfg:      cfg,
		inflight: gate{limit: cfg.MaxInflightBytes},
		batches:  batchPool{limits: cfg.Limits, cache: cfg.Cache, strict: true, election: cfg.Election},
		logger:   logger,
		metrics:  newHandlerMetrics(reg),
	}
}

// ServeHTTP checks cheap things before expensive ones: method, tenant, declared type
// and coding, size. Only then is the body read, decompressed and scanned.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.cfg.Now()
	proto, a := h.serve(r)
	writeAnswer(w, proto, a)
	h.metrics.observe(proto, a.status, h.cfg.Now().Sub(start))
	if a.status == http.StatusServiceUnavailable {
		h.logger.Debug("write unavailable", "cause", a.text)
	}
}

func (h *handler) serve(r *http.Request) (protocol, answer) {
	if r.Method != http.MethodPost {
		return protoUnknown, answer{status: http.StatusMethodNotAllowed, text: "method not allowed; send POST"}
	}
	tenant, err := h.cfg.Tenant(r)
	if err != nil {
		return protoUnknown, answer{status: http.StatusBadRequest, text: err.Error()}
	}
	proto, err := negotiate(r.Header)
	if err != nil {
		return proto, answerError(err)
	}
	b := h.batches.get(tenant)
	defer b.release()
	bounds := boundsAround(h.cfg.Now(), h.cfg.MaxPast, h.cfg.MaxFuture)
	leave, err := b.receive(r, proto, bounds, &h.inflight)
	if err != nil {
		return proto, answerError(err)
	}
	defer leave()

	o := h.cfg.Writer.Write(r.Context(), b)
	h.metrics.count(b, o)
	h.cfg.Election.settle(b, &o)
	return proto, answerOutcome(b, o)
}

// receive fills the batch from a request. On success leave must be called when the
// request is answered; it gives the bytes back to the gate.
func (b *Batch) receive(r *http.Request, proto protocol, bounds timeBounds, inflight *gate) (leave func(), err error) {
	if b.wireBuf, err = readBody(r, b.wireBuf, b.limits.BodyBytes); err != nil {
		return nil, err
	}
	decoded, err := decodedSize(b.wireBuf, b.limits.DecodedBytes)
	if err != nil {
		return nil, err
	}
	n := len(b.wireBuf) + decoded
	if !inflight.enter(n) {
		return nil, refuseRequest(http.StatusServiceUnavailable, "too many bytes in flight; try again")
	}
	if b.bodyBuf, err = decompress(b.wireBuf, b.bodyBuf, decoded); err == nil {
		err = b.parse(proto, bounds)
	}
	if err != nil {
		inflight.leave(n)
		return nil, err
	}
	return func() { inflight.leave(n) }, nil
}

// parse scans and validates the decompressed body.
func (b *Batch) parse(proto protocol, bounds timeBounds) error {
	scan := b.scanV1
	if proto == protoV2 {
		scan = b.scanV2
	}
	if err := scan(b.bodyBuf); err != nil {
		return err
	}
	if e := b.pool.election; e != nil {
		b.scanned = proto
		if e.sift(b, bounds); b.ha.series > 0 && b.ha.series == len(b.series) {
			return nil // Nothing is left.
		}
	}
	if err := b.validate(bounds); err != nil {
		return err
	}
	if len(b.refused) == 0 && b.ha.series == 0 {
		b.wire, b.proto = b.wireBuf, proto
	}
	return nil
}
