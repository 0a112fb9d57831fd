// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

const (
	// Patience is the deadline of what takes a few seconds on an idle machine.
	Patience = 60 * time.Second
	// pollInterval is short against what is waited for and long against what a check costs.
	pollInterval = 100 * time.Millisecond
	// probeTimeout bounds one question whether a process is ready.
	probeTimeout = 5 * time.Second
)

// Eventually polls check until it returns nil, and fails the test with its last error when it does not within the
// given time. It returns how long it took.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	for {
		err := check()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(pollInterval)
	}
}

// Dir is a new directory of the test, removed with it unless PENSTOCK_E2E_KEEP is set.
func Dir(t testing.TB) string {
	t.Helper()
	if os.Getenv("PENSTOCK_E2E_KEEP") == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "penstock-e2e-")
	if err != nil {
		t.Fatalf("create a directory for the test: %v", err)
	}
	t.Logf("files are kept in %s", dir)
	return dir
}

// waitHTTP polls a URL until it answers 200. It gives up at once when the process behind it has ended.
func waitHTTP(t testing.TB, p *Process, url string) {
	t.Helper()
	Eventually(t, Patience, p.Name+" answers "+url, func() error {
		if p.Ended() {
			t.Fatalf("%s ended with exit code %d before it answered:\n%s", p.Name, p.cmd.ProcessState.ExitCode(), p.LogTail())
		}
		resp, err := httpClient(probeTimeout).Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", resp.Status)
		}
		return nil
	})
}
