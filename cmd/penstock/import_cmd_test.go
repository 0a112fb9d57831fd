// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestImportPrometheus(t *testing.T) {
	data := t.TempDir()
	genBlocks(t, "--dir="+data)
	flag, _ := toolBucket(t)
	args := []string{"import", flag, "--source.dir=" + data, "--label=cluster=prod", "--label=prometheus_replica=a"}
	out, err := runTool(t, append(args, "--dry-run")...)
	require.NoError(t, err)
	require.Regexp(t, `2026-01-05T00:00:00Z +2026-01-05T02:00:00Z +2h +1 +raw +{cluster="prod",prometheus_replica="a",tenant_id="default-tenant"} .* would be imported\n`, out)
	require.Empty(t, lsRows(t, flag))

	// One of the three is damaged; the others come in.
	names, err := filepath.Glob(filepath.Join(data, "*", "chunks", "000001"))
	require.NoError(t, err)
	sound, err := os.ReadFile(names[1])
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(names[1], sound[:len(sound)-1], 0o600))
	report, err := runJSON[importReport](t, args...)
	require.ErrorContains(t, err, "1 blocks cannot be imported")
	require.Contains(t, report.Blocks[1].Reason, "it is damaged; chunk-unreadable: ")
	rows := lsRows(t, flag)
	require.Len(t, rows, 2)
	require.Equal(t, "prod", rows[0].Labels["cluster"])

	require.NoError(t, os.WriteFile(names[1], sound, 0o600))
	out, err = runTool(t, args...)
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(out, "skip: it is in the bucket"))
	require.Contains(t, out, "\n1 of 3 blocks imported, ")
	_, err = runTool(t, "bucket", "verify", flag)
	require.NoError(t, err)
}

func TestImportBucketCommand(t *testing.T) {
	from, _ := toolBucket(t)
	to, _ := toolBucket(t)
	genBlocks(t, from, "--copy=a", "--copy=b")
	out, err := runTool(t, "import", to, strings.Replace(from, "--", "--source.", 1), "--as-tenant=old", "--scratch-dir="+t.TempDir(),
		`--selector={receive_replica="a"}`, "--from=2026-01-05T02:00:00Z")
	require.NoError(t, err)
	require.Contains(t, out, "\n2 of 2 blocks imported")
	rows := lsRows(t, to)
	require.Len(t, rows, 2)
	require.Equal(t, map[string]string{"receive_replica": "a", "tenant_id": "old"}, rows[0].Labels)
}

// TestImportStopped: an import that was told to stop has not done what it was to do, and says so.
func TestImportStopped(t *testing.T) {
	data := t.TempDir()
	genBlocks(t, "--dir="+data)
	flag, _ := toolBucket(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	require.ErrorContains(t, run(ctx, []string{"import", flag, "--source.dir=" + data}, &out), "stopped before it was done")
	require.Empty(t, lsRows(t, flag))
}

func TestImportRefusesFlags(t *testing.T) {
	flag, _ := toolBucket(t)
	for want, args := range map[string][]string{
		"give either --source.dir":          {flag},
		"use --as-tenant":                   {flag, "--source.dir=x", "--label=tenant_id=a"},
		"--as-tenant=\"a b\" must match":    {flag, "--source.dir=x", "--as-tenant=a b"},
		"--label=\"a=\" is not name=value":  {flag, "--source.dir=x", "--label=a="},
		"--objstore.config-file is missing": {"--source.dir=x"},
		"no such file":                      {flag, "--source.dir=" + filepath.Join(t.TempDir(), "none")},
	} {
		_, err := runTool(t, append([]string{"import"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}
