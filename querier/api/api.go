// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/httputil"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

const (
	prefix = "/api/v1"

	// requestBytesMax bounds the body of a request: of a form Go's own parser takes 10 MiB, of a
	// remote read Prometheus' decoder takes 32.
	requestBytesMax = 32 << 20

	// lookbackDefault is Prometheus' own.
	lookbackDefault = 5 * time.Minute
)

// Config is what the API answers from. Engine, Queryable, Exemplars, Ready and Params are needed; what is nil or empty of
// the rest gives empty answers.
type Config struct {
	Engine    promql.QueryEngine
	Queryable storage.SampleAndChunkQueryable
	Exemplars storage.ExemplarQueryable
	Parser    parser.Parser // The engine's. Nil is one without experimental functions.

	// Ready returns whether queries are taken at all; while it is false everything is 503.
	Ready func() bool
	// Params returns the context of a request, with what the request says beside its PromQL. It may parse the form.
	// Its error is answered with 400.
	Params func(*http.Request) (context.Context, error)

	// Notes returns a context whose queries tell note of each warning and of the error with which they end; note is safe
	// for concurrent use. It is for answers in which the storage cannot say so itself. Nil: nothing is told.
	Notes func(ctx context.Context, note func(error)) context.Context

	// Metadata returns what is known of metric families, of all if metric is empty. The limits are advice, negative is none.
	Metadata func(ctx context.Context, metric string, limit, limitPerMetric int) (map[string][]Metadata, error)
	// TSDBStats returns the cardinality of the heads, with at most limit entries a list.
	TSDBStats func(ctx context.Context, limit int) (TSDBStats, error)
	// BlockMetas returns the blocks on local disk.
	BlockMetas func(ctx context.Context) []tsdb.BlockMeta

	// Explain answers queries with explain=dedup. Nil: the parameter is not looked at, as by Prometheus.
	Explain *ExplainConfig

	Features    features.Collector // What is known beside what this package knows; nil: nothing.
	Flags       map[string]string
	ConfigYAML  func() string // The configuration that is in force, without secrets.
	BuildInfo   BuildInfo
	RuntimeInfo func() (v1.RuntimeInfo, error)
	Gatherer    prometheus.Gatherer // Of this process' own metrics.
	ExternalURL string
	// CORSOrigin matches, anchored, the origins whose scripts may read answers. Nil is none of them.
	CORSOrigin *regexp.Regexp
	// LookbackDelta is for how long a sample is the newest of its series, in /federate. 0: five minutes.
	LookbackDelta time.Duration
	RemoteRead    RemoteRead
}

// RemoteRead bounds /api/v1/read for clients outside of the cluster. Zero values are Prometheus' defaults.
type RemoteRead struct {
	MaxSamples    int // In an answer that is not streamed. Negative: no bound.
	MaxConcurrent int // Reads at once; further ones wait.
	FrameBytes    int // Of a frame of a streamed answer.
}

// New returns the handler of /api/v1/ and /federate. Remote write is not part of it. The registerer may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) http.Handler {
	cfg = withDefaults(cfg)
	router := route.New()
	promAPI := newPrometheusAPI(cfg, logger, reg)
	promAPI.Register(router)

	mux := http.NewServeMux()
	theirs := http.StripPrefix(prefix, router)
	mux.Handle(prefix+"/", theirs)
	own := &handlers{cfg: cfg, logger: logger}
	if cfg.Explain != nil {
		explained := httputil.CompressionHandler{Handler: own.newExplain(cfg)}
		for _, path := range []string{"/query", "/query_range"} {
			mux.Handle(prefix+path, own.explain(theirs, explained))
		}
	}
	mux.Handle("POST "+prefix+"/read", own.read(theirs))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.Handle(method+" "+prefix+"/query_exemplars", httputil.CompressionHandler{Handler: own.exemplars(theirs)})
	}
	mux.Handle("GET "+pathFederate, httputil.CompressionHandler{Handler: http.HandlerFunc(own.federate)})
	for path, answer := range map[string]answerFunc{
		"/metadata":           own.metadata,
		"/status/config":      own.config,
		"/status/flags":       own.flags,
		"/status/buildinfo":   own.buildInfo,
		"/status/tsdb":        own.tsdbStatus,
		"/status/tsdb/blocks": own.tsdbBlocks,
	} {
		mux.Handle("GET "+prefix+path, httputil.CompressionHandler{Handler: own.handle(answer)})
	}
	return own.withParams(mux)
}

func withDefaults(cfg Config) Config {
	if cfg.Parser == nil {
		cfg.Parser = parser.NewParser(parser.Options{})
	}
	if cfg.Flags == nil {
		cfg.Flags = map[string]string{}
	}
	if cfg.BuildInfo.Version == "" {
		cfg.BuildInfo.Version = PrometheusVersion
	}
	if cfg.BuildInfo.Application == "" {
		cfg.BuildInfo.Application = "Penstock"
	}
	if cfg.RuntimeInfo == nil {
		cfg.RuntimeInfo = func() (v1.RuntimeInfo, error) { return v1.RuntimeInfo{}, nil }
	}
	if cfg.Gatherer == nil {
		cfg.Gatherer = prometheus.NewRegistry()
	}
	if cfg.ConfigYAML == nil {
		cfg.ConfigYAML = func() string { return "{}\n" }
	}
	if cfg.LookbackDelta <= 0 {
		cfg.LookbackDelta = lookbackDefault
	}
	cfg.RemoteRead = cfg.RemoteRead.withDefaults()
	if cfg.CORSOrigin == nil {
		cfg.CORSOrigin = regexp.MustCompile("^$") // No request has an empty origin.
	}
	return cfg
}

// withParams is what every request passes first.
func (h *handlers) withParams(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions { // A browser's question about CORS, which carries no parameters.
			next.ServeHTTP(w, r)
			return
		}
		if !h.cfg.Ready() {
			h.respondError(w, r, &apiError{http.StatusServiceUnavailable, "unavailable", errNotReady})
			return
		}
		if err := checkForm(r); err != nil {
			h.respondError(w, r, badData(err))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, requestBytesMax)
		ctx, err := h.cfg.Params(r)
		if err != nil {
			h.respondError(w, r, badData(err))
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
