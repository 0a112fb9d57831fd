// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"log/slog"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// InternalHandlerConfig configures the handler for writes of other members.
type InternalHandlerConfig struct {
	Local LocalWriter
	// Tenant returns the tenant that the coordinator set. An error is a 400.
	Tenant func(*http.Request) (string, error)
	// Limits are the public ones; what follows for members is derived from them.
	Limits Limits
	// Cache is shared with the public handler and Local; nil is none.
	Cache *SeriesCache
	// Admit returns why nothing can be taken now, or nil; nil always admits.
	Admit func() error
	// MaxInflightBytes bounds the decoded bytes of all requests under way. Zero
	// means DefaultInflightBytes.
	MaxInflightBytes int64
}

type internalHandler struct {
	cfg      InternalHandlerConfig
	inflight gate
	batches  batchPool
	logger   *slog.Logger
	metrics  *internalMetrics
}

// NewInternalHandler returns the handler of POST /internal/v1/write: the same
// scanner as the public one, over this member's own storage, and an answer that
// names the series which were not accepted. It does not authenticate; who mounts it
// does.
func NewInternalHandler(cfg InternalHandlerConfig, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	cfg.Limits = cfg.Limits.withDefaults().between()
	setDefault(&cfg.MaxInflightBytes, DefaultInflightBytes)
	return &internalHandler{
		cfg:      cfg,
		inflight: gate{limit: cfg.MaxInflightBytes},
		batches:  batchPool{limits: cfg.Limits, cache: cfg.Cache},
		logger:   logger,
		metrics:  newInternalMetrics(reg),
	}
}

// ServeHTTP answers 204 when everything is accepted, 200 with a reply that has the
// verdicts when not, and 503 when nothing can be taken now. Everything else means
// that the two members do not understand each other.
func (h *internalHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status := h.serve(w, r)
	h.metrics.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}

func (h *internalHandler) serve(w http.ResponseWriter, r *http.Request) int {
	refuse := func(a answer) int {
		writeAnswer(w, protoUnknown, a)
		return a.status
	}
	if r.Method != http.MethodPost {
		return refuse(answer{status: http.StatusMethodNotAllowed, text: "method not allowed; send POST"})
	}
	if v := r.Header.Get(headerPushVersion); v != pushVersionText {
		h.logger.Warn("refused a write of another protocol version", "version", escape([]byte(v)), "want", pushVersionText)
		return refuse(answer{status: http.StatusBadRequest, text: "push version " + quote([]byte(v)) +
			" is not supported, this member speaks " + pushVersionText + "; run the same version of penstock on all members"})
	}
	tenant, err := h.cfg.Tenant(r)
	if err != nil {
		return refuse(answer{status: http.StatusBadRequest, text: err.Error()})
	}
	proto, err := negotiate(r.Header)
	if err != nil {
		return refuse(answerError(err))
	}
	if h.cfg.Admit != nil {
		if err := h.cfg.Admit(); err != nil {
			return refuse(answer{status: http.StatusServiceUnavailable, text: string(ReasonOverloaded) + ": " + err.Error()})
		}
	}
	room := admission{node: &h.inflight}
	defer room.leave()
	b := h.batches.get(tenant)
	defer b.release()
	if err := b.receive(r, proto, anyTime(), &room); err != nil {
		noteDefect(h.logger, err)
		return refuse(answerError(err))
	}

	h.takeMetadata(r, b)
	reply := h.cfg.Local.Write(r.Context(), b, b.valid)
	if reply.All == Unavailable {
		return refuse(answer{status: http.StatusServiceUnavailable, text: string(reply.Reason) + ": " + reply.Detail})
	}
	return writeReply(w, b.wholeReply(reply))
}

// wholeReply turns a reply about the valid series into one about all of the request.
// The refused ones were legal for the coordinator, so that they are rare: its
// version differs, or its request was damaged on the way.
func (b *Batch) wholeReply(r Reply) Reply {
	if len(b.refused) == 0 {
		return r
	}
	whole := Reply{All: r.All, Reason: r.Reason, Detail: r.Detail}
	own := r.Faults
	for i := range b.series {
		switch {
		case b.series[i].refused:
			whole.Faults = append(whole.Faults, b.refusedFault(i))
		case len(own) > 0 && b.valid[own[0].Pos] == uint32(i):
			f := own[0]
			f.Pos = uint32(i)
			whole.Faults = append(whole.Faults, f)
			own = own[1:]
		}
	}
	return whole
}

func (b *Batch) refusedFault(i int) Fault {
	f := Fault{Pos: uint32(i), Verdict: Rejected, Reason: ReasonOther}
	for _, r := range b.refused {
		if r.Series == i {
			f.Reason, f.Detail = r.Reason, r.Detail
			break
		}
	}
	return f
}

func writeReply(w http.ResponseWriter, r Reply) int {
	w.Header().Set(headerPushVersion, pushVersionText)
	if r.All == Accepted && len(r.Faults) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(appendReply(nil, r)) // The coordinator may have gone; it retries.
	return http.StatusOK
}
