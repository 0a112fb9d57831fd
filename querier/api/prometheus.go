// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/features"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// withDefaults fills in Prometheus' own.
func (r RemoteRead) withDefaults() RemoteRead {
	const samples, atOnce, frameBytes = 50_000_000, 10, 1 << 20
	r.MaxSamples = cmp.Or(r.MaxSamples, samples)
	r.MaxConcurrent = cmp.Or(r.MaxConcurrent, atOnce)
	r.FrameBytes = cmp.Or(r.FrameBytes, frameBytes)
	return r
}

// newPrometheusAPI calls NewAPI, whose parameters change with nearly every release of Prometheus, and nothing
// else in the project does. Everything below serves that call.
func newPrometheusAPI(cfg Config, logger *slog.Logger, reg prometheus.Registerer) *v1.API {
	return v1.NewAPI(
		cfg.Engine,
		cfg.Queryable,
		nil, nil, // Appenders: remote write has its own handler.
		cfg.Exemplars,
		func(context.Context) v1.ScrapePoolsRetriever { return nothing{} },
		func(context.Context) v1.TargetRetriever { return nothing{} },
		func(context.Context) v1.AlertmanagerRetriever { return nothing{} },
		func() config.Config { return config.Config{} },
		cfg.Flags,
		v1.GlobalURLOptions{},
		func(f http.HandlerFunc) http.HandlerFunc { return f }, // Readiness was asked before.
		noAdmin{}, "",
		false,    // No admin API.
		false, 0, // No search.
		logger,
		func(context.Context) v1.RulesRetriever { return nothing{} },
		max(cfg.RemoteRead.MaxSamples, 0), cfg.RemoteRead.MaxConcurrent, cfg.RemoteRead.FrameBytes,
		false, // Not an agent.
		cfg.CORSOrigin,
		cfg.RuntimeInfo,
		nil, // Build information: ours stands before it.
		func() []notifications.Notification { return []notifications.Notification{} },
		func() (<-chan notifications.Notification, func(), bool) { return nil, nil, false },
		cfg.Gatherer,
		reg,
		nil,        // Statistics as Prometheus renders them.
		false, nil, // No remote write,
		false, false, false, // no OTLP,
		false, // no zero samples for start timestamps,
		0,     // of which this is the lookback;
		false, // no type and unit labels,
		false, // no metadata from writes.
		errorCode,
		newFeatures(cfg),
		v1.OpenAPIOptions{ExternalURL: cfg.ExternalURL, Version: cfg.BuildInfo.Version},
		cfg.Parser,
	)
}

// errorCode makes a 503 of an answer that is incomplete now and may be complete soon. Prometheus takes any
// error that is tsdb.ErrNotReady for "unavailable", and answers it with 500. (The type of the number is not exported.)
func errorCode[N any](_ N, err error) (int, bool) {
	return http.StatusServiceUnavailable, errors.Is(err, tsdb.ErrNotReady)
}

// newFeatures adds what holds for this API to the features that clients may probe at /features.
func newFeatures(cfg Config) features.Collector {
	r := cfg.Features
	if r == nil {
		r = features.NewRegistry()
	}
	for _, name := range []string{
		"exclude_alerts", "label_values_match", "openapi_3.1", "openapi_3.2", "query_stats", "query_warnings",
		"remote_write_receiver", "time_range_labels", "time_range_series",
	} {
		r.Enable(features.API, name)
	}
	for _, name := range []string{"admin", "search"} {
		r.Disable(features.API, name)
	}
	for _, name := range v1.FuzzAlgorithms() { // As Prometheus, which has them with or without the search.
		r.Enable(features.API, "search_fuzz_alg_"+name)
	}
	cfg.Parser.RegisterFeatures(r)
	return r
}

// nothing retrieves what a Prometheus has and we have not.
type nothing struct{}

func (nothing) ScrapePools() []string                       { return []string{} }
func (nothing) TargetsActive() map[string][]*scrape.Target  { return nil }
func (nothing) TargetsDropped() map[string][]*scrape.Target { return nil }
func (nothing) TargetsDroppedCounts() map[string]int        { return map[string]int{} }
func (nothing) Alertmanagers() []*url.URL                   { return nil }
func (nothing) DroppedAlertmanagers() []*url.URL            { return nil }
func (nothing) RuleGroups() []*rules.Group                  { return nil }
func (nothing) AlertingRules() []*rules.AlertingRule        { return nil }

func (nothing) ScrapePoolConfig(name string) (*config.ScrapeConfig, error) {
	return nil, fmt.Errorf("scrape pool %q not found", name) // As Prometheus says it.
}

// noAdmin stands where a Prometheus has its one TSDB. The admin API is off, and what reads from it has handlers of ours.
type noAdmin struct{}

var errNoAdmin = errors.New("there is no single TSDB")

func (noAdmin) CleanTombstones() error                                         { return errNoAdmin }
func (noAdmin) Delete(context.Context, int64, int64, ...*labels.Matcher) error { return errNoAdmin }
func (noAdmin) Snapshot(string, bool) error                                    { return errNoAdmin }
func (noAdmin) Stats(string, int) (*tsdb.Stats, error)                         { return nil, errNoAdmin }

func (noAdmin) BlockMetas() ([]tsdb.BlockMeta, error) { return nil, errNoAdmin }

func (noAdmin) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }
