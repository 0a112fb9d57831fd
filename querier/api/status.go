// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/prometheus/prometheus/tsdb"
	v1 "github.com/prometheus/prometheus/web/api/v1"
)

// PrometheusVersion is the release of Prometheus whose API this is. Clients such as Grafana compare
// "version" of status/buildinfo with it to know what they may ask.
const PrometheusVersion = "3.15.0"

// BuildInfo is the answer of status/buildinfo: that of a Prometheus, and what it really is.
type BuildInfo struct {
	Version   string `json:"version"` // Of the API. Empty is PrometheusVersion.
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`

	Application        string `json:"application"`        // Empty is "Penstock".
	ApplicationVersion string `json:"applicationVersion"` // Of Penstock.
}

// TSDBStats is the answer of status/tsdb, and what is lacking in it.
type TSDBStats struct {
	Status   v1.TSDBStatus
	Warnings []error
}

func (h *handlers) config(*http.Request) (any, *apiError) {
	return map[string]string{"yaml": h.cfg.ConfigYAML()}, nil
}

func (h *handlers) flags(*http.Request) (any, *apiError) { return h.cfg.Flags, nil }

func (h *handlers) buildInfo(*http.Request) (any, *apiError) { return h.cfg.BuildInfo, nil }

func (h *handlers) tsdbStatus(r *http.Request) (any, *apiError) {
	// Both are Prometheus' own.
	const limitDefault, limitMax = 10, 10_000
	limit := limitDefault
	if s := r.FormValue("limit"); s != "" {
		var err error
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 {
			return nil, badData(errors.New("limit must be a positive number"))
		}
		if limit > limitMax {
			return nil, badData(fmt.Errorf("limit must not exceed %d", limitMax))
		}
	}
	if h.cfg.TSDBStats == nil {
		return nil, &apiError{http.StatusNotFound, "not_found", errors.New("there are no statistics")}
	}
	s, err := h.cfg.TSDBStats(r.Context(), limit)
	switch {
	case errors.Is(err, tsdb.ErrNotReady):
		return nil, &apiError{http.StatusServiceUnavailable, "unavailable", err}
	case err != nil:
		return nil, internal(err)
	case len(s.Warnings) > 0:
		return warnedData{s.Status, s.Warnings}, nil
	}
	return s.Status, nil
}

func (h *handlers) tsdbBlocks(r *http.Request) (any, *apiError) {
	metas := []tsdb.BlockMeta{}
	if h.cfg.BlockMetas != nil {
		metas = append(metas, h.cfg.BlockMetas(r.Context())...)
	}
	return map[string][]tsdb.BlockMeta{"blocks": metas}, nil
}
