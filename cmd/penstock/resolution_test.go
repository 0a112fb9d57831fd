// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/downsample"
)

func TestResolutionOfARequest(t *testing.T) {
	for _, c := range []struct {
		auto             bool
		resolution, step string
		lookback         string
		want             downsample.Limit
		wantLookback     string
	}{
		{false, "", "3600", "", downsample.Limit{}, ""},
		{true, "", "3600", "", downsample.Limit{Max: 720_000}, ""},
		{true, "", "", "", downsample.Limit{}, ""}, // An instant query.
		{true, "0s", "3600", "", downsample.Limit{Strict: true}, ""},
		{false, "auto", "1d", "", downsample.Limit{Max: 17_280_000}, "3600"},
		{false, "auto", "1d", "7m", downsample.Limit{Max: 17_280_000}, "7m"},
		{false, "1h", "", "", downsample.Limit{Max: 3_600_000, Strict: true}, "3600"},
		{false, "5m", "", "", downsample.Limit{Max: 300_000, Strict: true}, ""},
	} {
		form := url.Values{paramResolution: {c.resolution}, "step": {c.step}, paramLookback: {c.lookback}}
		r := httptest.NewRequest(http.MethodGet, "/api/v1/query_range?"+form.Encode(), nil)
		s := &server{cfg: &config{query: queryConfig{autoDownsampling: c.auto}}}
		ctx, err := s.withResolution(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, c.want, downsample.LimitFrom(ctx), "%+v", c)
		require.Equal(t, c.wantLookback, r.FormValue(paramLookback), "%+v", c)
	}
	r := httptest.NewRequest(http.MethodGet, "/api/v1/query?"+paramResolution+"=coarse", nil)
	_, err := (&server{cfg: &config{}}).withResolution(t.Context(), r)
	require.EqualError(t, err, `invalid parameter "max_source_resolution": "coarse" is neither a duration nor "auto"`)
}
