// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketRetention(t *testing.T) {
	flag, _ := toolBucket(t)
	genBlocks(t, flag)
	genBlocks(t, flag, "--tenant=audit")
	file := filepath.Join(t.TempDir(), "limits.yml")
	require.NoError(t, os.WriteFile(file, []byte("tenants:\n  audit: {retention_raw: 0s}\n"), 0o600))
	args := []string{"bucket", "retention", flag, "--retention.raw=1d", "--limits.config-file=" + file}

	out, err := runTool(t, "bucket", "retention", flag, "--dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "\n0 blocks would be marked", "nothing was said of how long")
	out, err = runTool(t, append(args, "--dry-run")...)
	require.NoError(t, err)
	require.Regexp(t, defaultTenant+` +raw +2026-01-05T02:00:00Z +.* of 1d `, out)
	require.Contains(t, out, "\n3 blocks would be marked for deletion")
	require.NotContains(t, out, "audit")
	for _, r := range lsRows(t, flag) {
		require.Empty(t, r.Marks)
	}
	report, err := runJSON[retentionReport](t, args...)
	require.NoError(t, err)
	require.Len(t, report.Expired, 3)
	for _, r := range lsRows(t, flag) {
		require.Equal(t, r.Tenant == defaultTenant, len(r.Marks) == 1)
	}
	report, err = runJSON[retentionReport](t, args...)
	require.NoError(t, err)
	require.Empty(t, report.Expired, "they are marked")
}
