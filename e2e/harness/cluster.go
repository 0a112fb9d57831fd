// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// ClusterConfig says what the nodes of a cluster have in common.
type ClusterConfig struct {
	Nodes         int
	BlockDuration time.Duration // 0: the default of the program
	ObjstoreFile  string        // empty: no bucket
	Flags         []string      // for every node, after the others
	Places        []Place       // one for each node; nil: all on loopback, with data below a directory of the test
}

// Place is where a node runs.
type Place struct {
	Host    *Host  // nil: loopback
	DataDir string // empty: below a directory of the test
}

// Cluster is a set of nodes that were given the same list of peers and the same key.
type Cluster struct {
	Nodes []*Node

	env    *Env
	t      testing.TB
	dir    string
	key    string
	common []string // flags that all nodes have
	made   int      // nodes so far, also those that were removed
}

// address is where a node listens.
type address struct{ web, gossip, internal string }

// NewCluster prepares a cluster and starts nothing.
func (e *Env) NewCluster(t testing.TB, cfg ClusterConfig) *Cluster {
	t.Helper()
	dir := Dir(t)
	c := &Cluster{env: e, t: t, dir: dir, key: WriteKey(t, dir, "cluster.key")}
	places := cfg.Places
	if places == nil {
		places = make([]Place, cfg.Nodes)
	}
	addrs := make([]address, len(places))
	for i, p := range places {
		addrs[i] = e.address(t, p.Host)
		c.common = append(c.common, "--cluster.peer="+addrs[i].gossip)
	}
	c.common = append(c.common, "--cluster.key-file="+c.key, "--query.replica-label="+ReplicaLabel)
	if cfg.BlockDuration > 0 {
		c.common = append(c.common, "--storage.block-duration="+cfg.BlockDuration.String())
	}
	if cfg.ObjstoreFile != "" {
		c.common = append(c.common, "--objstore.config-file="+cfg.ObjstoreFile)
	}
	c.common = append(c.common, cfg.Flags...)
	for i, a := range addrs {
		c.add(a, places[i])
	}
	return c
}

// address is where a node on a host listens: on the usual ports, or on loopback on ports of its own.
func (e *Env) address(t testing.TB, host *Host) address {
	t.Helper()
	if host != nil {
		return address{web: host.IP + ":9009", gossip: host.IP + ":7946", internal: host.IP + ":9095"}
	}
	return address{Loopback(e.FreePort(t)), Loopback(e.FreePort(t)), Loopback(e.FreePort(t))}
}

// Add prepares one more node with the same list of peers, on which it does not stand, and starts nothing.
func (c *Cluster) Add(p Place) *Node {
	c.t.Helper()
	return c.add(c.env.address(c.t, p.Host), p)
}

// Remove takes a node that has left out of the list.
func (c *Cluster) Remove(n *Node) {
	c.Nodes = slices.DeleteFunc(c.Nodes, func(o *Node) bool { return o == n })
}

func (c *Cluster) add(a address, p Place) *Node {
	c.made++
	name := fmt.Sprintf("penstock-%d", c.made)
	dataDir := p.DataDir
	if dataDir == "" {
		dataDir = filepath.Join(c.dir, name)
	}
	n := &Node{
		API: API{Name: name, URL: "http://" + a.web}, Name: name, DataDir: dataDir, host: p.Host,
		t: c.t, bin: c.env.bin.penstock, dir: c.dir, internal: a.internal, keyFile: c.key,
	}
	n.args = append([]string{
		"--cluster.name=" + name,
		"--storage.path=" + n.DataDir,
		"--web.listen-address=" + a.web,
		"--internal.listen-address=" + a.internal,
		"--cluster.listen-address=" + a.gossip,
		"--cluster.advertise-address=" + a.gossip,
	}, c.common...)
	c.Nodes = append(c.Nodes, n)
	return n
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
