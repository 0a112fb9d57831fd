// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package querier

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/prometheus/promql/parser"
)

// DefaultMaxConcurrent is how many questions of peers are answered at once. Further ones wait, within the asking side's
// timeout: a node that is asked too much is slow before it is out of memory.
const DefaultMaxConcurrent = 64

// PeerHandlerConfig is what a member serves to its peers, and within which bounds.
type PeerHandlerConfig struct {
	Local Local
	// Tenant returns whose series a request asks for. Its error is answered with 400.
	Tenant func(*http.Request) (string, error)
	// Members is what this member knows of itself and the others, as Config.Members: every answer says it. Nil: none
	// does, and the asking side goes by what it has heard itself.
	Members func() Membership
	// AcceptsFrom is of Local, as Config.AcceptsFrom.
	AcceptsFrom   AcceptsFrom
	MaxConcurrent int          // Questions answered at once. 0: DefaultMaxConcurrent.
	Metadata      MetadataFunc // As in Config.
	Heads         Heads        // As in Config.
}

// peerHandler answers peers' questions from the local store alone.
type peerHandler struct {
	cfg      PeerHandlerConfig
	gate     chan struct{}
	writers  *sync.Pool // Of frames: *frameWriter.
	parser   parser.Parser
	logger   *slog.Logger
	requests *prometheus.CounterVec
	counting sync.Mutex // Held while series are counted.
}

// NewPeerHandler returns the handler of the read protocol between members, to be mounted on the internal
// listener at /internal/v1/{read,labels,values,series,query_exemplars,metadata,cardinality}. It does not authenticate. The registerer may be nil.
func NewPeerHandler(cfg PeerHandlerConfig, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	if cfg.MaxConcurrent <= 0 {
		cfg.MaxConcurrent = DefaultMaxConcurrent
	}
	h := &peerHandler{
		cfg:     cfg,
		gate:    make(chan struct{}, cfg.MaxConcurrent),
		writers: &sync.Pool{New: func() any { return &frameWriter{} }},
		parser:  parser.NewParser(parser.Options{}),
		logger:  logger,
		requests: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_querier_served_requests_total",
			Help: "Questions of peers by what was asked and whether a whole answer was given.",
		}, []string{"operation", "outcome"}),
	}
	mux := http.NewServeMux()
	for operation, answer := range map[string]answerFunc{
		opRead:      h.read,
		opLabels:    h.labels,
		opValues:    h.values,
		opSeries:    h.series,
		opExemplars: h.exemplars,

		opMetadata:    h.metadata,
		opCardinality: h.cardinality,
	} {
		h.requests.WithLabelValues(operation, "ok")
		h.requests.WithLabelValues(operation, "failed")
		mux.Handle("POST "+pathPrefix+operation, h.handle(operation, answer))
	}
	return mux
}

// answerFunc answers one question of one tenant. An error is returned before the first byte is
// written, or the answer is aborted with errAborted after it.
type answerFunc func(w http.ResponseWriter, r *http.Request, tenant string) error

// statusError is an error with the status that it is answered with.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func badRequest(err error) error  { return &statusError{http.StatusBadRequest, err} }
func unavailable(err error) error { return &statusError{http.StatusServiceUnavailable, err} }

// errAborted says that an answer failed after its first bytes.
var errAborted = errors.New("answer aborted")

func (h *peerHandler) handle(operation string, answer answerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h.serve(w, r, answer)
		outcome := "ok"
		if err != nil {
			outcome = "failed"
		}
		h.requests.WithLabelValues(operation, outcome).Inc()
		var withStatus *statusError
		switch {
		case err == nil:
		case errors.Is(err, errAborted):
			h.logger.Debug("answer to peer aborted", "operation", operation, "err", err)
			panic(http.ErrAbortHandler) // The only way to let the peer see it.
		case errors.As(err, &withStatus):
			http.Error(w, err.Error(), withStatus.status)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}

func (h *peerHandler) serve(w http.ResponseWriter, r *http.Request, answer answerFunc) error {
	w.Header().Set(headerProtocol, protocolVersion)
	if v := r.Header.Get(headerProtocol); v != protocolVersion {
		return badRequest(errors.New("protocol " + strconv.Quote(v) + " is not " + protocolVersion))
	}
	tenant, err := h.cfg.Tenant(r)
	if err != nil {
		return badRequest(err)
	}
	if !h.cfg.Local.Ready() {
		return unavailable(errLocalNotReady)
	}
	select {
	case h.gate <- struct{}{}:
		defer func() { <-h.gate }()
	case <-r.Context().Done():
		return r.Context().Err()
	}
	r.Body = http.MaxBytesReader(w, r.Body, requestBytesMax)
	if h.cfg.Members != nil {
		testify(w, r, h.cfg.Members())
	}
	w.Header().Set(headerAcceptsFrom, strconv.FormatInt(h.cfg.AcceptsFrom.of(tenant), 10))
	return answer(w, r, tenant)
}

// lacksNow is what this member has come to lack while it answered.
func (h *peerHandler) lacksNow() (self selfReport, lacking bool) {
	if h.cfg.Members == nil {
		return selfReport{}, false
	}
	self = h.cfg.Members().self()
	return self, self.lacks != ""
}

// setLocalStart reports the local start. Called after the querier is open, so that a block deleted
// meanwhile is counted as gone although it is still read: that costs a look into the bucket, the other order a hole.
func (h *peerHandler) setLocalStart(w http.ResponseWriter, tenant string) {
	w.Header().Set(headerLocalStart, strconv.FormatInt(h.cfg.Local.LocalStart(tenant), 10))
}

// writeReply writes data, all of which is read by now, in Prometheus' envelope.
func writeReply[T any](h *peerHandler, w http.ResponseWriter, data T) error {
	if self, lacking := h.lacksNow(); lacking {
		w.Header().Set(headerSelf, self.encode())
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(reply[T]{Status: "success", Data: data}); err != nil {
		return errors.Join(errAborted, err)
	}
	return nil
}
