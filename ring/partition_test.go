// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/stretchr/testify/require"
)

// network drops what members send over links that are cut.
type network struct {
	mu    sync.Mutex
	names map[string]string  // by gossip address
	cut   map[[2]string]bool // from, to
}

var errCut = errors.New("the link is cut")

func newNetwork() *network {
	return &network{names: map[string]string{}, cut: map[[2]string]bool{}}
}

// set cuts or mends the links from each of one side to each of the other.
func (n *network) set(cut bool, from, to []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range from {
		for _, t := range to {
			n.cut[[2]string{f, t}] = cut
		}
	}
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// passes reports whether from reaches the address to, and whether that reaches back.
func (n *network) passes(from, to string) (there, back bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[[2]string{from, n.names[to]}], !n.cut[[2]string{n.names[to], from}]
}

// link is a member's transport over a network.
type link struct {
	memberlist.NodeAwareTransport
	network *network
	name    string
}

func (l link) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if there, _ := l.network.passes(l.name, a.Addr); !there {
		return time.Now(), nil // As UDP does.
	}
	return l.NodeAwareTransport.WriteToAddress(b, a)
}

// DialAddressTimeout fails if either way is cut: TCP needs both.
func (l link) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if there, back := l.network.passes(l.name, a.Addr); !there || !back {
		return nil, errCut
	}
	return l.NodeAwareTransport.DialAddressTimeout(a, timeout)
}

// on puts a member on the network, with memberlist's habit to never look for the dead again
// after about half a minute shortened to nothing.
func (n *network) on(name string) func(*Config) {
	return func(c *Config) {
		c.tune = func(m *memberlist.Config) {
			fast(m)
			// Slow enough that nobody is dead because the machine is busy.
			m.ProbeInterval, m.ProbeTimeout, m.SuspicionMult = 250*time.Millisecond, 200*time.Millisecond, 3
			m.GossipToTheDeadTime = 200 * time.Millisecond
			n.mu.Lock()
			n.names[net.JoinHostPort(m.AdvertiseAddr, strconv.Itoa(m.AdvertisePort))] = name
			n.mu.Unlock()
			m.Transport = link{m.Transport.(memberlist.NodeAwareTransport), n, name}
		}
	}
}

// startMany starts members of the given names that all know each other.
func startMany(t *testing.T, n *network, names ...string) []*node {
	t.Helper()
	var nodes []*node
	for _, name := range names {
		var peers []string
		if len(nodes) > 0 {
			peers = []string{nodes[0].Addr()}
		}
		nodes = append(nodes, startNode(t, t.TempDir(), name, n.on(name), peers...))
	}
	waitAgree(t, len(names), len(names), nodes...)
	return nodes
}

// Whatever way a network was torn, afterwards all members have one ring, with everybody in it.
func TestOneRingAfterAPartition(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	left, right := names[:3], names[3:]
	net := newNetwork()
	nodes := startMany(t, net, names...)
	version := nodes[0].View().Ring.Version()
	sees := func(n *node, alive int) func() bool { return func() bool { return n.View().Alive() == alive } }
	healed := func(what string) {
		t.Helper()
		net.heal()
		waitAgree(t, 5, 5, nodes...)
		require.Equal(t, version, nodes[0].View().Ring.Version(), what)
		for _, n := range nodes {
			wait(t, what+": in the majority again", func() bool { return n.View().MinoritySince.IsZero() }, n)
		}
	}

	net.set(true, left, right)
	net.set(true, right, left)
	for i, n := range nodes {
		wait(t, "the other side is dead", sees(n, []int{3, 3, 3, 2, 2}[i]), nodes...)
	}
	require.Zero(t, nodes[0].View().MinoritySince)
	require.NotZero(t, nodes[4].View().MinoritySince)
	time.Sleep(500 * time.Millisecond) // Longer than memberlist gossips to the dead.
	healed("halves")

	// e is heard and hears nothing; then the reverse.
	for _, oneWay := range [][2][]string{{names[:4], {"e"}}, {{"e"}, names[:4]}} {
		net.set(true, oneWay[0], oneWay[1])
		wait(t, "e is cut off", func() bool { return !nodes[4].View().MinoritySince.IsZero() || !nodes[0].status("e").Alive }, nodes...)
		healed(fmt.Sprintf("one way from %v to %v", oneWay[0], oneWay[1]))
	}

	// A link between two, and one that comes and goes.
	for i := range 20 {
		net.set(i%2 == 0, left, right)
		net.set(i%3 == 0, []string{"a"}, []string{"b"})
		time.Sleep(50 * time.Millisecond)
	}
	healed("flapping")
}

// The majority forgets those that it cannot reach; who cannot reach a majority forgets nobody. Afterwards
// both have one ring: without the one that is really gone.
func TestForgettingInAPartition(t *testing.T) {
	net, clock := newNetwork(), &setClock{}
	var nodes []*node
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		var peers []string
		if len(nodes) > 0 {
			peers = []string{nodes[0].Addr()}
		}
		onNet := net.on(name)
		nodes = append(nodes, startNode(t, t.TempDir(), name, func(c *Config) {
			onNet(c)
			c.ForgetAfter, c.Now = 10*time.Minute, clock.now
		}, peers...))
	}
	waitAgree(t, 5, 5, nodes...)
	net.set(true, []string{"a", "b", "c", "e"}, []string{"d"})
	net.set(true, []string{"d"}, []string{"a", "b", "c", "e"})
	nodes[4].kill()
	d, living := nodes[3], nodes[:4]
	waitAgree(t, 5, 3, nodes[:3]...)
	waitAgree(t, 5, 1, d)
	for _, n := range living {
		n.stop()
	}
	for passed := time.Duration(0); passed < 15*time.Minute; passed += stallMax / 2 {
		clock.set(passed)
		for _, n := range living {
			n.housekeep(n.now())
		}
	}
	require.Len(t, d.View().Ring.Members(), 5)
	require.NotZero(t, d.View().MinoritySince)
	for _, n := range nodes[:3] {
		require.Len(t, n.View().Ring.Members(), 3)
	}

	net.heal()
	wait(t, "one ring of four", func() bool {
		for _, n := range living {
			n.rejoin(t.Context())
		}
		for _, n := range living {
			if v := n.View(); v.Alive() != 4 || len(v.Ring.Members()) != 4 || v.Ring.Version() != d.View().Ring.Version() {
				return false
			}
		}
		return true
	}, living...)
	for _, n := range living {
		require.True(t, n.status("e").Forgotten)
		require.False(t, n.status("d").Forgotten)
	}
}

// What one side learnt of the dead reaches all of the other.
func TestHistoryIsExchangedAfterAPartition(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e"}
	net := newNetwork()
	nodes := startMany(t, net, names...)
	gone := startNode(t, t.TempDir(), "x", net.on("x"), nodes[0].Addr())
	waitAgree(t, 6, 6, append(slices.Clone(nodes), gone)...)
	net.set(true, names[:2], append(names[2:], "x"))
	net.set(true, append(names[2:], "x"), names[:2])
	waitAgree(t, 6, 2, nodes[:2]...)
	require.NoError(t, gone.SetState(Left))
	waitAgree(t, 5, 3, nodes[2:]...)
	gone.leave(t)
	require.Len(t, nodes[0].View().Ring.Members(), 6)
	net.heal()
	waitAgree(t, 5, 5, nodes...)
	for _, n := range nodes {
		require.Equal(t, Left, n.status("x").State)
	}
}

// Gossip alone may tell that a member is back. What it knows of the dead comes by a push/pull,
// which memberlist does with somebody or other every half minute: so the loop does it, once.
func TestMembersThatComeBackAreAsked(t *testing.T) {
	a := startNode(t, t.TempDir(), "a", nil)
	b := startNode(t, t.TempDir(), "b", nil, a.Addr())
	waitAgree(t, 2, 2, a, b)
	a.stop()
	targets := func() []string {
		addrs, errs := a.targets(t.Context())
		require.Empty(t, errs)
		return addrs
	}
	targets() // Of when b joined.
	require.Empty(t, targets())

	var seen *memberlist.Node
	for _, m := range a.list.Members() {
		if m.Name == "b" {
			seen = m
		}
	}
	(*delegate)(a.Cluster).NotifyLeave(seen)
	require.Equal(t, []string{b.Addr()}, targets())
	require.Equal(t, []string{b.Addr()}, targets())
	(*delegate)(a.Cluster).NotifyJoin(seen)
	require.Equal(t, []string{b.Addr()}, targets())
	require.Empty(t, targets())
}
