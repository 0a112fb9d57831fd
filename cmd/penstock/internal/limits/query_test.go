// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	querylimit "github.com/penstock-io/penstock/querier/limit"
)

// allQueryLimits has every limit of queries, with a value.
func allQueryLimits() Tenant {
	n, b, d := Override[int64]{true, 7}, Override[Bytes]{true, 8}, Override[model.Duration]{true, model.Duration(9 * time.Second)}
	return Tenant{
		QueryMaxSamples: n, QueryMaxSeries: n, QueryMaxBytes: b, QueryMaxMemoryBytes: b, QueryTimeout: d, QueryMaxConcurrency: n, QueryMaxRange: d,
		QueryMaxExpressionBytes: b, QueryMaxExpressionDepth: n, QueryMaxMatchers: n, QueryMaxRegexBytes: b, QueryMaxSubqueryPoints: n,
	}
}

// The file overrides flags, for all tenants or for one, and says nothing of what it does not name.
func TestQueryLimits(t *testing.T) {
	flags := querylimit.Defaults()
	s := parse(t, `
defaults:
  query_max_series: 1000
  query_timeout: 30s
tenants:
  big: {query_max_series: 0, query_max_bytes: 16GiB, query_max_range: 90d, query_max_concurrency: 3}
`)
	want := flags
	want.MaxSeries, want.Timeout = 1000, 30*time.Second
	require.Equal(t, want, s.Of("other").Query(flags))
	want.MaxSeries, want.MaxBytes, want.MaxRange, want.MaxConcurrency = 0, 16<<30, 90*24*time.Hour, 3
	require.Equal(t, want, s.Of("big").Query(flags))

	all := allQueryLimits()
	require.Equal(t, querylimit.Limits{
		MaxSamples: 7, MaxSeries: 7, MaxBytes: 8, MaxMemory: 8, Timeout: 9 * time.Second, MaxConcurrency: 7, MaxRange: 9 * time.Second, MaxExpressionBytes: 8,
		MaxDepth: 7, MaxMatchers: 7, MaxRegexBytes: 8, MaxSubqueryPoints: 7,
	}, all.Query(flags))

	text, err := json.Marshal(s.Of("big"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"query_max_series":0,"query_max_bytes":17179869184,"query_max_memory_bytes":null,"query_timeout":"30s"`)
	require.Contains(t, string(text), `"query_max_samples":null`)
}

func TestQueryLimitErrors(t *testing.T) {
	f := func(want, content string) {
		t.Helper()
		_, err := Parse([]byte(content), validTenant)
		require.ErrorContains(t, err, want)
	}
	f(`query_max_samples is 0, it must be between 1 and`, "defaults: {query_max_samples: 0}")
	f(`query_timeout is 0, it must be between 0.001 and`, "tenants: {a: {query_timeout: 0s}}")
	f(`query_max_series is -1, it must be between 0 and`, "defaults: {query_max_series: -1}")
	f(`not a valid duration string`, "defaults: {query_max_range: long}")
}
