// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package ring

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func (n *node) refusals(reason RefusalReason) float64 {
	return testutil.ToFloat64(n.metrics.refused.WithLabelValues(string(reason)))
}

// What memberlist says of a refusal is text, and may change with its version:
// so real members refuse each other here, in every way.
func TestRefusedByRealMembers(t *testing.T) {
	f := func(reason RefusalReason, want []string, member, joiner func(*Config)) {
		t.Helper()
		a := startNode(t, t.TempDir(), "a", member)
		b, err := newNode(t, t.TempDir(), "b", joiner, a.Addr())
		require.NoError(t, err)
		err = b.Join(t.Context())
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, reason, refused.Reason)
		require.Equal(t, a.Addr(), refused.Addr)
		require.ErrorContains(t, err, "join of "+a.Addr()+" refused: ")
		for _, w := range want {
			require.ErrorContains(t, err, w)
		}
		require.Equal(t, 1.0, b.refusals(reason))
		wait(t, "the member counts and reports it", func() bool {
			return a.refusals(reason) > 0 && bytes.Contains([]byte(a.logs.String()), []byte("refused"))
		}, a)
		for _, n := range []*node{a, b} {
			require.Len(t, n.View().Members, 1)
		}
	}
	plain := func(*Config) {}
	noKey := func(c *Config) { c.Key = nil }
	otherKey := func(c *Config) { c.Key = bytes.Repeat([]byte{9}, 16) }
	label := func(label string) func(*Config) { return func(c *Config) { c.Label = label } }
	keyRemedy := "give every member the same --cluster.key-file"
	labelRemedy := "give every member the same --cluster.label"

	f(RefusedKey, []string{"this member has a cluster key and the other has another or none", keyRemedy}, plain, otherKey)
	f(RefusedKey, []string{"this member has a cluster key and the other has another or none", keyRemedy}, noKey, plain)
	f(RefusedKey, []string{"this member has no cluster key and the other has one", keyRemedy}, plain, noKey)
	f(RefusedLabel, []string{`is not "two"`, labelRemedy}, label("one"), label("two"))
	f(RefusedLabel, []string{`is not ""`, labelRemedy}, label("one"), label(""))
	f(RefusedLabel, []string{`is not "two"`, labelRemedy}, label(""), label("two"))
	f(RefusedSettings, []string{
		`settings differ from those of member "a"`,
		"replication factor is 2 here and 3 there (--cluster.replication-factor)",
		"out-of-order window is 1h0m0s here and 2h0m0s there (--storage.out-of-order-window)",
		"start every member with the same values",
	}, plain, func(c *Config) { c.Settings.RF, c.Settings.OutOfOrderWindow = 2, time.Hour })
}

// A member that is refused by one but taken by another goes on: else one node
// with a wrong flag could keep all others from restarting.
func TestOneForeignSeedDoesNotStopAJoin(t *testing.T) {
	a := startNode(t, t.TempDir(), "a", nil)
	foreign := startNode(t, t.TempDir(), "f", func(c *Config) { c.Settings.RF = 1 })
	b := startNode(t, t.TempDir(), "b", nil, foreign.Addr(), a.Addr())
	waitAgree(t, 2, 2, a, b)
	wait(t, "the loop meets the foreign member again", func() bool { return foreign.refusals(RefusedSettings) > 1 }, foreign)
	require.Contains(t, b.logs.String(), "join refused")
	require.Len(t, foreign.View().Members, 1)
}

// A TCP server that hangs up, or that speaks another language.
func TestJoinOfSomethingElse(t *testing.T) {
	f := func(reason RefusalReason, want, answer string) {
		t.Helper()
		server, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer server.Close()
		go func() {
			for {
				conn, err := server.Accept()
				if err != nil {
					return
				}
				if answer != "" {
					_, _ = conn.Write([]byte(answer))
					_, _ = io.Copy(io.Discard, conn) // Until the joiner has read it and hangs up.
				}
				_ = conn.Close()
			}
		}()
		n, err := newNode(t, t.TempDir(), "a", func(c *Config) { c.Key = nil }, server.Addr().String())
		require.NoError(t, err)
		err = n.Join(t.Context())
		var refused *RefusedError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, reason, refused.Reason)
		require.ErrorContains(t, err, want)
	}
	f(RefusedProtocol, "check that --cluster.peer names the gossip port", "HTTP/1.1 400 Bad Request\r\n\r\n")
	f(RefusedLabel, "check that the address is a gossip port", "")
}

// A member that is stopping hangs up as well, once or twice; that is no refusal.
func TestHangingUpTwiceIsNoRefusal(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		for range hangUps - 1 {
			if conn, err := server.Accept(); err == nil {
				_ = conn.Close()
			}
		}
		_ = server.Close()
	}()
	n, err := newNode(t, t.TempDir(), "a", nil, server.Addr().String())
	require.NoError(t, err)
	require.NoError(t, n.Join(t.Context()))
	require.Zero(t, n.refusals(RefusedLabel))
}

func TestJoinEndsWithItsContext(t *testing.T) {
	n, err := newNode(t, t.TempDir(), "a", nil, "127.0.0.1:1")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.Join(ctx), context.Canceled)
}

func TestHungUp(t *testing.T) {
	require.True(t, hungUp("EOF"))
	require.True(t, hungUp("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer"))
	require.True(t, hungUp("write tcp 127.0.0.1:1->127.0.0.1:2: write: broken pipe"))
	require.False(t, hungUp("dial tcp 127.0.0.1:2: connect: connection refused"))
	require.False(t, hungUp("read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout"))
}
