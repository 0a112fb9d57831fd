// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"

	"github.com/penstock-io/penstock/cmd/penstock/internal/limits"
	"github.com/penstock-io/penstock/cmd/penstock/internal/memory"
	"github.com/penstock-io/penstock/ingest"
	"github.com/penstock-io/penstock/tsdbstore"
)

func limitsFile(cfg *config) limits.Config {
	return limits.Config{Path: cfg.limits.configFile, ValidTenant: tenantPattern.MatchString}
}

// openLimits reads the limits, and takes up what keeps this process within its memory.
func (s *server) openLimits() error {
	var err error
	s.limits, err = limits.Open(limitsFile(s.cfg), s.logger.With("component", "limits"), s.reg)
	if err != nil {
		return err
	}
	s.memory = memory.NewGuard(memory.Config{LimitBytes: debug.SetMemoryLimit(-1)}, s.reg)
	return nil
}

// tenantLimits are the limits of the write path.
func (s *server) tenantLimits(tenant string) *ingest.Limits {
	return s.limits.Current().Of(tenant).Ingest()
}

// storeLimits are the limits of the local storage.
func (s *server) storeLimits(tenant string) tsdbstore.Limits {
	set := s.limits.Current()
	return tsdbstore.Limits{
		MaxTenants:    set.Node.MaxTenants,
		MaxSeries:     set.Of(tenant).MaxSeries,
		MaxNodeSeries: set.Node.MaxSeries,
	}
}

// requestTenant returns the tenant of a request of a user; other members always name
// one.
func (s *server) requestTenant(r *http.Request) (string, error) {
	if !namesTenant(r) && s.limits.Current().Node.RequireTenant {
		return "", errors.New("no tenant: send the header X-Scope-OrgID (node.require_tenant in --limits.config-file)")
	}
	return tenantOf(r)
}

// limitsStatus answers the limits in force for the tenant of the request.
func (s *server) limitsStatus(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	tenant, err := s.requestTenant(r)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "error", "errorType": "bad_data", "error": err.Error()})
		return
	}
	set := s.limits.Current()
	_ = json.NewEncoder(w).Encode(map[string]any{ // The client may be gone.
		"status": "success",
		"data": map[string]any{
			"tenant":     tenant,
			"limits":     set.Of(tenant),
			"query":      s.queryLimits(tenant), // With the flags where the file says nothing.
			"node":       set.Node,
			"headSeries": s.store.HeadSeries(tenant),
		},
	})
}
