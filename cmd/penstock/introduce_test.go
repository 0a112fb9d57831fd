// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/penstock-io/penstock/ring"
)

// TestNewcomer is introduced once, and again when the others may have dropped it.
func TestNewcomer(t *testing.T) {
	t.Parallel()
	nodes := layOut(t, 3)
	nodes[0].start(t)
	require.NoError(t, nodes[0].srv.ready(), "the first of a cluster answers queries")
	require.False(t, nodes[0].srv.introduction.done.Load())
	require.Equal(t, http.StatusServiceUnavailable, writeSeries(t, nodes[0], 1, time.Now(), 1))
	nodes[1].start(t)
	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	require.Eventually(t, func() bool { // All know that it is none any more.
		for _, n := range nodes {
			for _, m := range n.srv.members.View().Members {
				if m.Newcomer || !m.Settled {
					return false
				}
			}
		}
		return true
	}, eventually, 10*time.Millisecond)
	file := filepath.Join(nodes[2].srv.cfg.storage.path, "tsdb", newcomerFile)
	require.NoFileExists(t, file)

	// It does not ask again: with the others down it goes on when one is back.
	nodes[1].stop(t)
	nodes[2].stop(t)
	nodes[2].prepare(t)
	require.True(t, nodes[2].srv.introduction.done.Load())
	require.NoError(t, nodes[2].srv.stop())

	record := filepath.Join(filepath.Dir(file), "data.json")
	require.NoError(t, dataRecord{Alive: time.Now().Add(-48 * time.Hour)}.save(record))
	nodes[2].prepare(t)
	require.False(t, nodes[2].srv.introduction.done.Load(), "it was away for longer than it is remembered")
	require.FileExists(t, file)
	nodes[2].run(t)
	require.Eventually(t, nodes[2].srv.introduction.done.Load, eventually, 10*time.Millisecond)
	require.NoFileExists(t, file)
}

// TestNewcomerWaitsForEnough: a member that joins where too few would know it takes no writes, and says whom
// it waits for.
func TestNewcomerWaitsForEnough(t *testing.T) {
	t.Parallel()
	nodes := layOut(t, 3)
	nodes[0].start(t)
	nodes[1].start(t)
	waitMembers(t, nodes[:2], 2)
	nodes[1].stop(t)
	require.Eventually(t, func() bool { return nodes[0].srv.members.View().Alive() == 1 }, eventually, 10*time.Millisecond)

	nodes[2].prepare(t)
	require.NoError(t, nodes[2].srv.start(t.Context()))
	require.Eventually(t, func() bool {
		err := nodes[2].srv.ready()
		return err != nil && err.Error() == "waiting to be known by node-1"
	}, eventually, 10*time.Millisecond)
	require.Equal(t, http.StatusServiceUnavailable, writeSeries(t, nodes[0], 1, time.Now(), 1))

	nodes[1].start(t)
	waitMembers(t, nodes, 3)
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[0], 1, time.Now(), 1))
	_, known := nodes[1].srv.members.View().Member("node-2")
	require.True(t, known)
	raw, err := os.ReadFile(filepath.Join(nodes[1].srv.clusterDir(), "members.json"))
	require.NoError(t, err)
	require.Contains(t, string(raw), "node-2", "who says that it knows a newcomer has it on disk")
}

// TestNewcomerAlone: a node alone takes writes at once, and is a newcomer if it joins others later.
func TestNewcomerAlone(t *testing.T) {
	t.Parallel()
	n := &testNode{args: []string{"--storage.path=" + t.TempDir(), "--web.listen-address=127.0.0.1:0", "--internal.listen-address=127.0.0.1:0"}}
	n.start(t)
	require.Equal(t, http.StatusNoContent, writeSeries(t, n, 1, time.Now(), 1))
	require.FileExists(t, filepath.Join(n.srv.cfg.storage.path, "tsdb", newcomerFile))
	require.NotEqual(t, ring.Joining, n.srv.members.View().Members[0].State)
}

// TestThirdMemberGetsItsCopies: what two members took while there was no third is given to the one that comes.
func TestThirdMemberGetsItsCopies(t *testing.T) {
	t.Parallel()
	nodes := layOut(t, 3)
	nodes[0].start(t)
	nodes[1].start(t)
	waitMembers(t, nodes[:2], 2)
	now := time.Now()
	for _, tenant := range refillTenants {
		writeMixed(t, nodes[0], tenant, now, -20, -10)
		writeMixed(t, nodes[1], tenant, now, -5)
	}
	want, err := clusterHas(nodes[0])
	require.NoError(t, err)
	require.NotEmpty(t, want)
	require.Len(t, nodes[0].srv.hints.Debts(), 1)
	require.Len(t, nodes[1].srv.hints.Debts(), 1)

	nodes[2].start(t)
	waitMembers(t, nodes, 3)
	require.True(t, sees(nodes, "node-2", true)(), "queries count on it: nothing was acknowledged on its word")
	requireClusterHas(t, want, nodes...)
	require.Eventually(t, func() bool {
		for _, n := range nodes {
			if n.srv.selfStatus().Debts > 0 || len(n.srv.store.Losses()) > 0 {
				return false
			}
		}
		return true
	}, eventually, 10*time.Millisecond)
	require.Equal(t, want, nodeHas(t, nodes[2]))
	requireRedundant(t, nodes[0])
}
