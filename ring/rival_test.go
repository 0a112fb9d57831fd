// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"os"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// hasty gives up on a name soon.
func hasty(c *Config) { c.nameWait = 2 * time.Second }

// undying is hasty, and takes nobody for dead because the machine is slow.
func undying(c *Config) {
	hasty(c)
	c.tune = func(m *memberlist.Config) {
		fast(m)
		m.SuspicionMult = 1000
	}
}

// refusedName starts a second node of a name and returns why it may not run.
func refusedName(t *testing.T, dir, name string, peers ...string) (*node, *RefusedError) {
	t.Helper()
	thief, err := newNode(t, dir, name, hasty, peers...)
	require.NoError(t, err)
	var refused *RefusedError
	require.ErrorAs(t, thief.Join(t.Context()), &refused)
	require.Equal(t, RefusedName, refused.Reason)
	require.ErrorContains(t, refused, thief.Addr())
	require.ErrorContains(t, refused, "give each its own --cluster.name and data directory")
	require.Equal(t, 1.0, thief.refusals(RefusedName))
	return thief, refused
}

func TestSecondMemberOfANameIsRefused(t *testing.T) {
	a := startNode(t, t.TempDir(), "a", undying)
	b := startNode(t, t.TempDir(), "b", undying, a.Addr())
	waitAgree(t, 2, 2, a, b)
	require.NoError(t, b.SetState(Active))

	clone := t.TempDir()
	require.NoError(t, os.CopyFS(clone, os.DirFS(b.dir)))
	for dir, want := range map[string]string{
		t.TempDir(): "on another data directory",
		clone:       "on a copy of the same data directory",
	} {
		before := [2]float64{testutil.ToFloat64(a.metrics.nameConflicts), testutil.ToFloat64(b.metrics.nameConflicts)}
		thief, refused := refusedName(t, dir, "b", a.Addr())
		require.Equal(t, b.Addr(), refused.Addr)
		require.ErrorContains(t, refused, want)
		for i, n := range []*node{a, b} {
			require.Greater(t, testutil.ToFloat64(n.metrics.nameConflicts), before[i])
			require.Contains(t, n.logs.String(), "two nodes run under the name of one member")
			require.Contains(t, n.logs.String(), thief.Addr())
		}
		require.Error(t, thief.SetState(Active))
		require.NoError(t, thief.Leave(time.Second))
	}
	require.NotContains(t, a.logs.String(), "member stopped", "the goodbye of the second was taken for that of the first")
	for _, n := range []*node{a, b} {
		require.Equal(t, b.cfg.Identity.Generation, n.status("b").Generation)
		require.True(t, n.status("b").Whole(), "a second node is not a former disk")
		require.True(t, n.status("b").Alive)
	}
	// The member itself is asked when nobody else is there.
	c := startNode(t, t.TempDir(), "c", undying)
	refusedName(t, t.TempDir(), "c", c.Addr())
}

// An old copy of a data directory, which has an earlier generation, is no different.
func TestSecondMemberWithAnEarlierGeneration(t *testing.T) {
	early := t.TempDir()
	_, err := LoadIdentity(early, "b")
	require.NoError(t, err)
	a := startNode(t, t.TempDir(), "a", undying)
	b := startNode(t, t.TempDir(), "b", undying, a.Addr())
	waitAgree(t, 2, 2, a, b)
	refusedName(t, early, "b", a.Addr())
	require.Equal(t, b.cfg.Identity.Generation, a.status("b").Generation)
	require.True(t, a.status("b").Whole())
}

// A node in the place of one that died a moment ago, which nobody has noticed yet: on the
// same disk at another address, and on another disk.
func TestPlaceOfADeadMemberIsTaken(t *testing.T) {
	a := startNode(t, t.TempDir(), "a", hasty)
	b := startNode(t, t.TempDir(), "b", hasty, a.Addr())
	waitAgree(t, 2, 2, a, b)
	for _, dir := range []string{b.dir, t.TempDir()} {
		b.kill()
		require.True(t, a.status("b").Alive, "the death was noticed already, and this tests nothing")
		b = startNode(t, dir, "b", hasty, a.Addr())
		waitAgree(t, 2, 2, a, b)
		wait(t, "a knows the new address and disk", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			r := a.history.records["b"]
			return r.GossipAddr == b.Addr() && r.Generation == b.cfg.Identity.Generation
		}, a, b)
	}
	require.Zero(t, b.refusals(RefusedName))
	require.False(t, a.status("b").Whole())
}

// Two nodes that were each taken for the member, on two sides of a partition, do not both
// stay: the one that more of the others know does.
func TestDeposedAfterAPartition(t *testing.T) {
	start := func(name string, peers ...string) *node {
		return startNode(t, t.TempDir(), name, func(c *Config) {
			undying(c)
			c.nameWait = 500 * time.Millisecond
			tune := c.tune
			c.tune = func(m *memberlist.Config) { tune(m); m.PushPullInterval = 200 * time.Millisecond }
		}, peers...)
	}
	a := start("a")
	b1 := start("b", a.Addr())
	c := start("c")
	d := start("d", c.Addr())
	b2 := start("b", c.Addr())
	for _, n := range []*node{b1, b2} {
		n.stop()
		require.NoError(t, n.SetState(Active))
	}
	waitAgree(t, 2, 2, a, b1)
	waitAgree(t, 3, 3, c, d, b2)

	done := make(chan error, 2)
	for _, n := range []*node{b1, b2} {
		go func() { done <- n.Run(t.Context()) }()
	}
	_, err := a.list.Join([]string{c.Addr()})
	require.NoError(t, err)
	err = <-done
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, b2.Addr(), refused.Addr, "the node that more members know stays")
	require.NoError(t, b1.Leave(time.Second))
	require.Empty(t, done)
}

func TestRivalSince(t *testing.T) {
	m := Member{Name: "b"}
	r := rival{}.again(m, "x:1", testTime)
	require.Equal(t, testTime, r.since)
	r = r.again(m, "x:1", testTime.Add(rivalMemory))
	require.Equal(t, testTime, r.since)
	require.Equal(t, testTime.Add(rivalMemory), r.last)
	r = r.again(m, "x:1", testTime.Add(3*rivalMemory))
	require.Equal(t, testTime.Add(3*rivalMemory), r.since, "an earlier rival was another story")
	r = r.again(m, "x:2", testTime.Add(3*rivalMemory+1))
	require.Equal(t, testTime.Add(3*rivalMemory+1), r.since)
}
