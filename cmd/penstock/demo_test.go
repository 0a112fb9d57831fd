// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	standInEnv = "PENSTOCK_TEST_STAND_IN"

	// How long a test waits for a process before it fails.
	demoPatience = 20 * time.Second
)

// standIn returns a command that runs this test binary as a node: it has the
// listener, flags and figures of one and takes every write.
func standIn(mode string) func(args ...string) (*exec.Cmd, error) {
	return func(args ...string) (*exec.Cmd, error) {
		cmd := exec.Command(os.Args[0], append([]string{"-test.run=^TestStandInNode$", "--"}, args...)...)
		cmd.Env = append(os.Environ(), standInEnv+"="+mode)
		return cmd, nil
	}
}

// TestStandInNode is not a test: it is the node of the other tests.
func TestStandInNode(*testing.T) {
	flags := map[string]string{}
	for _, arg := range flag.Args() {
		name, value, _ := strings.Cut(arg, "=")
		flags[name] = value
	}
	switch os.Getenv(standInEnv) {
	case "":
		return
	case "broken":
		fmt.Println("level=ERROR msg=\"cannot open the store\" err=\"the disk is on fire\"")
		os.Exit(1)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(0)
	}()
	var writes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/api/v1/write", func(w http.ResponseWriter, _ *http.Request) {
		writes.Add(1)
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s 7\n%s %d\n", metricHeadSeries, metricAppended, writes.Load())
	})
	mux.HandleFunc("/api/v1/status/ring", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"status":"success","data":{"version":"0123456789abcdef","self":%q,"members":[{"name":%q,"state":"ACTIVE","alive":true}]}}`,
			flags["--cluster.name"], flags["--cluster.name"])
	})
	fmt.Println(http.ListenAndServe(flags["--web.listen-address"], mux))
	os.Exit(1)
}

// transcript is what a demo prints, and lets a test wait for text in it.
type transcript struct {
	mtx  sync.Mutex
	text string
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	s.text += string(p)
	return len(p), nil
}

func (s *transcript) String() string {
	s.mtx.Lock()
	defer s.mtx.Unlock()
	return s.text
}

// await returns the first submatch of pattern once the text after the first
// skip bytes matches.
func (s *transcript) await(t *testing.T, skip int, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var found []string
	require.Eventually(t, func() bool {
		found = re.FindStringSubmatch(s.String()[skip:])
		return found != nil
	}, demoPatience, 5*time.Millisecond, "waiting for %s", pattern)
	return found[len(found)-1]
}

func newTestDemo(mode string) *demoConfig {
	return &demoConfig{
		nodes: 3, targets: 1, command: standIn(mode),
		restartDelay: 50 * time.Millisecond, scrapeInterval: 100 * time.Millisecond,
	}
}

// startDemo runs a demo in an empty TMPDIR until the returned function is called.
func startDemo(t *testing.T, c *demoConfig) (out *transcript, tmp string, end func() error) {
	t.Helper()
	tmp = t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithCancel(t.Context())
	screen := newDemoScreen(&transcript{})
	out = screen.out.(*transcript)
	screen.refresh = 20 * time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- c.runOn(ctx, t.Context(), screen) }()
	t.Cleanup(cancel)
	return out, tmp, func() error {
		cancel()
		return <-ended
	}
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestDemoRestartsAKilledNodeAndLeavesNothing(t *testing.T) {
	out, tmp, end := startDemo(t, newTestDemo("node"))
	out.await(t, 0, `sender=a .*samples=[1-9]`)
	out.await(t, 0, `sender=b .*samples=[1-9]`)
	out.await(t, 0, `node=node-3 .*state="ACTIVE" members=1/1 ring=012345 series=7 samples=[1-9]\d* hints=- uploaded=-`)
	first := out.await(t, 0, `node=node-2 pid=(\d+)`)

	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	out.await(t, 0, `node-2 \(pid `+first+`\) ended: signal: killed\. The demo starts it again`)
	restarted := len(out.String())
	second := out.await(t, restarted, `node=node-2 pid=(\d+) state="ACTIVE"`)
	require.NotEqual(t, first, second)
	require.NotContains(t, out.String(), "failed=1", "no sample is lost")

	require.NoError(t, end())
	requireEmpty(t, tmp)
	require.True(t, strings.HasSuffix(out.String(), "Stopped. Nothing is left behind.\n"), "got %q", out)
	for _, match := range regexp.MustCompile(` pid=(\d+)`).FindAllStringSubmatch(out.String(), -1) {
		pid, err := strconv.Atoi(match[1])
		require.NoError(t, err)
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "process %d still runs", pid)
	}
	for _, match := range regexp.MustCompile(`url=http://(\S+)`).FindAllStringSubmatch(out.String(), -1) {
		l, err := net.Listen("tcp", match[1])
		require.NoError(t, err, "port is still taken")
		require.NoError(t, l.Close())
	}
}

func TestDemoSaysWhyANodeDidNotStart(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	err := newTestDemo("broken").runOn(t.Context(), t.Context(), newDemoScreen(&transcript{}))
	require.ErrorContains(t, err, "ended before it was ready (exit status 1)")
	require.ErrorContains(t, err, "the disk is on fire")
	requireEmpty(t, os.TempDir())
}

func TestDemoEndsWhenNobodyReads(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	screen := newDemoScreen(w)
	err = newTestDemo("node").runOn(t.Context(), t.Context(), screen)
	require.ErrorIs(t, err, syscall.EPIPE)
	requireEmpty(t, os.TempDir())
}

func TestDemoFlagErrorsNameTheFlag(t *testing.T) {
	f := func(nodes, targets int, want string) {
		t.Helper()
		require.ErrorContains(t, (&demoConfig{nodes: nodes, targets: targets}).check(), want)
	}
	f(0, 1, "--nodes=0")
	f(demoNodesMax+1, 1, "--nodes=10")
	f(3, 0, "--targets=0")
	f(3, demoTargetsMax+1, "--targets=1001")
}

func TestDemoSignals(t *testing.T) {
	running, patient, release := demoSignals(t.Context())
	defer release()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGHUP))
	<-running.Done()
	require.NoError(t, patient.Err(), "the first signal stops in order")
	require.NoError(t, self.Signal(syscall.SIGHUP))
	<-patient.Done()
}
