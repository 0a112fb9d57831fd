// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ReplicaLabel tells the two Prometheus servers of a pair apart in all tests.
const ReplicaLabel = "replica"

// Node is one member. It keeps its name, ports and data directory over restarts.
type Node struct {
	API
	Name    string
	DataDir string
	Process *Process // of the last start

	t        testing.TB
	bin, dir string
	args     []string
	internal string // host:port
	keyFile  string
	host     *Host // nil: loopback
}

// StartLoneNode starts a node that is told where to listen and where to keep its data, and nothing but the given flags,
// and waits until it is ready.
func (e *Env) StartLoneNode(t testing.TB, dataDir string, flags ...string) *Node {
	t.Helper()
	web, internal := Loopback(e.FreePort(t)), Loopback(e.FreePort(t))
	n := &Node{
		API: API{Name: "penstock", URL: "http://" + web}, Name: "penstock", DataDir: dataDir,
		t: t, bin: e.bin.penstock, dir: Dir(t), internal: internal,
		args: append([]string{"--storage.path=" + dataDir, "--web.listen-address=" + web, "--internal.listen-address=" + internal}, flags...),
	}
	n.Start()
	n.WaitReady()
	return n
}

// WriteKey makes a cluster key.
func WriteKey(t testing.TB, dir, name string) string {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatalf("make a cluster key: %v", err)
	}
	return WriteFile(t, dir, name, base64.StdEncoding.EncodeToString(key)+"\n")
}

// WriteFile makes a file and returns its path.
func WriteFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}

// Start starts the process; the node is not ready yet.
func (n *Node) Start() {
	n.t.Helper()
	c := Command{Name: n.Name, Path: n.bin, Args: n.args, Dir: n.dir}
	if n.host != nil {
		c = n.host.inside(c)
	}
	n.Process = Start(n.t, c)
}

// WaitReady waits until the node takes requests.
func (n *Node) WaitReady() {
	n.t.Helper()
	waitHTTP(n.t, n.Process, n.URL+"/-/ready")
}

// Flush has the node cut everything it has into blocks and upload them.
func (n *Node) Flush() error {
	resp, err := API{Name: n.Name, URL: "http://" + n.internal}.Post("/-/flush", nil, nil)
	if err != nil {
		return err
	}
	if resp.Code != http.StatusOK {
		return fmt.Errorf("flush %s: status %d: %s", n.Name, resp.Code, resp.Body)
	}
	return nil
}

// Reload has the node read its limits again.
func (n *Node) Reload() error {
	resp, err := API{Name: n.Name, URL: "http://" + n.internal}.Post("/-/reload", nil, nil)
	if err == nil && resp.Code != http.StatusOK {
		err = fmt.Errorf("reload %s: status %d: %s", n.Name, resp.Code, resp.Body)
	}
	return err
}

// RunPenstock runs penstock until it ends by itself and returns the exit code and everything it printed. The working
// directory is a new one.
func (e *Env) RunPenstock(t testing.TB, args ...string) (int, string) {
	t.Helper()
	return e.RunPenstockWithin(t, Patience, args...)
}

// RunPenstockWithin is RunPenstock for what takes longer.
func (e *Env) RunPenstockWithin(t testing.TB, within time.Duration, args ...string) (int, string) {
	t.Helper()
	p := Start(t, Command{Name: "penstock", Path: e.bin.penstock, Args: args, Dir: Dir(t)})
	code := p.Wait(within)
	return code, p.output()
}

// Flags are the arguments of the node, for a start with others after them.
func (n *Node) Flags() []string { return append([]string(nil), n.args...) }

// StartLoadgen starts the load generator, which runs until it has sent everything or the test ends.
func (e *Env) StartLoadgen(t testing.TB, args ...string) *Process {
	t.Helper()
	return Start(t, Command{Name: "loadgen", Path: e.bin.penstock, Args: append([]string{"loadgen"}, args...), Dir: Dir(t)})
}

// Drain runs penstock drain against the node and returns its exit code and what it printed.
func (n *Node) Drain(e *Env) (int, string) {
	n.t.Helper()
	return e.RunPenstock(n.t, "drain", "--url=http://"+n.internal)
}
