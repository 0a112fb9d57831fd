// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/penstock-io/penstock/e2e/harness"
	"github.com/penstock-io/penstock/e2e/lab"
	"github.com/penstock-io/penstock/uploader/bucket"
)

func startRandom(t *testing.T, seed uint64) *random {
	t.Helper()
	d := newRandomData(seed, time.Now().Truncate(time.Second))
	r := &random{randomData: d, count: map[string]int{}}

	older, younger := d.blocks(t, randomCopy{lack: -1})
	data := filepath.Join(harness.Dir(t), "data")
	link(t, data, older, younger)
	// It has the blocks that Penstock has, because lists of labels are those of whole blocks.
	r.prometheus = env.StartReceiverOn(t, data, "storage:\n  tsdb:\n    out_of_order_time_window: 2h\n", "--storage.tsdb.min-block-duration=2h", "--storage.tsdb.max-block-duration=2h")
	d.push(t, r.prometheus, false)

	data = filepath.Join(harness.Dir(t), "data")
	noError(t, lab.UsedSince(data, d.begin.Add(-time.Hour)))
	link(t, lab.TenantDir(data, lab.DefaultTenant), older, younger)
	r.lone = env.StartLoneNode(t, data, randomFlags...)
	r.startCluster(t, older, younger)
	r.sides = append(r.sides, randomSide{API: r.lone.API})
	for i, name := range []string{"cluster", "HA pair", sideHoles, sideLone} {
		r.sides[i].Name = name
		d.push(t, r.sides[i].API, false, r.sides[i].more...)
	}
	return r
}

// sideHoles has copies each of which lacks something.
const sideHoles = "copies with holes"

// sideLone is a node that has everything on its disk, in the blocks of Prometheus.
const sideLone = "lone node"

// randomFlags: what is in blocks stays where it is.
var randomFlags = []string{"--web.cors.origin=.*", "--storage.retention.time=100d"}

// randomPair has the two Prometheus servers of a pair.
var randomPair = [][]string{{harness.ReplicaLabel, "a"}, {harness.ReplicaLabel, "b"}}

// startCluster starts three nodes with three tenants.
func (r *random) startCluster(t *testing.T, older, younger string) {
	t.Helper()
	config := "type: FILESYSTEM\nconfig:\n  directory: " + filepath.Join(harness.Dir(t), "bucket") + "\n"
	nodes := env.NewCluster(t, harness.ClusterConfig{
		Nodes: 4, ObjstoreFile: harness.WriteFile(t, harness.Dir(t), "objstore.yml", config), Flags: append([]string{"--compact.block-sync-interval=2s", "--compact.consistency-delay=1s"}, randomFlags...),
	})
	cfg, err := bucket.ParseConfig([]byte(config))
	noError(t, err)
	opened, err := bucket.Open(cfg, slog.New(slog.DiscardHandler), nil)
	noError(t, err)
	blocks := bucket.NewBlocks(opened, nil)
	pairOlder, pairYounger := r.blocks(t, randomCopy{lack: -1, more: randomPair})
	for _, dir := range []string{older, younger} {
		upload(t, blocks, dir, lab.DefaultTenant, nodes.Nodes[0].Name)
	}
	for _, dir := range []string{pairOlder, pairYounger} {
		upload(t, blocks, dir, "pair", nodes.Nodes[1].Name)
	}
	noError(t, lab.UsedSince(nodes.Nodes[3].DataDir, r.cut))
	for i, node := range nodes.Nodes[:3] {
		noError(t, lab.UsedSince(node.DataDir, r.local))
		link(t, lab.TenantDir(node.DataDir, lab.DefaultTenant), younger)
		link(t, lab.TenantDir(node.DataDir, "pair"), pairYounger)
		holedOlder, holedYounger := r.blocks(t, randomCopy{lack: i})
		upload(t, blocks, holedOlder, "holes", node.Name)
		upload(t, blocks, holedYounger, "holes", node.Name)
		link(t, lab.TenantDir(node.DataDir, "holes"), holedYounger)
	}
	noError(t, opened.Close())
	nodes.Start()
	r.nodes = nodes.Nodes
	for i, tenant := range []string{"", "pair", "holes"} {
		side := randomSide{API: nodes.Nodes[i%2].API}
		if side.Tenant = tenant; tenant == "pair" {
			side.more = randomPair
		}
		r.sides = append(r.sides, side)
	}
}
