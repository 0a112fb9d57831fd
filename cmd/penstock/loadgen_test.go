// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
)

// loadReceiver takes remote write 1.0 and remembers what it was sent.
type loadReceiver struct {
	mtx    sync.Mutex
	reject int // requests that are still to be answered with status
	status int
	times  map[int64]int
	total  int
}

func (r *loadReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mtx.Lock()
	defer r.mtx.Unlock()
	if r.reject > 0 {
		r.reject--
		http.Error(w, "not now", r.status)
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	raw, err := snappy.Decode(nil, body)
	var write prompb.WriteRequest
	if err == nil {
		err = write.Unmarshal(raw)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, ts := range write.Timeseries {
		for _, s := range ts.Samples {
			r.times[s.Timestamp]++
			r.total++
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func runLoadgen(t *testing.T, args ...string) (string, error) {
	t.Helper()
	app := kingpin.New("penstock", "").Terminate(nil)
	name, run := addLoadgen(app)
	require.Equal(t, "loadgen send", name)
	_, err := app.Parse(append([]string{"loadgen"}, args...))
	require.NoError(t, err)
	var out bytes.Buffer
	err = run(t.Context(), &out)
	return out.String(), err
}

func TestLoadgenReportsWhatTheReceiverGot(t *testing.T) {
	r := &loadReceiver{times: map[int64]int{}, reject: 1, status: http.StatusServiceUnavailable}
	srv := httptest.NewServer(r)
	defer srv.Close()

	before := time.Now()
	out, err := runLoadgen(t, "--url", srv.URL, "--series=1000", "--ticks=3", "--warmup-ticks=1", "--batch=300", "--connections=2", "--interval=10s")
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(out, "\n"), "one line")
	var report loadgenReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))

	require.Equal(t, 4000, r.total)
	require.Equal(t, uint64(3000), report.Samples, "warm-up ticks are not counted")
	require.Equal(t, uint64(10), report.Requests)
	require.Equal(t, map[string]uint64{"204": 10}, report.Status, "the retry was part of the warm-up")
	require.Positive(t, report.BytesSent)
	require.Positive(t, report.Seconds)
	require.Nil(t, report.CPUMicrosPerSample, "there is no figure without --pid")

	require.Len(t, r.times, 4)
	for ts, n := range r.times {
		require.Equal(t, 1000, n)
		age := before.UnixMilli() - ts
		require.Less(t, age, int64(60_000), "a timestamp is near now")
		require.LessOrEqual(t, ts, time.Now().UnixMilli(), "no timestamp is in the future")
	}
}

func TestLoadgenEndsWhenRefused(t *testing.T) {
	r := &loadReceiver{times: map[int64]int{}, reject: 100, status: http.StatusBadRequest}
	srv := httptest.NewServer(r)
	defer srv.Close()
	out, err := runLoadgen(t, "--url", srv.URL, "--series=100", "--ticks=1")
	require.ErrorContains(t, err, "status 400: not now")
	require.Empty(t, out)
}

func TestLoadgenFlagErrorsNameTheFlag(t *testing.T) {
	f := func(arg, want string) {
		t.Helper()
		_, err := runLoadgen(t, arg)
		require.ErrorContains(t, err, want)
	}
	f("--series=0", "--series")
	f("--ticks=-1", "--ticks")
	f("--batch=0", "--batch")
	f("--connections=0", "--connections")
	f("--warmup-ticks=-1", "--warmup-ticks")
	f("--url=127.0.0.1:9009", "--url=")
}

func TestLoadgenReportsProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc on this system")
	}
	c := &loadgenConfig{pids: []int{os.Getpid()}}
	m, err := startMeter(c.pids)
	require.NoError(t, err)
	for start := m.before.cpu; ; { // burn CPU until the clock of /proc shows it
		u, err := m.receiver.usage()
		require.NoError(t, err)
		if u.cpu > start {
			break
		}
	}
	used, err := m.stop()
	require.NoError(t, err)
	require.Positive(t, used.receiver.cpu)
	require.Positive(t, used.clientCPU)
	require.Greater(t, used.receiver.rss, int64(1<<20))
	require.GreaterOrEqual(t, used.receiver.peakRSS, used.receiver.rss/2)
}

func TestProcessesAreSummed(t *testing.T) {
	root := t.TempDir()
	write := func(pid, name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Join(root, pid), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, pid, name), []byte(text), 0o600))
	}
	write("7", "stat", "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0\n")
	write("7", "status", "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n")
	write("8", "stat", "8 (b) S 1 8 8 0 -1 4194560 100 0 0 0 1 2 9 9 20 0 1 0\n")
	write("8", "status", "Name:\tb\n")

	got, err := processes{root: root, pids: []int{7, 8}}.usage()
	require.NoError(t, err)
	require.Equal(t, processUsage{cpu: 3030 * time.Millisecond, rss: 1 << 20, peakRSS: 2 << 20}, got)

	_, err = processes{root: root, pids: []int{9}}.usage()
	require.ErrorContains(t, err, "process 9")
	write("10", "stat", "10 (b) S 1")
	_, err = processes{root: root, pids: []int{10}}.usage()
	require.ErrorContains(t, err, "fields")
}
