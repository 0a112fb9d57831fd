// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

func TestRetention(t *testing.T) {
	const day = 24 * time.Hour
	s := parse(t, `
defaults:
  retention_raw: 30d
tenants:
  short: {retention_raw: 2d, retention_5m: 1y}
  forever: {retention_raw: 0s}
`)
	flag := model.Duration(7 * day)
	require.Equal(t, 30*day, s.Of("other").RetentionRaw.Or(flag), "what a tenant says does not change the others")
	require.Equal(t, 7*day, s.Of("other").Retention5m.Or(flag))
	require.Equal(t, 2*day, s.Of("short").RetentionRaw.Or(flag))
	require.Equal(t, 365*day, s.Of("short").Retention5m.Or(flag))
	require.Equal(t, 7*day, s.Of("short").Retention1h.Or(flag))
	require.Zero(t, s.Of("forever").RetentionRaw.Or(flag))

	raw, err := json.Marshal(s.Of("short"))
	require.NoError(t, err)
	require.Contains(t, string(raw), `"retention_raw":"2d","retention_5m":"1y","retention_1h":null`)
	_, err = Parse([]byte("defaults:\n  retention_raw: soon\n"), validTenant)
	require.ErrorContains(t, err, `section "defaults"`)
	require.ErrorContains(t, err, "soon")
}
