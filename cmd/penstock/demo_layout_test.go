// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v2"
)

func TestDemoLayout(t *testing.T) {
	dir := t.TempDir()
	l, err := newDemoLayout(dir, 5)
	require.NoError(t, err)
	require.Equal(t, 3, l.replicationFactor())

	seen := map[string]bool{}
	for _, a := range l.nodes {
		for _, addr := range []string{a.http, a.internal, a.gossip} {
			host, _, err := net.SplitHostPort(addr)
			require.NoError(t, err)
			require.Equal(t, demoHost, host, "the demo is open to this machine only")
			require.False(t, seen[addr], "%s is given twice", addr)
			seen[addr] = true
		}
	}
	raw, err := os.ReadFile(l.keyFile)
	require.NoError(t, err)
	key, err := base64.StdEncoding.DecodeString(string(raw[:len(raw)-1]))
	require.NoError(t, err)
	require.Len(t, key, 32)
	info, err := os.Stat(l.keyFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	raw, err = os.ReadFile(l.bucketFile)
	require.NoError(t, err)
	var bucket struct {
		Type   string
		Config map[string]string
	}
	require.NoError(t, yaml.UnmarshalStrict(raw, &bucket))
	require.Equal(t, "FILESYSTEM", bucket.Type)
	require.Equal(t, map[string]string{"directory": filepath.Join(dir, "bucket")}, bucket.Config)
}

// The flags of a node and the demo are written by hand in two places; a node
// must take what the demo gives it.
func TestDemoArgsAreNodeFlags(t *testing.T) {
	f := func(nodes, rf int) {
		t.Helper()
		l, err := newDemoLayout(t.TempDir(), nodes)
		require.NoError(t, err)
		var gossip []string
		for _, a := range l.nodes {
			gossip = append(gossip, a.gossip)
		}
		for i := range l.nodes {
			app := kingpin.New("penstock", "").Terminate(nil)
			cfg := addNodeFlags(app.Command("run", ""))
			_, err := app.Parse(l.args(i))
			require.NoError(t, err)
			require.NoError(t, cfg.finish())
			require.Equal(t, rf, cfg.cluster.replicationFactor)
			require.Equal(t, l.nodes[i].http, cfg.web.listenAddress)
			require.Equal(t, []string{"replica"}, cfg.query.replicaLabels)
			if nodes > 1 {
				require.Equal(t, gossip, cfg.cluster.peers, "every node gets the same list, itself included")
			} else {
				require.Empty(t, cfg.cluster.peers)
			}
		}
	}
	f(1, 1)
	f(2, 2)
	f(3, 3)
	f(4, 3)
}

func TestPortPickerFallsBack(t *testing.T) {
	taken, err := net.Listen("tcp", net.JoinHostPort(demoHost, "0"))
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port

	var p portPicker
	defer p.release()
	addr, err := p.pick(port, true)
	require.NoError(t, err)
	require.NotEqual(t, taken.Addr().String(), addr)
	again, err := p.pick(port, false)
	require.NoError(t, err)
	require.NotEqual(t, addr, again)

	p.release()
	free, err := net.Listen("tcp", addr)
	require.NoError(t, err, "a picked port is free after release")
	require.NoError(t, free.Close())
}

func TestDemoDirRemovesWhatKilledDemosLeft(t *testing.T) {
	parent := t.TempDir()
	old := time.Now().Add(-time.Hour)
	age := func(path string) string {
		require.NoError(t, os.Chtimes(path, old, old))
		return path
	}
	running, err := newDemoDir(parent)
	require.NoError(t, err)
	age(running.path)
	abandoned := filepath.Join(parent, demoDirPrefix+"1")
	require.NoError(t, os.MkdirAll(filepath.Join(abandoned, "node-1"), 0o755))
	age(abandoned)
	starting := filepath.Join(parent, demoDirPrefix+"2") // made, not locked yet
	require.NoError(t, os.Mkdir(starting, 0o755))
	other := filepath.Join(parent, "penstock")
	require.NoError(t, os.Mkdir(other, 0o755))
	age(other)

	d, err := newDemoDir(parent)
	require.NoError(t, err)
	require.NoDirExists(t, abandoned)
	require.DirExists(t, running.path)
	require.DirExists(t, starting)
	require.DirExists(t, other)
	require.NoError(t, d.remove())
	require.NoDirExists(t, d.path)
	require.NoError(t, running.remove())
}
