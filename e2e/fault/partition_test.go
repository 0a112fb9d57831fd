// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"path/filepath"
	"slices"
	"time"

	"github.com/penstock-io/penstock/e2e/checker"
	"github.com/penstock-io/penstock/e2e/harness"
)

// partition cuts members off from each other, in one of several ways by turns. Senders and users reach both sides but
// where a link is down.
func (r *rig) partition(i int) {
	r.t.Helper()
	n := r.anyNode()
	defer r.harmed(n)()
	others := r.others(n)
	host := r.hosts[n]
	// Up to longer than gossip would look for a lost member by itself.
	length := r.between(5*time.Second, 15*time.Second)
	if i%10 == 9 {
		length = 45 * time.Second
	}
	switch ways := []string{"one alone", "flapping", "one-way out", "link down", "one-way in", "slow link", "triangle"}; ways[i%len(ways)] {
	case "one alone":
		r.split([]*harness.Node{n}, length)
	case "flapping":
		for range 5 {
			r.split([]*harness.Node{n}, r.between(500*time.Millisecond, 3*time.Second))
			r.steady(r.between(200*time.Millisecond, 2*time.Second))
		}
	case "one-way out":
		r.cut(pairs([]*harness.Node{n}, others), length)
	case "one-way in":
		r.cut(pairs(others, []*harness.Node{n}), length)
	case "link down":
		host.Unplug()
		r.steady(length)
		host.Plug()
	case "slow link":
		host.Throttle("256kbit")
		r.steady(length)
		host.Unthrottle()
	case "triangle":
		// Two cannot reach each other, and both reach the third.
		r.cut(append(pairs(others[:1], others[1:]), pairs(others[1:], others[:1])...), length)
	}
}

// split cuts some members off from all others, both ways.
func (r *rig) split(side []*harness.Node, length time.Duration) {
	r.t.Helper()
	var other []*harness.Node
	for _, n := range r.cluster.Nodes {
		if !slices.Contains(side, n) {
			other = append(other, n)
		}
	}
	r.cut(append(pairs(side, other), pairs(other, side)...), length)
}

// cut loses what goes from the first to the second of each pair, for a while.
func (r *rig) cut(pairs [][2]*harness.Node, length time.Duration) {
	r.t.Helper()
	for _, p := range pairs {
		r.net.Cut(r.hosts[p[0]], r.hosts[p[1]])
	}
	r.steady(length)
	for _, p := range pairs {
		r.net.Heal(r.hosts[p[0]], r.hosts[p[1]])
	}
}

func pairs(from, to []*harness.Node) [][2]*harness.Node {
	var out [][2]*harness.Node
	for _, f := range from {
		for _, t := range to {
			out = append(out, [2]*harness.Node{f, t})
		}
	}
	return out
}

// addNode prepares one more member with a host and a disk.
func (r *rig) addNode() *harness.Node {
	r.t.Helper()
	host := r.net.NewHost()
	disk := harness.NewDisk(r.t, host.Name, diskSize)
	n := r.cluster.Add(harness.Place{Host: host, DataDir: filepath.Join(disk.Dir, "data")})
	r.hosts[n], r.disks[n] = host, disk
	return n
}

// setTargets has the direct load send to all members but some.
func (r *rig) setTargets(but ...*harness.Node) {
	var targets []checker.Target
	for _, n := range r.cluster.Nodes {
		if !slices.Contains(but, n) {
			targets = append(targets, target(n.API))
		}
	}
	r.mtx.Lock()
	defer r.mtx.Unlock()
	r.targets = targets
}
