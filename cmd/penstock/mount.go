// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web"

	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/api"
	"github.com/penstock-io/penstock/ring"
)

// mount puts every endpoint behind its listener:
//
//	public    /api/v1/write, /push, /receive   remote write
//	          /api/v1/otlp/v1/metrics          OTLP
//	          /api/v1/...                      Prometheus' HTTP API
//	          /federate                        the newest samples, for a Prometheus to scrape
//	          /api/v1/status/ring              members and slots
//	          /api/v1/status/limits            limits of the tenant
//	          /api/v1/status/queries           what runs for the tenant (internal: for all)
//	          /api/v1/status/refill            what this member lost and is given back
//	          /api/v1/status/senders           what each sender delivered
//	          /-/healthy /-/ready /metrics /
//	internal  /internal/v1/...                 the other members, signed
//	          /-/reload /-/flush /-/drain /debug/pprof  operators (public: --web.enable-lifecycle)
func (s *server) mount() error {
	public, err := s.publicMux()
	if err != nil {
		return err
	}
	s.public.server.Handler = public
	if prefix := s.cfg.prefix(); prefix != "" {
		s.public.server.Handler = underPrefix(prefix, public)
	}
	s.public.server.Handler = s.traffic.watch(s.public.server.Handler, s.stopping.Load)
	s.internal.server.Handler = s.internalMux()
	return nil
}

func (s *server) publicMux() (*http.ServeMux, error) {
	mux := http.NewServeMux()
	translation, err := s.cfg.otlpTranslation()
	if err != nil {
		return nil, err
	}
	s.otlpInForce = translation
	write, otlp := ingest.NewHandlers(ingest.HandlerConfig{
		Writer:    s.distributor,
		Tenant:    s.requestTenant,
		MaxFuture: maxFutureCoordinator,
		LimitsOf:  s.tenantLimits,
		Admit:     s.admitWrite,
		Cache:     s.series,
		Ledger:    s.ledger,
		Election:  s.election,
	}, translation, s.logger.With("component", "write"), s.reg)
	write, otlp = s.reserving(write), s.reserving(otlp)
	mux.Handle("/api/v1/otlp/v1/metrics", otlp)
	for _, path := range []string{"/api/v1/write", "/api/v1/push", "/api/v1/receive"} {
		mux.Handle(path, write)
	}
	mux.Handle("/api/v1/status/ring", ring.StatusHandler(s.members.View))
	mux.HandleFunc("GET /api/v1/status/limits", s.limitsStatus)
	mux.Handle("GET /api/v1/status/refill", s.refiller.StatusHandler())
	mux.Handle("/api/v1/status/senders", s.ledger.StatusHandler())
	mux.Handle("GET /api/v1/status/queries", s.queries.StatusHandler(false))
	queries := api.ReadForm(s.queries.Handler(s.newAPI()))
	mux.Handle("/api/v1/", queries)
	mux.Handle("/federate", queries)
	s.mountStatus(mux)
	if s.cfg.web.enableLifecycle {
		s.mountLifecycle(mux)
	}
	landing, err := web.NewLandingPage(web.LandingConfig{
		Name:        "Penstock",
		Description: "Prometheus remote-write receiver and ingest cluster. Member " + s.identity.Name + ".",
		Version:     version.Info(),
		RoutePrefix: s.cfg.externalPath() + "/",
		Links: []web.LandingLinks{
			{Address: "/api/v1/status/ring", Text: "Ring", Description: "members, their state and slots"},
			{Address: "/api/v1/status/refill", Text: "Refill", Description: "what this member has lost and is given back"},
			{Address: "/api/v1/status/limits", Text: "Limits", Description: "of the default tenant"},
			{Address: "/api/v1/status/senders?cluster=true", Text: "Senders", Description: "what each sender delivered and what became of it"},
			{Address: "/api/v1/status/queries", Text: "Queries", Description: "what runs now, of the default tenant"},
			{Address: "/api/v1/status/flags", Text: "Flags"},
			{Address: "/api/v1/status/tsdb", Text: "TSDB status"},
			{Address: "/metrics", Text: "Metrics"},
			{Address: "/-/ready", Text: "Readiness"},
		},
		Profiling: "false",
	})
	if err != nil {
		return nil, fmt.Errorf("landing page: %w", err)
	}
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.URL.Path = s.cfg.externalPath() + "/" // It answers nothing but the path that its links begin with.
		landing.ServeHTTP(w, r)
	})
	return mux, nil
}

func (s *server) internalMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/internal/v1/write", s.auth.Middleware(s.reserving(ingest.NewInternalHandler(ingest.InternalHandlerConfig{
		Local:  s.local,
		Tenant: tenantOf,
		Admit:  s.memory.AdmitWrite,
		Cache:  s.series,
	}, s.logger.With("component", "internal_write"), s.reg))))
	mux.Handle(ingest.PathInternalSenders, s.auth.Middleware(s.ledger.InternalStatusHandler()))
	mux.Handle(ingest.PathInternalAcked, s.auth.Middleware(s.ledger.InternalAckedHandler()))
	mux.Handle("GET "+pathInternalStatus, s.auth.Middleware(http.HandlerFunc(s.internalStatus)))
	mux.Handle("POST "+pathInternalLoss, s.auth.Middleware(http.HandlerFunc(s.takeLoss)))
	mux.Handle("POST "+pathInternalBlocks, s.auth.Middleware(http.HandlerFunc(s.syncBlocks)))
	if s.cluster != nil {
		mux.Handle("POST "+ring.PathIntroduce, s.auth.Middleware(ring.IntroduceHandler(s.members.View, s.cluster.Save)))
	}
	mux.Handle("GET "+pathSurvey, s.auth.Middleware(http.HandlerFunc(s.answerSurvey)))
	if s.election != nil {
		mux.Handle(ingest.PathInternalElection, s.auth.Middleware(s.election))
	}
	mux.Handle("/internal/v1/", s.auth.Middleware(s.queries.PeerHandler(querier.NewPeerHandler(querier.PeerHandlerConfig{
		Local:   s.queries.Local(s.store),
		Tenant:  tenantOf,
		Members: s.memberships,

		Metadata:    s.knownMetadata,
		Heads:       heads{s},
		AcceptsFrom: s.store.AcceptsFrom,
	}, s.logger.With("component", "internal_read"), s.reg))))
	mux.Handle("GET /api/v1/status/queries", s.queries.StatusHandler(true))
	s.mountStatus(mux)
	s.mountLifecycle(mux)
	return mux
}

func (s *server) mountStatus(mux *http.ServeMux) {
	mux.Handle("/metrics", promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{Registry: s.reg, EnableOpenMetrics: true}))
	mux.HandleFunc("/-/healthy", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "Penstock is healthy.")
	})
	mux.HandleFunc("/-/ready", func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready(); err != nil {
			http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		switch level := r.FormValue("level"); level {
		case "":
			fmt.Fprintln(w, "Penstock is ready.")
		case "redundant":
			s.readyRedundant(w, r)
		default:
			http.Error(w, fmt.Sprintf("invalid parameter \"level\": %.80q; the only level is \"redundant\"", level), http.StatusBadRequest)
		}
	})
}

func (s *server) mountLifecycle(mux *http.ServeMux) {
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("POST /-/flush", s.flush)
	mux.HandleFunc("POST "+pathDrain, s.drainHandler)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
}

// flush cuts the head of every tenant into blocks and uploads them. Samples
// older than the cut are refused afterwards unless they fit the out-of-order
// window.
func (s *server) flush(w http.ResponseWriter, r *http.Request) {
	if err := s.ready(); err != nil {
		http.Error(w, "not ready: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	for _, tenant := range s.store.Tenants() {
		if err := s.store.FlushHead(r.Context(), tenant); err != nil {
			http.Error(w, fmt.Sprintf("flush tenant %s: %s", tenant, err), http.StatusInternalServerError)
			return
		}
	}
	uploaded := 0
	if s.uploader != nil {
		ids, err := s.uploader.Sync(r.Context())
		if err != nil {
			http.Error(w, "upload: "+err.Error(), http.StatusInternalServerError)
			return
		}
		uploaded = len(ids)
	}
	fmt.Fprintf(w, "flushed %d tenants, uploaded %d blocks\n", len(s.store.Tenants()), uploaded)
}
