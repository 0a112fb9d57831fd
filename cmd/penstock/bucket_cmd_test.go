// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/uploader/bucket"
	"github.com/penstock-io/penstock/uploader/buckettool"
)

// runJSON runs a command with --output=json and decodes what it printed.
func runJSON[T any](t *testing.T, args ...string) (T, error) {
	t.Helper()
	var v T
	out, err := runTool(t, append(args, "--output=json")...)
	if out != "" {
		require.NoError(t, json.Unmarshal([]byte(out), &v), out)
	}
	return v, err
}

func lsRows(t *testing.T, flag string, args ...string) []buckettool.Row {
	t.Helper()
	rows, err := runJSON[[]buckettool.Row](t, append([]string{"bucket", "ls", flag}, args...)...)
	require.NoError(t, err)
	return rows
}

func TestBucketLs(t *testing.T) {
	flag, _ := toolBucket(t)
	require.Equal(t, []buckettool.Row{}, lsRows(t, flag))
	genBlocks(t, flag, "--copy=a", "--copy=b")
	genBlocks(t, flag, "--tenant=other", "--block-range=8h")

	rows := lsRows(t, flag)
	require.Len(t, rows, 7)
	require.Len(t, lsRows(t, flag, "--tenant=other"), 1)
	require.Len(t, lsRows(t, flag, `--selector={receive_replica="a"}`), 3)
	require.Len(t, lsRows(t, flag, "--from=2026-01-05T04:00:00Z"), 3)
	require.Len(t, lsRows(t, flag, "--until=2026-01-05T02:00:00Z"), 3)
	require.Len(t, lsRows(t, flag, "--resolution=5m"), 0)
	require.Equal(t, rows[3].ULID, lsRows(t, flag, "--id="+rows[3].ULID)[0].ULID)

	out, err := runTool(t, "bucket", "ls", flag, "--sort=size")
	require.NoError(t, err)
	lines := strings.Split(out, "\n")
	require.Regexp(t, `^ULID +FROM +UNTIL +RANGE +LEVEL +RES +TENANT +LABELS +SIZE +SERIES +SAMPLES +MARKS$`, lines[0])
	require.Regexp(t, `^[0-9A-Z]{26}  2026-01-05T00:00:00Z  2026-01-05T06:00:00Z  6h +2 +raw  other +{} +.* KiB +10 +3600 +-$`, lines[1])
	require.Regexp(t, `{receive_replica="[ab]"}`, lines[2])
	require.Regexp(t, `^7 blocks, .* KiB, 10.8k samples$`, lines[len(lines)-2])

	for want, args := range map[string][]string{
		"is not the name of a block": {"--id=x"},
		"--selector=\"{\"":           {"--selector={"},
		"is not in the bucket":       {"--id=01ARZ3NDEKTSV4RRFFQ69G5FAV"},
	} {
		_, err := runTool(t, append([]string{"bucket", "ls", flag}, args...)...)
		require.ErrorContains(t, err, want)
	}
	_, err = runTool(t, "bucket", "ls")
	require.ErrorContains(t, err, "--objstore.config-file is missing")
}

func TestBucketInspect(t *testing.T) {
	flag, _ := toolBucket(t)
	genBlocks(t, flag, "--block-range=8h")
	id := lsRows(t, flag)[0].ULID
	in, err := runJSON[buckettool.Inspection](t, "bucket", "inspect", flag, "--id="+id)
	require.NoError(t, err)
	require.Equal(t, id, in.Block.ULID)
	require.Len(t, in.Sources, 3)
	require.Empty(t, in.Issues)
	require.Equal(t, 10, in.Index.Labels[0].Values)
	var paths []string
	for _, o := range in.Objects {
		paths = append(paths, o.Path)
	}
	require.Equal(t, []string{"chunks/000001", "index", "meta.json"}, paths)
	require.Len(t, in.Objects[1].SHA256, 64)

	out, err := runTool(t, "bucket", "inspect", flag, "--id="+id)
	require.NoError(t, err)
	require.Contains(t, out, "10 series")
	require.Contains(t, out, "instance  10")
	_, err = runTool(t, "bucket", "inspect", flag, "--id=01ARZ3NDEKTSV4RRFFQ69G5FAV")
	require.ErrorIs(t, err, bucket.ErrNotFound)
}

func TestBucketVerify(t *testing.T) {
	flag, blocks := toolBucket(t)
	genBlocks(t, flag)
	out, err := runTool(t, "bucket", "verify", flag)
	require.NoError(t, err)
	require.Regexp(t, `^3 blocks, 3 of them read \(.*\): 0 errors, 0 warnings, 0 notes\n$`, out)

	rows := lsRows(t, flag)
	index := filepath.Join(strings.TrimPrefix(blocks.Name(), "file:"), rows[1].ULID, "index")
	content, err := os.ReadFile(index)
	require.NoError(t, err)
	content[len(content)-20] ^= 1
	require.NoError(t, os.WriteFile(index, content, 0o600))
	out, err = runTool(t, "bucket", "verify", flag)
	require.Equal(t, exitError{exitFound}, err)
	require.Regexp(t, `error +checksum +`+rows[1].ULID+` +index has SHA-256`, out)
	require.Contains(t, out, "to do: `penstock bucket mark")
	_, err = runTool(t, "bucket", "verify", flag, "--no-data")
	require.NoError(t, err, "what is not read is not found")
	_, err = runTool(t, "bucket", "verify", flag, "--id="+rows[0].ULID)
	require.NoError(t, err)
	report, err := runJSON[buckettool.VerifyReport](t, "bucket", "verify", flag, "--repair")
	require.Equal(t, exitError{exitFound}, err)
	require.Equal(t, "checksum", report.Findings[0].Kind)
	require.Equal(t, "broken-block", lsRows(t, flag, "--id="+rows[1].ULID)[0].Marks[0].Reason)
}

func TestBucketMarkAndCleanup(t *testing.T) {
	flag, _ := toolBucket(t)
	genBlocks(t, flag)
	id := lsRows(t, flag)[0].ULID
	for _, kind := range []string{"deletion", "no-compact", "no-downsample"} {
		out, err := runTool(t, "bucket", "mark", flag, "--id="+id, "--marker="+kind, "--details=why not")
		require.NoError(t, err)
		require.Equal(t, id+"  "+kind+": marked\n", out)
		marks := lsRows(t, flag, "--id="+id)[0].Marks
		require.Len(t, marks, 1)
		require.Equal(t, "why not", marks[0].Details)
		require.WithinDuration(t, time.Now(), marks[0].Time, time.Minute)
		_, err = runTool(t, "bucket", "mark", flag, "--id="+id, "--marker="+kind, "--remove")
		require.NoError(t, err)
		require.Empty(t, lsRows(t, flag, "--id="+id)[0].Marks)
	}
	_, err := runTool(t, "bucket", "mark", flag, "--id=01ARZ3NDEKTSV4RRFFQ69G5FAV", "--marker=deletion")
	require.ErrorContains(t, err, "is not in the bucket")

	_, err = runTool(t, "bucket", "mark", flag, "--id="+id, "--marker=deletion")
	require.NoError(t, err)
	report, err := runJSON[cleanupReport](t, "bucket", "cleanup", flag)
	require.NoError(t, err)
	require.Empty(t, report.Removals, "not before the delay")
	report, err = runJSON[cleanupReport](t, "bucket", "cleanup", flag, "--delete-delay=0s", "--dry-run")
	require.NoError(t, err)
	require.Len(t, report.Removals, 1)
	require.Len(t, lsRows(t, flag), 3)
	out, err := runTool(t, "bucket", "cleanup", flag, "--delete-delay=0s")
	require.NoError(t, err)
	require.Regexp(t, id+` .* marked for deletion +deleted\n\n1 of 1 deleted`, out)
	require.Len(t, lsRows(t, flag), 2)
	_, err = runTool(t, "bucket", "cleanup", flag, "--partial-age=1m")
	require.ErrorContains(t, err, "at least 1h")
}
