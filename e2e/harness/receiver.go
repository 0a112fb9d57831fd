// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"path/filepath"
	"testing"
)

// StartReceiver starts a Prometheus server on a new data directory that takes remote write. Config is its configuration
// file; empty: it scrapes nothing. What Penstock does without being told to is turned on: exemplars, and statistics per step.
func (e *Env) StartReceiver(t testing.TB, config string, flags ...string) API {
	t.Helper()
	return e.StartReceiverOn(t, filepath.Join(Dir(t), "data"), config, flags...)
}

// StartReceiverOn is StartReceiver on a data directory that may have blocks.
func (e *Env) StartReceiverOn(t testing.TB, dataDir, config string, flags ...string) API {
	t.Helper()
	if config == "" {
		config = "{}\n"
	}
	dir, addr := Dir(t), Loopback(e.FreePort(t))
	p := Start(t, Command{Name: "prometheus", Path: e.bin.prometheus, Dir: dir, Args: append([]string{
		"--config.file=" + WriteFile(t, dir, "prometheus.yml", config),
		"--storage.tsdb.path=" + dataDir,
		"--web.listen-address=" + addr,
		"--web.enable-remote-write-receiver",
		"--enable-feature=exemplar-storage,promql-per-step-stats",
	}, flags...)})
	api := API{Name: "prometheus", URL: "http://" + addr}
	waitHTTP(t, p, api.URL+"/-/ready")
	return api
}
