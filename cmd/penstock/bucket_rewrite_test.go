// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBucketRewrite(t *testing.T) {
	flag, _ := toolBucket(t)
	genBlocks(t, flag)
	rows := lsRows(t, flag)
	args := []string{"bucket", "rewrite", flag, "--id=" + rows[0].ULID, "--id=" + rows[1].ULID, `--delete-series=loadgen_gauge{job="job-1"}`, "--scratch-dir=" + t.TempDir()}
	out, err := runTool(t, append(args, "--dry-run")...)
	require.NoError(t, err)
	require.Contains(t, out, "block "+rows[0].ULID+": 1 of 10 series and 120 of 1200 samples would be deleted\n"+
		`  - {__name__="loadgen_gauge", instance="instance-0000003", job="job-1"}`+"\n")
	require.Len(t, lsRows(t, flag), 3)

	result, err := runJSON[rewriteResult](t, args...)
	require.NoError(t, err)
	require.Len(t, result.Blocks, 2)
	require.Equal(t, "job-1", result.Blocks[0].Deleted[0].Get("job"))
	require.Len(t, lsRows(t, flag), 5)
	made := lsRows(t, flag, "--id="+result.Blocks[0].New.String())[0]
	require.Equal(t, uint64(9), made.Series)
	_, err = runTool(t, "bucket", "verify", flag)
	require.NoError(t, err)

	for want, args := range map[string][]string{
		"--id is missing":            {"--delete-series=x"},
		"--delete-series is missing": {"--id=" + rows[2].ULID},
		"--delete-series=\"{\"":      {"--id=" + rows[2].ULID, "--delete-series={"},
		"is marked for deletion":     {"--id=" + rows[0].ULID, "--delete-series=x"},
	} {
		_, err := runTool(t, append([]string{"bucket", "rewrite", flag}, args...)...)
		require.ErrorContains(t, err, want)
	}
}
