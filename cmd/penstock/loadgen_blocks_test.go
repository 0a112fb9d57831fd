// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
)

// runTool runs a command and returns what it printed.
func runTool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

// toolBucket returns the flag for a bucket in a directory, and that bucket.
func toolBucket(t *testing.T) (string, *bucket.Blocks) {
	t.Helper()
	dir := t.TempDir()
	b, err := bucket.NewFilesystem(dir)
	require.NoError(t, err)
	return fmt.Sprintf("--objstore.config={type: FILESYSTEM, config: {directory: %q}}", dir), bucket.NewBlocks(b, nil)
}

// genBlocks fills a bucket with blocks of two members: from 2026-01-05, six hours, ten series a minute apart.
func genBlocks(t *testing.T, flag string, more ...string) loadgenBlocksReport {
	t.Helper()
	args := append([]string{
		"loadgen", "blocks", "--series=10", "--interval=1m", "--from=2026-01-05T00:00:00Z", flag, "--scratch-dir=" + t.TempDir(),
	}, more...)
	if !strings.Contains(strings.Join(more, " "), "--until") {
		args = append(args, "--until=2026-01-05T06:00:00Z")
	}
	out, err := runTool(t, args...)
	require.NoError(t, err)
	var report loadgenBlocksReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	return report
}

func TestLoadgenBlocks(t *testing.T) {
	flag, blocks := toolBucket(t)
	report := genBlocks(t, flag, "--copy=a", "--copy=b", "--label=cluster=x")
	require.Equal(t, int64(6), report.Blocks)
	require.Equal(t, int64(2*10*360), report.Samples)
	listing, err := blocks.Metas(t.Context())
	require.NoError(t, err)
	require.Len(t, listing.Blocks, 6)
	copies := map[string]int{}
	for _, b := range listing.Blocks {
		require.Equal(t, "x", b.Meta.Thanos.Labels["cluster"])
		require.Equal(t, defaultTenant, b.Meta.Thanos.Labels["tenant_id"])
		copies[b.Meta.Thanos.Labels["receive_replica"]]++
	}
	require.Equal(t, map[string]int{"a": 3, "b": 3}, copies)

	report = genBlocks(t, flag, "--copy=a", "--copy=b", "--copy=c", "--concurrency=2")
	require.Equal(t, int64(6), report.Skipped, "a run again makes what is missing")
	require.Equal(t, int64(3), report.Blocks)
}

func TestLoadgenBlocksDirectory(t *testing.T) {
	dir := t.TempDir()
	report := genBlocks(t, "--dir="+dir, "--block-range=14d", "--until=2026-01-20T00:00:00Z")
	require.Equal(t, int64(2), report.Blocks)
	names, err := filepath.Glob(filepath.Join(dir, "*", "meta.json"))
	require.NoError(t, err)
	require.Len(t, names, 2)
	b, err := tsdb.OpenBlock(nil, filepath.Dir(names[0]), nil, nil)
	require.NoError(t, err)
	require.Equal(t, 4, b.Meta().Compaction.Level)
	require.NoError(t, b.Close())
	require.Equal(t, int64(2), genBlocks(t, "--dir="+dir, "--block-range=14d", "--until=2026-01-20T00:00:00Z").Skipped)
}

func TestLoadgenBlocksRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"give either --dir or":              {},
		"external labels":                   {"--dir=" + os.DevNull, "--copy=a"},
		"is neither a time":                 {"--dir=" + os.DevNull, "--from=yesterday"},
		"the time range is empty":           {"--dir=" + os.DevNull, "--from=1h", "--until=2h"},
		"--label=\"x\" is not name=value":   {"--objstore.config=type: FILESYSTEM", "--label=x"},
		"is missing: the directory":         {"--objstore.config=type: FILESYSTEM"},
		"--tenant=\"a/b\" must match":       {"--objstore.config=type: FILESYSTEM", "--tenant=a/b"},
		"exclude each other; give one":      {"--objstore.config=type: FILESYSTEM", "--objstore.config-file=x"},
		"is not a multiple of the interval": {"--dir=" + os.DevNull, "--interval=7s"},
	} {
		_, err := runTool(t, append([]string{"loadgen", "blocks"}, args...)...)
		require.ErrorContains(t, err, want)
	}
}
