// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package limits

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "limits.yml")
	set := func(content string) { require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) }
	set("tenants: {a: {max_series: 1}}")
	reg := prometheus.NewRegistry()
	r, err := Open(Config{Path: path, ValidTenant: validTenant}, slog.New(slog.DiscardHandler), reg)
	require.NoError(t, err)
	successful := func(want string) {
		t.Helper()
		require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP penstock_config_last_reload_successful Whether the last attempt to read the limits file succeeded.
# TYPE penstock_config_last_reload_successful gauge
penstock_config_last_reload_successful `+want+"\n"), "penstock_config_last_reload_successful"))
	}
	successful("1")
	require.Equal(t, 1, r.Current().Of("a").MaxSeries)

	set("tenants: {a: {max_series: 2}}")
	require.NoError(t, r.Reload())
	require.Equal(t, 2, r.Current().Of("a").MaxSeries)
	since := r.State().Since

	set("tenants: {a: {max_serie: 3}}")
	err = r.Reload()
	require.ErrorContains(t, err, "limits stay as they were: --limits.config-file="+path)
	require.ErrorContains(t, err, `unknown key "max_serie"`)
	require.NotContains(t, err.Error(), "\n")
	require.Equal(t, 2, r.Current().Of("a").MaxSeries)
	require.Equal(t, ReloadState{OK: false, Since: since}, r.State())
	successful("0")

	require.NoError(t, os.Remove(path))
	require.ErrorContains(t, r.Reload(), "no such file")
	set("")
	require.NoError(t, r.Reload())
	require.Zero(t, r.Current().Of("a").MaxSeries)
	successful("1")
	_, err = testutil.GatherAndLint(reg)
	require.NoError(t, err)
}

func TestOpenRefusesABadFile(t *testing.T) {
	_, err := Open(Config{Path: filepath.Join(t.TempDir(), "absent"), ValidTenant: validTenant}, nil, nil)
	require.ErrorContains(t, err, "--limits.config-file: ")
	require.ErrorContains(t, Check(Config{Path: t.TempDir(), ValidTenant: validTenant}), "--limits.config-file: ")
	r, err := Open(Config{ValidTenant: validTenant}, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, err)
	require.NoError(t, r.Reload(), "without a file there is nothing to fail")
}
