// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

const (
	demoHost = "127.0.0.1"

	// The first ports that are tried: those of a node's defaults.
	demoHTTPPort, demoInternalPort, demoGossipPort = 9009, 9095, 7946

	// A free TCP port whose UDP twin is taken is rare; not finding a pair in so
	// many draws means that something else is wrong.
	demoPortDraws = 20

	// The replica label of the demo's HA pair.
	demoReplicaLabel = "replica"
)

// demoLayout is where everything of one demo lies: directories, files, ports.
type demoLayout struct {
	bucketDir, keyFile, bucketFile string
	nodes                          []demoAddrs
}

// demoAddrs is the place of one node.
type demoAddrs struct {
	name, zone             string
	http, internal, gossip string // host:port
	dir, logFile           string
}

func (a demoAddrs) url() string { return "http://" + a.http }

// newDemoLayout finds free ports and writes the files that all nodes share.
func newDemoLayout(dir string, nodes int) (*demoLayout, error) {
	l := &demoLayout{
		bucketDir:  filepath.Join(dir, "bucket"),
		keyFile:    filepath.Join(dir, "cluster.key"),
		bucketFile: filepath.Join(dir, "bucket.yml"),
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(l.keyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the key of the demo: %w", err)
	}
	yaml := fmt.Sprintf("type: FILESYSTEM\nconfig:\n  directory: %q\n", l.bucketDir)
	if err := os.WriteFile(l.bucketFile, []byte(yaml), 0o600); err != nil {
		return nil, fmt.Errorf("write the bucket configuration of the demo: %w", err)
	}
	var ports portPicker
	defer ports.release()
	for i := range nodes {
		name := "node-" + strconv.Itoa(i+1)
		a := demoAddrs{
			name:    name,
			zone:    "zone-" + string(rune('a'+i)),
			dir:     filepath.Join(dir, name),
			logFile: filepath.Join(dir, name+".log"),
		}
		if err := ports.place(&a, i); err != nil {
			return nil, err
		}
		l.nodes = append(l.nodes, a)
	}
	return l, nil
}

// replicationFactor is 3 where there are nodes enough.
func (l *demoLayout) replicationFactor() int { return min(3, len(l.nodes)) }

// args are the flags of the i-th node.
func (l *demoLayout) args(i int) []string {
	a := l.nodes[i]
	args := []string{
		"run",
		"--web.listen-address=" + a.http,
		"--internal.listen-address=" + a.internal,
		"--storage.path=" + a.dir,
		"--storage.block-duration=" + demoBlockDuration.String(),
		"--objstore.config-file=" + l.bucketFile,
		"--cluster.name=" + a.name,
		"--cluster.zone=" + a.zone,
		"--cluster.listen-address=" + a.gossip,
		"--cluster.advertise-address=" + a.gossip,
		"--cluster.key-file=" + l.keyFile,
		"--cluster.label=penstock-demo",
		"--cluster.replication-factor=" + strconv.Itoa(l.replicationFactor()),
		"--query.replica-label=" + demoReplicaLabel,
		"--log.level=warn",
	}
	if len(l.nodes) == 1 {
		return args // a node without peers is a cluster of one
	}
	for _, peer := range l.nodes {
		args = append(args, "--cluster.peer="+peer.gossip)
	}
	return args
}

// portPicker finds free ports. It holds each one until release, so that it
// never picks one twice.
type portPicker struct{ held []io.Closer }

// place gives the i-th node its three ports.
func (p *portPicker) place(a *demoAddrs, i int) (err error) {
	if a.http, err = p.pick(demoHTTPPort+i, false); err != nil {
		return err
	}
	if a.internal, err = p.pick(demoInternalPort+i, false); err != nil {
		return err
	}
	a.gossip, err = p.pick(demoGossipPort+i, true)
	return err
}

// pick returns the preferred port on the loopback interface, or another free
// one when that is taken. With udp the port is free for UDP too.
func (p *portPicker) pick(preferred int, udp bool) (string, error) {
	addr, err := p.hold(preferred, udp)
	for draw := 0; err != nil && draw < demoPortDraws; draw++ {
		addr, err = p.hold(0, udp)
	}
	if err != nil {
		return "", fmt.Errorf("find a free port on %s: %w", demoHost, err)
	}
	return addr, nil
}

func (p *portPicker) hold(port int, udp bool) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(demoHost, strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	p.held = append(p.held, l)
	addr := l.Addr().String()
	if !udp {
		return addr, nil
	}
	u, err := net.ListenPacket("udp", addr)
	if err != nil {
		return "", err
	}
	p.held = append(p.held, u)
	return addr, nil
}

func (p *portPicker) release() {
	for _, c := range p.held {
		_ = c.Close()
	}
}
