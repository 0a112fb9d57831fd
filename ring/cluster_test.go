// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// eventually is only a limit for a test that fails: gossip with the timers of
// fast takes well below a second.
const eventually = 30 * time.Second

// fast makes memberlist notice a death in about half a second.
func fast(c *memberlist.Config) {
	c.ProbeInterval, c.ProbeTimeout = 100*time.Millisecond, 50*time.Millisecond
	c.GossipInterval = 20 * time.Millisecond
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 2, 2
	c.DeadNodeReclaimTime = 50 * time.Millisecond
}

// node is one member in this process, with its data directory.
type node struct {
	*Cluster
	dir  string
	logs *logBuffer
	stop func() // ends Run
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func testConfig(dir, name string, peers ...string) Config {
	return Config{
		BindAddr: "127.0.0.1:0", InternalAddr: ":9095", HTTPAddr: ":9009",
		Zone: "zone-" + name, Label: "test", Key: testKey, Peers: peers, Settings: testSettings,
		Dir: filepath.Join(dir, "cluster"), RejoinInterval: 100 * time.Millisecond, tune: fast,
	}
}

// startNode starts a member on dir, joins and runs it.
func startNode(t *testing.T, dir, name string, change func(*Config), peers ...string) *node {
	t.Helper()
	n, err := newNode(t, dir, name, change, peers...)
	require.NoError(t, err)
	require.NoError(t, n.Join(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(n.kill)
	return n
}

// newNode binds a member but does not join it.
func newNode(t *testing.T, dir, name string, change func(*Config), peers ...string) (*node, error) {
	t.Helper()
	id, err := LoadIdentity(dir, name)
	require.NoError(t, err)
	cfg := testConfig(dir, name, peers...)
	cfg.Identity = id
	if change != nil {
		change(&cfg)
	}
	logs := &logBuffer{}
	logger := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c, err := NewCluster(cfg, logger, prometheus.NewPedanticRegistry())
	if err != nil {
		return nil, err
	}
	n := &node{Cluster: c, dir: dir, logs: logs, stop: func() {}}
	t.Cleanup(n.kill)
	return n, nil
}

// kill ends a member without a word, as kill -9 does.
func (n *node) kill() {
	n.stop()
	_ = n.list.Shutdown()
}

func (n *node) leave(t *testing.T) {
	t.Helper()
	n.stop()
	require.NoError(t, n.Leave(5*time.Second))
}

func wait(t *testing.T, what string, cond func() bool, nodes ...*node) {
	t.Helper()
	deadline := time.Now().Add(eventually)
	for !cond() {
		if time.Now().After(deadline) {
			for _, n := range nodes {
				t.Logf("%s: %+v\n%s", n.View().Self, n.View().Members, n.logs)
			}
			t.Fatalf("not within %s: %s", eventually, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// waitAgree waits until all nodes have one ring of the given members, and see
// the given number of them alive.
func waitAgree(t *testing.T, members, alive int, nodes ...*node) {
	t.Helper()
	wait(t, fmt.Sprintf("one ring of %d with %d alive", members, alive), func() bool {
		for _, n := range nodes {
			v := n.View()
			if len(v.Ring.Members()) != members || v.Alive() != alive || v.Ring.Version() != nodes[0].View().Ring.Version() {
				return false
			}
		}
		return true
	}, nodes...)
}

func (n *node) status(name string) MemberStatus {
	m, _ := n.View().Member(name)
	return m
}

// three starts three members, each knowing only the first as a seed.
func three(t *testing.T) (a, b, c *node) {
	t.Helper()
	a = startNode(t, t.TempDir(), "a", nil)
	b = startNode(t, t.TempDir(), "b", nil, a.Addr())
	c = startNode(t, t.TempDir(), "c", nil, a.Addr())
	waitAgree(t, 3, 3, a, b, c)
	return a, b, c
}

func TestClusterOfThree(t *testing.T) {
	a, b, c := three(t)

	for _, n := range []*node{a, b, c} {
		require.NoError(t, n.SetState(Active))
	}
	wait(t, "all ACTIVE everywhere", func() bool {
		for _, n := range []*node{a, b, c} {
			for _, name := range []string{"a", "b", "c"} {
				if n.status(name).State != Active {
					return false
				}
			}
		}
		return true
	}, a, b, c)
	m := a.status("b")
	require.Equal(t, "zone-b", m.Zone)
	require.Equal(t, "127.0.0.1:9095", m.InternalAddr)
	require.Equal(t, "127.0.0.1:9009", m.HTTPAddr)
	require.Equal(t, b.cfg.Identity.Generation, m.Generation)
	require.Equal(t, 3.0, testutil.ToFloat64(a.metrics.alive))
	require.Equal(t, 3.0, testutil.ToFloat64(a.metrics.members.WithLabelValues("ACTIVE")))
	version := a.View().Ring.Version()

	// A restart: LEAVING, then gone, and back at another port. Nothing moves.
	c.leave(t)
	waitAgree(t, 3, 2, a, b)
	require.Equal(t, Leaving, a.status("c").State)
	require.False(t, a.status("c").Alive)
	require.Equal(t, version, a.View().Ring.Version())
	require.ErrorContains(t, c.SetState(Active), "has left the cluster")

	c = startNode(t, c.dir, "c", nil) // No seeds: it finds the others by its file.
	waitAgree(t, 3, 3, a, b, c)
	require.Equal(t, Joining, a.status("c").State)
	require.Equal(t, version, c.View().Ring.Version())

	// A crash: dead, and the ring is the same.
	b.kill()
	waitAgree(t, 3, 2, a, c)
	require.Equal(t, version, a.View().Ring.Version())
	require.Equal(t, Active, a.status("b").State)
	require.Zero(t, a.View().MinoritySince)

	// A new member learns of the dead one.
	d := startNode(t, t.TempDir(), "d", nil, c.Addr())
	waitAgree(t, 4, 3, a, c, d)
	require.Equal(t, a.status("b").Member, d.status("b").Member)

	// b back at another port, with the data directory of before.
	b = startNode(t, b.dir, "b", nil, a.Addr())
	waitAgree(t, 4, 4, a, b, c, d)

	// LEFT drops d at once, on those that were away as well.
	c.kill()
	require.NoError(t, d.SetState(Left))
	waitAgree(t, 3, 2, a, b, d)
	require.ErrorIs(t, d.SetState(Active), errLeft)
	d.leave(t)
	require.Equal(t, Left, d.status("d").State)
	wait(t, "d is gone", func() bool { return !a.status("d").Alive && !b.status("d").Alive }, a, b)
	c = startNode(t, c.dir, "c", nil)
	waitAgree(t, 3, 3, a, b, c)
	require.Equal(t, version, c.View().Ring.Version())
	require.Equal(t, Left, c.status("d").State)
}

// A member that is killed and is back at another port before its death was
// noticed is taken back, and is not mistaken for a second one of its name.
func TestQuickRestartAtAnotherPort(t *testing.T) {
	a, b, c := three(t)
	old := c.Addr()
	c.kill()
	c = startNode(t, c.dir, "c", nil, a.Addr(), b.Addr())
	require.NotEqual(t, old, c.Addr())
	wait(t, "the others know the new address", func() bool {
		for _, n := range []*node{a, b} {
			n.mu.Lock()
			addr := n.history.records["c"].GossipAddr
			n.mu.Unlock()
			if addr != c.Addr() || !n.status("c").Alive {
				return false
			}
		}
		return true
	}, a, b, c)
	for _, n := range []*node{a, b, c} {
		require.Zero(t, testutil.ToFloat64(n.metrics.nameConflicts), n.logs.String())
	}
}

// A member on an empty disk is found out by the others, learns it from them, and is whole
// again when it says that it was refilled.
func TestReplacedDisk(t *testing.T) {
	a, b, c := three(t)
	former := c.cfg.Identity.Generation
	c.kill()
	waitAgree(t, 3, 2, a, b)
	c = startNode(t, t.TempDir(), "c", nil, a.Addr())
	waitAgree(t, 3, 3, a, b, c)
	everywhere := func(what string, cond func(MemberStatus) bool) {
		t.Helper()
		wait(t, what, func() bool {
			return cond(a.status("c")) && cond(b.status("c")) && cond(c.status("c")) &&
				a.status("b").Whole() && b.status("b").Whole() && c.status("b").Whole()
		}, a, b, c)
	}
	everywhere("c's disk is known to be new", func(m MemberStatus) bool { return m.Replaced == former && !m.Whole() })
	require.Equal(t, 1.0, testutil.ToFloat64(a.metrics.notWhole))
	d := startNode(t, t.TempDir(), "d", nil, b.Addr())
	waitAgree(t, 4, 4, a, b, c, d)
	wait(t, "a later member knows, too", func() bool { return d.status("c").Replaced == former && d.status("d").Whole() }, d)

	require.NoError(t, c.SetData(false, former))
	everywhere("c is whole", MemberStatus.Whole)
	require.NoError(t, c.SetData(true, former))
	everywhere("c has holes", func(m MemberStatus) bool { return m.Holes && !m.Whole() })
	require.NoError(t, c.SetState(Leaving))
	c.leave(t)
	require.ErrorContains(t, c.SetData(false, former), "has left the cluster")
	c = startNode(t, c.dir, "c", nil, a.Addr())
	require.Equal(t, former, c.status("c").Replaced, "it remembers over a restart")
}

// The loop heals a cluster whose members were all dead to each other for longer
// than memberlist remembers them.
func TestRejoinAfterEverybodyRestarted(t *testing.T) {
	a, b, c := three(t)
	version := a.View().Ring.Version()
	addr := a.Addr()
	for _, n := range []*node{a, b, c} {
		n.leave(t)
	}
	samePort := func(cfg *Config) { cfg.BindAddr = addr }
	b = startNode(t, b.dir, "b", nil)
	c = startNode(t, c.dir, "c", nil)
	require.Equal(t, version, b.View().Ring.Version(), "a member alone has the ring of the last-known members")
	require.NotZero(t, b.View().MinoritySince)
	require.Equal(t, 1, b.View().Alive())
	a = startNode(t, a.dir, "a", samePort)
	waitAgree(t, 3, 3, a, b, c)
	wait(t, "majority", func() bool { return b.View().MinoritySince.IsZero() }, b)
	require.Positive(t, testutil.ToFloat64(b.metrics.rejoins)+testutil.ToFloat64(c.metrics.rejoins)+testutil.ToFloat64(a.metrics.rejoins))
}

func TestForgetLoop(t *testing.T) {
	shortly := func(c *Config) { c.ForgetAfter = time.Second }
	a := startNode(t, t.TempDir(), "a", shortly)
	b := startNode(t, t.TempDir(), "b", shortly, a.Addr())
	c := startNode(t, t.TempDir(), "c", shortly, a.Addr())
	waitAgree(t, 3, 3, a, b, c)
	c.kill()
	waitAgree(t, 2, 2, a, b)
	require.True(t, a.status("c").Forgotten)
	require.LessOrEqual(t, 1.0, testutil.ToFloat64(a.metrics.forgets)+testutil.ToFloat64(b.metrics.forgets))
	c = startNode(t, c.dir, "c", shortly)
	waitAgree(t, 3, 3, a, b, c)
	require.False(t, a.status("c").Forgotten)
}

func TestNewClusterNamesCauseAndRemedy(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer held.Close()
	f := func(want string, change func(*Config)) {
		t.Helper()
		_, err := newNode(t, t.TempDir(), "a", change)
		require.ErrorContains(t, err, want)
	}
	f("stop what holds the port, or choose another --cluster.listen-address", func(c *Config) { c.BindAddr = held.Addr().String() })
	f("set --cluster.listen-address to host:port", func(c *Config) { c.BindAddr = "127.0.0.1" })
	f("set --cluster.listen-address to host:port", func(c *Config) { c.BindAddr = "nobody:1"; c.dns = fakeDNS{} })
	f("check --cluster.listen-address", func(c *Config) { c.BindAddr = "192.0.2.1:0" })
	f("set --cluster.advertise-address to host:port", func(c *Config) { c.AdvertiseAddr = "nobody:1"; c.dns = fakeDNS{} })
	f("cluster key has 5 bytes, but must have 16, 24 or 32", func(c *Config) { c.Key = []byte("short") })
	f("set a shorter --cluster.label", func(c *Config) { c.Label = string(make([]byte, 256)) })
	f("set a shorter --cluster.zone", func(c *Config) { c.Zone = string(make([]byte, 65)) })
	f("set --cluster.peer to host:port", func(c *Config) { c.Peers = []string{"host"} })
	f("replication factor 6 is not within 1 to 5", func(c *Config) { c.Settings.RF = 6 })
	f("create cluster directory", func(c *Config) { c.Dir = "/dev/null/x" })
}

func TestAdvertisedAddress(t *testing.T) {
	n, err := newNode(t, t.TempDir(), "a", func(c *Config) {
		c.BindAddr, c.AdvertiseAddr = "localhost:0", "gossip.example:7947"
		c.dns = fakeDNS{hosts: map[string][]string{"localhost": {"127.0.0.1"}, "gossip.example": {"10.9.8.7"}}}
	})
	require.NoError(t, err)
	require.Equal(t, "10.9.8.7:7947", n.Addr())
	require.Equal(t, "10.9.8.7:9095", n.status("a").InternalAddr)
}

func TestUnreachableSeedsAreNoError(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	n, err := newNode(t, t.TempDir(), "a", func(c *Config) { c.dns = fakeDNS{} }, free.Addr().String(), "dns+nobody:7946")
	require.NoError(t, err)
	require.NoError(t, n.Join(t.Context()))
	require.Equal(t, 1, n.View().Alive())
}
