// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/compactor"
	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// TestBucketCompacted: tools and compaction agree on what blocks are to each other. Of three copies each sample is left once,
// and what a rewrite deletes is not brought back by what the block was compacted from.
func TestBucketCompacted(t *testing.T) {
	flag, blocks := toolBucket(t)
	report := genBlocks(t, flag, "--copy=a", "--copy=b", "--copy=c", "--until=2026-01-07T00:00:00Z")
	require.Equal(t, int64(3*24), report.Blocks)
	now := func() time.Time { return time.Now().Add(24 * time.Hour) } // When nothing waits for late copies any more.
	compact := func() []buckettool.Row {
		t.Helper()
		c, err := compactor.New(compactor.Config{
			Blocks: blocks, Index: bucket.NewIndex(bucket.IndexConfig{Blocks: blocks, Now: now, Reuse: 1}, nil),
			Dir: t.TempDir(), Now: now, DefaultTenant: defaultTenant,
		}, nil, nil)
		require.NoError(t, err)
		require.NoError(t, c.Once(t.Context()))
		var live []buckettool.Row
		for _, r := range lsRows(t, flag) {
			if len(r.Marks) == 0 {
				live = append(live, r)
			}
		}
		return live
	}
	samples := func(rows []buckettool.Row) (n uint64) {
		for _, r := range rows {
			require.Equal(t, map[string]string{"tenant_id": defaultTenant}, r.Labels)
			n += r.Samples
		}
		return n
	}

	live := compact()
	require.Equal(t, uint64(10*2*24*60), samples(live))
	require.LessOrEqual(t, len(live), 8, "days of 8h blocks, or less")
	_, err := runTool(t, "bucket", "verify", flag, "--strict")
	require.NoError(t, err)

	args := []string{"bucket", "rewrite", flag, `--delete-series={job="job-1"}`}
	for _, r := range live {
		args = append(args, "--id="+r.ULID)
	}
	_, err = runTool(t, args...)
	require.NoError(t, err)
	const left = uint64(8 * 2 * 24 * 60)
	require.Equal(t, left, samples(compact()))
	verified, err := runJSON[buckettool.VerifyReport](t, "bucket", "verify", flag)
	require.NoError(t, err)
	require.Empty(t, verified.Findings)
	live = compact()
	require.Equal(t, left, samples(live))
	for _, r := range live {
		in, err := runJSON[buckettool.Inspection](t, "bucket", "inspect", flag, "--id="+r.ULID)
		require.NoError(t, err)
		for _, l := range in.Index.Labels {
			if l.Name == "job" {
				require.Equal(t, 4, l.Values)
			}
		}
	}
}
