// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// Metadata is what a sender has told of a metric family.
type Metadata struct {
	Type string `json:"type"`
	Unit string `json:"unit"`
	Help string `json:"help"`
}

// metadata answers like Prometheus, which has it from its scrape targets; we have it from what senders wrote. Families are cut
// in the order of their names.
func (h *handlers) metadata(r *http.Request) (any, *apiError) {
	limit, err := limitOf(r, "limit")
	if err != nil {
		return nil, badData(err)
	}
	limitPerMetric, err := limitOf(r, "limit_per_metric")
	if err != nil {
		return nil, badData(err)
	}
	known := map[string][]Metadata{}
	if h.cfg.Metadata != nil {
		if known, err = h.cfg.Metadata(r.Context(), r.FormValue("metric"), limit, limitPerMetric); err != nil {
			return nil, internal(err)
		}
	}
	out := make(map[string][]Metadata, len(known))
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if limit >= 0 && len(out) >= limit {
			break
		}
		entries := known[name]
		if limitPerMetric > 0 && len(entries) > limitPerMetric {
			entries = entries[:limitPerMetric]
		}
		out[name] = entries
	}
	return out, nil
}

// limitOf returns the number that a parameter gives, or -1 without one.
func limitOf(r *http.Request, param string) (int, error) {
	s := r.FormValue(param)
	if s == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, errors.New(param + " must be a number")
	}
	return n, nil
}
