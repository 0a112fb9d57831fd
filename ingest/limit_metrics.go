// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	// limitTenantsMax bounds the tenants that the metric names: their names come from
	// requests. It is more than a node keeps by default.
	limitTenantsMax = 200
	// limitTenantsRest stands for all others. No tenant has such a name.
	limitTenantsRest = "(other)"
)

// limitMetrics count how often tenants meet their limits.
type limitMetrics struct {
	hits *prometheus.CounterVec

	mu      sync.Mutex
	tenants map[string]struct{}
}

func newLimitMetrics(reg prometheus.Registerer) *limitMetrics {
	return &limitMetrics{
		hits: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
			Name: "penstock_ingest_limited_total",
			Help: "Requests, or series of requests, refused for a limit of their tenant; by tenant and name of the limit.",
		}, []string{"tenant", "limit"}),
		tenants: map[string]struct{}{},
	}
}

// request counts a request that err refuses, if it does so for a limit.
func (m *limitMetrics) request(tenant string, err error) {
	var over *limitError
	if errors.As(err, &over) {
		m.hits.WithLabelValues(m.label(tenant), over.limit).Inc()
	}
}

// series counts the series that were refused for a limit.
func (m *limitMetrics) series(tenant string, rejected []Rejection) {
	for _, r := range rejected {
		if limit := limitOf(r.Reason); limit != "" {
			m.hits.WithLabelValues(m.label(tenant), limit).Inc()
		}
	}
}

func (m *limitMetrics) label(tenant string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.tenants[tenant]; known {
		return tenant
	}
	if len(m.tenants) >= limitTenantsMax {
		return limitTenantsRest
	}
	m.tenants[tenant] = struct{}{}
	return tenant
}
