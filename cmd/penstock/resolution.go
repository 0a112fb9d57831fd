// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/penstock-io/penstock/downsample"
)

const (
	paramResolution = "max_source_resolution"
	paramLookback   = "lookback_delta"
	autoResolution  = "auto"
)

// withResolution puts into ctx how coarse the samples may be that answer the request. Where they may be further apart than a
// sample stands for its series, it stands for it until the next one: the engine reads that from a parameter of its own, which
// is set unless the request has it.
func (s *server) withResolution(ctx context.Context, r *http.Request) (context.Context, error) {
	text := r.FormValue(paramResolution)
	if text == "" && s.cfg.query.autoDownsampling {
		text = autoResolution
	}
	// A step that is no duration is for the API to refuse.
	step, _ := downsample.ParseDuration(r.FormValue("step"))
	limit, err := downsample.ParseLimit(text, step)
	if err != nil {
		return nil, fmt.Errorf("invalid parameter %q: %w", paramResolution, err)
	}
	if lookback := limit.Lookback(lookbackDelta); lookback > lookbackDelta && r.FormValue(paramLookback) == "" {
		r.Form.Set(paramLookback, strconv.FormatFloat(lookback.Seconds(), 'f', -1, 64))
	}
	ctx = withScope(ctx, r, queryTenant(ctx), limit.Max > 0)
	return downsample.WithLimit(ctx, limit), nil
}
