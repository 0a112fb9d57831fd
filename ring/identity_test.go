// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIdentityStaysWithTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "new")
	first, err := LoadIdentity(dir, "penstock-0")
	require.NoError(t, err)
	require.Equal(t, "penstock-0", first.Name)
	require.Equal(t, uint64(first.Created.UnixNano()), first.Generation)
	for _, name := range []string{"penstock-0", ""} {
		again, err := LoadIdentity(dir, name)
		require.NoError(t, err)
		require.Equal(t, first, again)
	}
	_, err = LoadIdentity(dir, "penstock-1")
	require.EqualError(t, err, `the data in `+dir+` belongs to member "penstock-0", but --cluster.name is "penstock-1": start with --cluster.name=penstock-0, or drain this member and start "penstock-1" on an empty data directory`)

	other, err := LoadIdentity(t.TempDir(), "penstock-0")
	require.NoError(t, err)
	require.Greater(t, other.Generation, first.Generation)
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestIdentityDefaultsToTheHostName(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	if ValidateName(host) != nil {
		t.Skipf("host name %q is no member name", host)
	}
	id, err := LoadIdentity(t.TempDir(), "")
	require.NoError(t, err)
	require.Equal(t, host, id.Name)
}

func TestIdentityRefuses(t *testing.T) {
	f := func(content, want string) {
		t.Helper()
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, identityFile), []byte(content), 0o600))
		_, err := LoadIdentity(dir, "a")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, "restore the file, or start on an empty data directory")
	}
	f("", "unexpected end")
	f(`{"version":2}`, "version 2 is not 1")
	f(`{"version":1,"name":"a/b","generation":1}`, "not usable")
	f(`{"version":1,"name":"a"}`, "the generation is missing")

	for _, name := range []string{"a/b", "..", ".a", "a.", "-", "ä", "a b", "a\n"} {
		_, err := LoadIdentity(t.TempDir(), name)
		require.ErrorContains(t, err, "set --cluster.name", name)
	}
}

// The sample in testdata is what docs/format/member.md describes.
func TestIdentitySample(t *testing.T) {
	data, err := os.ReadFile("testdata/member.json")
	require.NoError(t, err)
	id, err := parseIdentity(data)
	require.NoError(t, err)
	require.Equal(t, Identity{"penstock-0", 1795176000000000000, time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}, id)
}

func TestReplaceFileKeepsTheOldContentOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	require.NoError(t, replaceFile(path, []byte("one")))
	require.NoError(t, replaceFile(path, []byte("two")))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "two", string(got))

	// A directory in the place of the file makes the rename fail.
	blocked := filepath.Join(dir, "d")
	require.NoError(t, os.MkdirAll(filepath.Join(blocked, "x"), 0o700))
	require.ErrorContains(t, replaceFile(blocked, []byte("three")), "replace "+blocked)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2)
}
