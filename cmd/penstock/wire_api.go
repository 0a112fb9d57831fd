// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/grafana/regexp"
	"github.com/prometheus/common/version"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/penstock-io/penstock/cmd/penstock/internal/memory"
	"github.com/penstock-io/penstock/querier"
	"github.com/penstock-io/penstock/querier/api"
	"github.com/penstock-io/penstock/querier/dedup"
	"github.com/penstock-io/penstock/querier/limit"
	"github.com/penstock-io/penstock/tsdbstore"
)

// newAPI is Prometheus' HTTP API over the deduplicated read path.
func (s *server) newAPI() http.Handler {
	start := time.Now()
	parser := newParser()
	engine := s.newEngine(parser)
	return api.New(api.Config{
		Engine:    s.queries.Again(s.cached(untrimmed{engine})),
		Queryable: s.deduplicated(),
		Exemplars: dedup.Exemplars(limit.Exemplars(s.querier), s.dedupConfig()),
		Parser:    parser,
		Features:  s.knownFeatures(parser),
		// Not s.ready: a member that replays still answers from the others, and
		// completeness counts it as missing; one that stops answers until its
		// listener closes, because load balancers take a while to turn away.
		Ready:  func() bool { return true },
		Params: s.queryContext,
		Notes:  querier.WithNotes,

		Metadata:   s.metricMetadata,
		TSDBStats:  s.tsdbStats,
		Explain:    &api.ExplainConfig{Engine: engine, Select: s.explainSelect},
		BlockMetas: func(ctx context.Context) []tsdb.BlockMeta { return s.store.Blocks(queryTenant(ctx)) },

		Flags: s.cfg.flags,
		BuildInfo: api.BuildInfo{
			Revision:           version.GetRevision(),
			Branch:             version.Branch,
			BuildUser:          version.BuildUser,
			BuildDate:          version.BuildDate,
			GoVersion:          version.GoVersion,
			ApplicationVersion: version.Version,
		},
		RuntimeInfo: func() (v1.RuntimeInfo, error) { return s.runtimeInfo(start), nil },
		Gatherer:    s.reg,
		ExternalURL: s.cfg.web.externalURL,
		Turn:        s.queries.Turn,
		ConfigYAML:  s.configYAML,
		CORSOrigin:  s.corsOrigin(),

		LookbackDelta: lookbackDelta,
		RemoteRead: api.RemoteRead{
			MaxSamples:    cmp.Or(s.cfg.query.readSamples, -1),
			MaxConcurrent: s.cfg.query.readsAtOnce,
			FrameBytes:    s.cfg.query.readFrameBytes,
		},
	}, s.logger.With("component", "api"), s.reg)
}

// corsOrigin matches the origins that --web.cors.origin names; nil is none.
func (s *server) corsOrigin() *regexp.Regexp {
	if s.cfg.web.corsOrigin == "" {
		return nil
	}
	return relabel.MustNewRegexp(s.cfg.web.corsOrigin).Regexp // It was checked at the start.
}

func (s *server) runtimeInfo(start time.Time) v1.RuntimeInfo {
	reload := s.limits.State()
	info := v1.RuntimeInfo{
		StartTime:           start.UTC(),
		ServerTime:          time.Now().UTC(),
		ReloadConfigSuccess: reload.OK,
		LastConfigTime:      reload.Since.UTC(),
		GoroutineCount:      runtime.NumGoroutine(),
		GOMAXPROCS:          runtime.GOMAXPROCS(0),
		GOGC:                memory.Collection(),
		GODEBUG:             os.Getenv("GODEBUG"),
		GOMEMLIMIT:          debug.SetMemoryLimit(-1),
		StorageRetention:    s.cfg.storage.retention.String(),
		CorruptionCount:     s.corruptions(),
	}
	// Not worth failing the page for: both are hints to the reader.
	info.Hostname, _ = os.Hostname()
	info.CWD, _ = os.Getwd()
	return info
}

// corruptions is how much damaged data this process has set aside.
func (s *server) corruptions() (n int64) {
	families, err := s.reg.Gather()
	if err != nil {
		s.logger.Warn("metrics cannot be gathered", "err", err) // Those that can are there.
	}
	for _, family := range families {
		if family.GetName() != tsdbstore.MetricQuarantined {
			continue
		}
		for _, m := range family.Metric {
			n += int64(m.GetCounter().GetValue())
		}
	}
	return n
}

// queryTenant is the tenant that queryContext put into every request's context.
func queryTenant(ctx context.Context) string {
	tenant, _ := querier.TenantFrom(ctx)
	return tenant
}
