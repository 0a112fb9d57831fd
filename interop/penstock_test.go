// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const (
	// patience is many times what anything takes that is waited for.
	patience = 5 * time.Minute
	// requestSpan is how much time one write has. A TSDB takes samples for late ones that are an hour behind others.
	requestSpan = time.Hour
)

// node is a running Penstock on a bucket in a directory.
type node struct {
	t        *testing.T
	web      string
	internal string
	cmd      *exec.Cmd
	client   *http.Client
	log      *bytes.Buffer
}

// binary is set before any test runs and not changed after.
var binary string

func TestMain(m *testing.M) {
	if unsafe.Sizeof(labels.Labels{}) != unsafe.Sizeof([]labels.Label{}) {
		fmt.Fprintln(os.Stderr, "Thanos takes labels for slices: run the tests with -tags slicelabels, as make interop does")
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "penstock-interop-")
	if err == nil {
		binary = filepath.Join(dir, "penstock")
		cmd := exec.Command("go", "build", "-o", binary, "./cmd/penstock")
		cmd.Dir, cmd.Stderr = "..", os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build Penstock:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // The tests are over.
	os.Exit(code)
}

// startNode starts a lone node with a data directory of its own, and waits until it takes requests.
func startNode(t *testing.T, name, bucketDir string, flags ...string) *node {
	t.Helper()
	n := &node{t: t, web: freeAddress(t), internal: freeAddress(t), client: &http.Client{Timeout: patience}, log: &bytes.Buffer{}}
	args := append([]string{
		"--cluster.name=" + name, "--storage.path=" + t.TempDir(), "--web.listen-address=" + n.web, "--internal.listen-address=" + n.internal,
		"--objstore.config=" + fmt.Sprintf("type: FILESYSTEM\nconfig:\n  directory: %q\n", bucketDir),
	}, flags...)
	n.cmd = exec.Command(binary, args...)
	n.cmd.Stdout, n.cmd.Stderr = n.log, n.log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	n.eventually("is ready", func() bool {
		resp, err := n.client.Get("http://" + n.web + "/-/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return n
}

// freeAddress is one on which nobody listens now.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// stop ends the node, and returns when it is gone.
func (n *node) stop() {
	if n.cmd.ProcessState != nil {
		return
	}
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	_ = n.cmd.Wait()
	if n.t.Failed() {
		lines := strings.Split(n.log.String(), "\n")
		n.t.Logf("end of the log of the node:\n%s", strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
}

func (n *node) eventually(what string, done func() bool) {
	n.t.Helper()
	for begin := time.Now(); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Since(begin) > patience {
			n.t.Fatalf("Penstock: %s: not within %s", what, patience)
		}
	}
}

func (n *node) call(req *http.Request) []byte {
	n.t.Helper()
	resp, err := n.client.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		n.t.Fatalf("%s %s: status %d, %v: %.500s", req.Method, req.URL, resp.StatusCode, err, body)
	}
	return body
}

func (n *node) request(method, address, path string, body []byte) *http.Request {
	n.t.Helper()
	req, err := http.NewRequestWithContext(n.t.Context(), method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	return req
}

// take writes what one member gets of the world to the node, as a Prometheus would, and has it cut and upload blocks.
func (n *node) take(w *world, member int) {
	n.t.Helper()
	for _, in := range w.stretches {
		for at := in.from; at.Before(in.until); at = at.Add(requestSpan) {
			raw, err := writeRequest(w, at, at.Add(requestSpan), member).Marshal()
			if err != nil {
				n.t.Fatal(err)
			}
			req := n.request(http.MethodPost, n.web, "/api/v1/write", snappy.Encode(nil, raw))
			req.Header.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
			req.Header.Set("Content-Encoding", "snappy")
			req.Header.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
			n.call(req)
		}
		n.call(n.request(http.MethodPost, n.internal, "/-/flush", nil))
	}
}

func writeRequest(w *world, from, until time.Time, member int) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, s := range w.all {
		ts := writev2.TimeSeries{LabelsRefs: symbols.SymbolizeLabels(s.labels, nil)}
		for _, x := range s.between(from, until, member) {
			if x.h != nil {
				ts.Histograms = append(ts.Histograms, writev2.FromIntHistogram(x.t, x.h))
			} else {
				ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: x.t, Value: x.v})
			}
		}
		if len(ts.Samples)+len(ts.Histograms) > 0 {
			req.Timeseries = append(req.Timeseries, ts)
		}
	}
	req.Symbols = symbols.Symbols()
	return req
}

// ask asks a question over HTTP.
func (n *node) ask(q question) answer {
	n.t.Helper()
	params := url.Values{"query": {q.expr}, "max_source_resolution": {strconv.Itoa(int(q.resolution.Seconds()))}}
	path := "/api/v1/query"
	if q.step > 0 {
		path = "/api/v1/query_range"
		params.Set("start", strconv.FormatInt(q.start.Unix(), 10))
		params.Set("end", strconv.FormatInt(q.end.Unix(), 10))
		params.Set("step", strconv.FormatFloat(q.step.Seconds(), 'f', -1, 64))
	} else {
		params.Set("time", strconv.FormatInt(q.end.Unix(), 10))
	}
	return parseAnswer(n.t, n.call(n.request(http.MethodGet, n.web, path+"?"+params.Encode(), nil)))
}

// waitCompacted waits until there is nothing left to merge or to downsample.
func (n *node) waitCompacted() {
	n.t.Helper()
	idle := 0
	n.eventually("compacts everything", func() bool {
		body := string(n.call(n.request(http.MethodGet, n.web, "/metrics", nil)))
		if sum(body, "penstock_compact_todo_blocks") == 0 && sum(body, "penstock_compact_last_success_timestamp_seconds") > 0 {
			idle++
		} else {
			idle = 0
		}
		return idle > 30 // Three seconds: one look at the bucket at least.
	})
}

// sum adds up the values of a metric.
func sum(exposition, name string) (total float64) {
	for _, line := range regexp.MustCompile(`(?m)^`+name+`(?:\{.*\})? (\S+)$`).FindAllStringSubmatch(exposition, -1) {
		v, _ := strconv.ParseFloat(line[1], 64)
		total += v
	}
	return total
}

func isStale(v float64) bool { return value.IsStaleNaN(v) }
