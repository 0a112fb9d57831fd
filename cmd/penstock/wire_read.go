// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/features"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/dedup"
	"github.com/penstock-io/penstock/querier/limit"
)

// Prometheus' own default: a series is stale five minutes after its last sample.
const lookbackDelta = 5 * time.Minute

// engineTimeout is above any that a tenant is given: the account of a query ends it in time.
const engineTimeout = 24 * time.Hour

// wireReads stacks the read path: engine over dedup over accounts over the fan-out.
func (s *server) wireReads() error {
	cfg := querier.Config{
		Local:       s.queries.Local(s.store),
		Members:     s.memberships,
		AcceptsFrom: s.store.AcceptsFrom,
		Client:      s.client,
		Joined:      downsample.WithJoined,
		Received:    func(ctx context.Context, bytes int64) error { return limit.From(ctx).Received(bytes) },
		Turn:        s.queries.Turn,

		Metadata: s.knownMetadata,
		Heads:    heads{s},
	}
	if s.blocks != nil { // a nil *Store in the interface would not be nil
		cfg.Blocks = s.blocks
	}
	s.querier = querier.New(cfg, s.logger.With("component", "querier"), s.reg)
	return nil
}

// deduplicated is the fan-out with the replicas of HA pairs made one.
func (s *server) deduplicated() storage.SampleAndChunkQueryable {
	return dedup.Queryable(limit.Queryable(s.querier), s.dedupConfig())
}

func (s *server) dedupConfig() dedup.Config {
	return dedup.Config{ReplicaLabels: s.cfg.query.replicaLabels}
}

// newParser takes the language that a Prometheus without further flags takes.
func newParser() parser.Parser {
	return parser.NewParser(parser.Options{ExperimentalDurationExpr: true})
}

// knownFeatures is what clients may ask for at /api/v1/features, without what the API says of itself.
func (s *server) knownFeatures(parser parser.Parser) features.Collector {
	r := features.NewRegistry()
	r.Set(features.API, "lifecycle", s.cfg.web.enableLifecycle)
	r.Enable(features.API, "otlp_write_receiver")
	for _, name := range []string{"delta_conversion", "native_delta_ingestion"} {
		r.Disable(features.OTLPReceiver, name)
	}
	r.Enable(features.TSDB, "exemplar_storage")
	r.Enable(features.TSDB, "native_histograms")
	s.newEngineFor(1, nil, parser, r) // An engine says what it can do when it is made. Those that answer are made with the first query.
	return r
}

// newEngine is an engine for each number of samples that a tenant may hold. The metrics of Prometheus' own are those of the
// queries under --query.max-samples.
func (s *server) newEngine(parser parser.Parser) promql.QueryEngine {
	return s.queries.Engine(func(maxSamples int64) promql.QueryEngine {
		var reg prometheus.Registerer
		if maxSamples == int64(s.cfg.query.maxSamples) {
			reg = s.reg
		}
		return s.newEngineFor(maxSamples, reg, parser, nil)
	})
}

func (s *server) newEngineFor(maxSamples int64, reg prometheus.Registerer, parser parser.Parser, known features.Collector) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   s.logger.With("component", "engine"),
		Reg:                      reg,
		MaxSamples:               int(maxSamples),
		Timeout:                  engineTimeout,
		LookbackDelta:            lookbackDelta,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnablePerStepStats:       true,
		FeatureRegistry:          known,
		Parser:                   parser,
	})
}

// queryContext puts what a query request says beside its PromQL into the
// context that the read path reads: the tenant, and Thanos' parameters dedup,
// partial_response, replicaLabels[] and max_source_resolution.
func (s *server) queryContext(r *http.Request) (context.Context, error) {
	ctx := r.Context()
	tenant, err := s.requestTenant(r)
	if err != nil {
		return nil, err
	}
	ctx = s.withSpending(querier.WithTenant(ctx, tenant))
	if v := r.FormValue("dedup"); v != "" {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("invalid parameter \"dedup\": %.80q is not true or false", v)
		}
		ctx = dedup.WithEnabled(ctx, on)
	}
	if v := r.FormValue("partial_response"); v != "" {
		on, err := strconv.ParseBool(v)
		if err != nil {
			return nil, fmt.Errorf("invalid parameter \"partial_response\": %.80q is not true or false", v)
		}
		ctx = querier.WithPartialResponse(ctx, on)
	}
	if labels := r.Form["replicaLabels[]"]; len(labels) > 0 {
		ctx = dedup.WithReplicaLabels(ctx, labels)
	}
	return s.withResolution(ctx, r)
}
