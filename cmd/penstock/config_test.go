// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every mistake is one line that names the cause and the remedy.
func TestBadConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, []byte("short"), 0o600))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free := []string{"--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0", "--log.level=error"}

	f := func(want string, args ...string) {
		t.Helper()
		err := run(t.Context(), args, io.Discard)
		require.Error(t, err, "%v", args)
		require.Contains(t, err.Error(), want)
		require.NotContains(t, err.Error(), "\n", "one line")
	}
	f("--help", "--no-such-flag")
	f("--storage.block-duration=3h must be between", "--storage.block-duration=3h")
	f("must be one of none,commit", "--storage.wal-sync=fsync")
	f("--storage.out-of-order-window must be above 0", "--storage.out-of-order-window=0s")
	f("--storage.retention.time=1h must be at least", "--storage.retention.time=1h")
	f("is not host:port", "--web.listen-address=9009")
	f("is not a URL", "--web.external-url=penstock")
	f("exclude each other", "--objstore.config=a", "--objstore.config-file=b")
	f("needs --cluster.key-file", "--cluster.peer=127.0.0.1:7946")
	f("exclude each other", "--cluster.peer=127.0.0.1:7946", "--cluster.key-file="+file, "--cluster.insecure")
	f("name them with --cluster.peer", "--cluster.replication-factor=3")
	f("between 1 and 5", "--cluster.peer=127.0.0.1:7946", "--cluster.insecure", "--cluster.replication-factor=6")
	f("set --cluster.name", "--cluster.name=a/b")
	f("give both, or none", "--ingest.ha-cluster-label=cluster")
	f("are both", "--ingest.ha-cluster-label=replica", "--ingest.ha-replica-label=replica")
	f("must be one of --query.replica-label", "--ingest.ha-cluster-label=cluster", "--ingest.ha-replica-label=replica")
	f("cannot be a replica label", "--query.replica-label=__name__")
	f("choose a directory", append(free, "--storage.path="+filepath.Join(file, "below"))...)
	f("16, 24 or 32", append(free, "--storage.path="+dir, "--cluster.peer=127.0.0.1:7946", "--cluster.key-file="+file)...)
	f("the port is taken", "--internal.listen-address=127.0.0.1:0", "--storage.path="+dir, "--web.listen-address="+taken.Addr().String(), "--log.level=error")
	f("no_such_key", append(free, "--storage.path="+dir, "--objstore.config=type: S3\nconfig:\n  no_such_key: 1")...)
	f("--objstore.config-file", append(free, "--storage.path="+dir, "--objstore.config-file="+filepath.Join(dir, "absent"))...)
	bad := filepath.Join(dir, "otlp.yml")
	require.NoError(t, os.WriteFile(bad, []byte("translation_strategy: Loud"), 0o600))
	f("--otlp.config-file", "check", "config", "--otlp.config-file="+filepath.Join(dir, "absent"))
	f(`unsupported translation_strategy "Loud"`, "check", "config", "--otlp.config-file="+bad)
	f("no_such_key", "check", "config", "--objstore.config=type: S3\nconfig:\n  no_such_key: 1")
}

func TestCheckConfigAcceptsTheDefaults(t *testing.T) {
	var out strings.Builder
	require.NoError(t, run(t.Context(), []string{"check", "config"}, &out))
	require.Contains(t, out.String(), "valid")
}

func TestTenantOf(t *testing.T) {
	f := func(mimir, thanos, want string) {
		t.Helper()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if mimir != "" {
			r.Header.Set("X-Scope-OrgID", mimir)
		}
		if thanos != "" {
			r.Header.Set("THANOS-TENANT", thanos)
		}
		got, err := tenantOf(r)
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("", "", defaultTenant)
	f("team-a", "", "team-a")
	f("", "team-b", "team-b")
	f("same", "same", "same")
	f("one", "two", "")
	for _, bad := range []string{".", "..", "a/b", `a\b`, "a\x00b", "%2e%2e", "ü", strings.Repeat("a", 65)} {
		f(bad, "", "")
	}
}

func TestInternalAddr(t *testing.T) {
	f := func(advertise, bound, private, want string) {
		t.Helper()
		got, err := internalAddr(advertise, bound, private)
		if want == "" {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("", "127.0.0.1:9095", "", "127.0.0.1:9095")
	f("", "0.0.0.0:9095", "192.168.0.9", "192.168.0.9:9095")
	f("", "[::]:9095", "192.168.0.9", "192.168.0.9:9095")
	f("node-1:7946", "0.0.0.0:9095", "192.168.0.9", "node-1:9095")
	f("node-1", "0.0.0.0:9095", "", "")
	f("", "0.0.0.0:9095", "", "")
}

func TestHintAge(t *testing.T) {
	require.Equal(t, 90*time.Minute, hintAge(2*time.Hour))
	require.Equal(t, 15*time.Minute, hintAge(30*time.Minute))
}
