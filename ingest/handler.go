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
	// Limits are those of every tenant, unless LimitsOf is set. It is asked once a
	// request and returns limits without zero fields, such as DefaultLimits, that
	// nobody changes any more.
	Limits   Limits
	LimitsOf func(tenant string) *Limits
	// Admit returns why no request can be taken now, or nil. It is asked before
	// anything of a request is read; nil always admits.
	Admit func() error
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
	// Ledger books what each sender delivers; nil is none.
	Ledger *Ledger
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
	if c.LimitsOf == nil {
		limits := c.Limits
		c.LimitsOf = func(string) *Limits { return &limits }
	}
	if c.Admit == nil {
		c.Admit = func() error { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

type handler struct {
	cfg      HandlerConfig
	inflight gate
	tenants  tenantLoads
	batches  batchPool
	logger   *slog.Logger
	metrics  *handlerMetrics
	limited  *limitMetrics
}

// NewHandler returns the public write handler: remote write 1.0 and 2.0.
func NewHandler(cfg HandlerConfig, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	return newHandler(cfg, logger, reg)
}

func newHandler(cfg HandlerConfig, logger *slog.Logger, reg prometheus.Registerer) *handler {
	cfg = cfg.withDefaults()
	return &handler{
		cfg:      cfg,
		inflight: gate{limit: cfg.MaxInflightBytes},
		batches:  batchPool{limits: cfg.Limits, cache: cfg.Cache, strict: true, election: cfg.Election},
		logger:   logger,
		metrics:  newHandlerMetrics(reg),
		limited:  newLimitMetrics(reg),
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
	// What is wrong with the tenant is told first, in an answer of the right version.
	proto, unsupported := negotiate(r.Header)
	tenant, err := h.cfg.Tenant(r)
	if err != nil {
		return proto, answer{status: http.StatusBadRequest, text: err.Error()}
	}
	if unsupported != nil {
		return proto, h.refuse(r, tenant, nil, unsupported)
	}
	room := h.roomFor(tenant)
	defer room.leave()
	b := h.batches.getUnder(tenant, room.limits)
	defer b.release()
	if err := h.accept(b, r, proto, &room); err != nil {
		if noteDefect(h.logger, err) {
			h.metrics.defects.Inc()
		}
		h.limited.request(tenant, err)
		return proto, h.refuse(r, tenant, b, err)
	}

	o := h.cfg.Writer.Write(r.Context(), b)
	if o.Unavailable > 0 {
		room.giveBack()
	}
	h.metrics.count(b, o)
	h.limited.series(tenant, b.refused)
	h.limited.series(tenant, o.Rejected)
	booked := h.cfg.Ledger.record(r, b, o)
	if parts := h.cfg.Election.settle(b, &o); len(parts) > 0 {
		whole := len(b.ha.shares) == 1 && b.ha.series == len(b.series)
		h.cfg.Election.keep(parts, booked, fingerprintOf(b), whole)
	}
	return proto, answerOutcome(b, o)
}

// refuse answers a request of which no owner was asked for anything; b is what was
// read of it, or nil.
func (h *handler) refuse(r *http.Request, tenant string, b *Batch, err error) answer {
	a := answerError(err)
	h.cfg.Ledger.refuse(r, tenant, b, a.status)
	return a
}

// roomFor returns the room of a request, of which nothing is taken up yet.
func (h *handler) roomFor(tenant string) admission {
	return admission{node: &h.inflight, load: h.tenants.get(tenant, h.cfg.Now()), limits: h.cfg.LimitsOf(tenant), tenant: tenant}
}

// admit tells whether a request may be looked at at all.
func (h *handler) admit(room *admission) error {
	if err := h.cfg.Admit(); err != nil {
		return refuseRequest(http.StatusServiceUnavailable, "%s; try again", err)
	}
	if room.load == nil {
		return refuseRequest(http.StatusServiceUnavailable, "too many tenants send to this node; try again")
	}
	return nil
}

// accept fills the batch from a request that the node has room for and its tenant may
// send now.
func (h *handler) accept(b *Batch, r *http.Request, proto protocol, room *admission) error {
	if err := h.admit(room); err != nil {
		return err
	}
	bounds := boundsAround(h.cfg.Now(), h.cfg.MaxPast, h.cfg.MaxFuture)
	if err := b.receive(r, proto, bounds, room); err != nil {
		return err
	}
	return room.pay(h.cfg.Now(), b.chargeable())
}

// receive fills the batch from a request, taking up room for it.
func (b *Batch) receive(r *http.Request, proto protocol, bounds timeBounds, room *admission) (err error) {
	if b.wireBuf, err = readBody(r, b.wireBuf, b.limits.BodyBytes, room); err != nil {
		return err
	}
	decoded, err := decodedSize(b.wireBuf, b.limits.DecodedBytes)
	if err != nil {
		return err
	}
	if err := room.take(decoded); err != nil {
		return err
	}
	if b.bodyBuf, err = decompress(b.wireBuf, b.bodyBuf, decoded); err != nil {
		return err
	}
	return b.parseOrRefuse(proto, bounds)
}

func (b *Batch) scan(proto protocol) error {
	if proto == protoV2 {
		return b.scanV2(b.bodyBuf)
	}
	return b.scanV1(b.bodyBuf)
}

// parse scans and validates the decompressed body.
func (b *Batch) parse(proto protocol, bounds timeBounds) error {
	if err := b.scan(proto); err != nil {
		return err
	}
	if err := b.siftAndValidate(bounds); err != nil {
		return err
	}
	if len(b.refused) == 0 && b.ha.series == 0 {
		b.wire, b.proto = b.wireBuf, proto
	}
	return nil
}

// siftAndValidate drops the series of a scanned batch that need not be stored, and
// validates the others. What is dropped is not looked up or decoded, and does not get
// into the cache.
func (b *Batch) siftAndValidate(bounds timeBounds) error {
	if e := b.pool.election; e != nil && e.sift(b, bounds) {
		return nil // Nothing is left.
	}
	return b.validate(bounds)
}
