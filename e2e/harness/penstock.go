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

// ClusterConfig says what the nodes of a cluster have in common.
type ClusterConfig struct {
	Nodes         int
	BlockDuration time.Duration // 0: the default of the program
	ObjstoreFile  string        // empty: no bucket
	Flags         []string      // for every node, after the others
}

// Cluster is a set of nodes that were given the same list of peers and the same key.
type Cluster struct {
	Nodes []*Node
}

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
}

// NewCluster prepares a cluster and starts nothing.
func (e *Env) NewCluster(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	dir := Dir(t)
	keyFile := WriteKey(t, dir, "cluster.key")
	type address struct{ web, gossip, internal string }
	addrs := make([]address, cfg.Nodes)
	var common []string
	for i := range addrs {
		addrs[i] = address{Loopback(e.FreePort(t)), Loopback(e.FreePort(t)), Loopback(e.FreePort(t))}
		common = append(common, "--cluster.peer="+addrs[i].gossip)
	}
	common = append(common, "--cluster.key-file="+keyFile, "--query.replica-label="+ReplicaLabel)
	if cfg.BlockDuration > 0 {
		common = append(common, "--storage.block-duration="+cfg.BlockDuration.String())
	}
	if cfg.ObjstoreFile != "" {
		common = append(common, "--objstore.config-file="+cfg.ObjstoreFile)
	}
	c := &Cluster{}
	for i, a := range addrs {
		name := fmt.Sprintf("penstock-%d", i+1)
		n := &Node{
			API: API{Name: name, URL: "http://" + a.web}, Name: name, DataDir: filepath.Join(dir, name),
			t: t, bin: e.bin.penstock, dir: dir, internal: a.internal, keyFile: keyFile,
		}
		n.args = append([]string{
			"--cluster.name=" + name,
			"--storage.path=" + n.DataDir,
			"--web.listen-address=" + a.web,
			"--internal.listen-address=" + a.internal,
			"--cluster.listen-address=" + a.gossip,
			"--cluster.advertise-address=" + a.gossip,
		}, append(common, cfg.Flags...)...)
		c.Nodes = append(c.Nodes, n)
	}
	return c
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

// Addresses are the public addresses of all nodes.
func (c *Cluster) Addresses() []string {
	out := make([]string, 0, len(c.Nodes))
	for _, n := range c.Nodes {
		out = append(out, n.Addr())
	}
	return out
}

// Start starts all nodes and waits until every one is ready and sees all of them.
func (c *Cluster) Start() {
	for _, n := range c.Nodes {
		n.Start()
	}
	for _, n := range c.Nodes {
		n.WaitReady()
	}
	c.WaitWhole(Patience)
}

// WaitWhole waits until all nodes see the same ring with every node alive and ACTIVE in it, and returns how long that
// took.
func (c *Cluster) WaitWhole(within time.Duration) time.Duration {
	t := c.Nodes[0].t
	t.Helper()
	return Eventually(t, within, "all nodes see the same whole ring", func() error {
		var version string
		for _, n := range c.Nodes {
			ring, err := n.Ring()
			if err != nil {
				return err
			}
			if err := ring.Whole(len(c.Nodes)); err != nil {
				return fmt.Errorf("%s: %w", n.Name, err)
			}
			if version == "" {
				version = ring.Version
			}
			if ring.Version != version {
				return fmt.Errorf("%s has ring version %s, %s has %s", n.Name, ring.Version, c.Nodes[0].Name, version)
			}
		}
		return nil
	})
}

// Start starts the process; the node is not ready yet.
func (n *Node) Start() {
	n.t.Helper()
	n.Process = Start(n.t, Command{Name: n.Name, Path: n.bin, Args: n.args, Dir: n.dir})
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
	p := Start(t, Command{Name: "penstock", Path: e.bin.penstock, Args: args, Dir: Dir(t)})
	code := p.Wait(Patience)
	return code, p.output()
}

// Flags are the arguments of the node, for a start with others after them.
func (n *Node) Flags() []string { return append([]string(nil), n.args...) }
