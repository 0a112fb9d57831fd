// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/penstock-io/penstock/downsample"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/dedup"
)

// Prometheus' own default: a series is stale five minutes after its last sample.
const lookbackDelta = 5 * time.Minute

// wireReads stacks the read path: engine over dedup over the fan-out.
func (s *server) wireReads() error {
	cfg := querier.Config{
		Local:   s.store,
		Members: s.memberships,
		Client:  s.client,
		Joined:  downsample.WithJoined,
	}
	if s.blocks != nil { // a nil *Store in the interface would not be nil
		cfg.Blocks = s.blocks
	}
	s.querier = querier.New(cfg, s.logger.With("component", "querier"), s.reg)
	return nil
}

// deduplicated is the fan-out with the replicas of HA pairs made one.
func (s *server) deduplicated() storage.SampleAndChunkQueryable {
	return dedup.Queryable(s.querier, s.dedupConfig())
}

func (s *server) dedupConfig() dedup.Config {
	return dedup.Config{ReplicaLabels: s.cfg.query.replicaLabels}
}

func (s *server) newEngine() *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   s.logger.With("component", "engine"),
		Reg:                      s.reg,
		MaxSamples:               s.cfg.query.maxSamples,
		Timeout:                  time.Duration(s.cfg.query.timeout),
		LookbackDelta:            lookbackDelta,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		EnablePerStepStats:       true,
		Parser:                   parser.NewParser(parser.Options{}),
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
	ctx = querier.WithTenant(ctx, tenant)
	if s.blocks != nil {
		ctx = s.blocks.WithBudget(ctx)
	}
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
