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
)

// TestLostHintsAreTold has a member hear of the writes that it misses because another
// one could not keep them for it.
func TestLostHintsAreTold(t *testing.T) {
	nodes := startCluster(t, 3)
	nodes[2].stop(t)
	require.Eventually(t, func() bool { return nodes[0].srv.members.View().Alive() == 2 }, eventually, 10*time.Millisecond)
	before := time.Now()
	// The hint log of the coordinator takes nothing: it cannot make its directory.
	dir := filepath.Join(nodes[0].srv.cfg.storage.path, "hints", "node-2")
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.WriteFile(dir, nil, 0o600))
	require.Equal(t, http.StatusNoContent, writeSeries(t, nodes[0], 10, before, 1), "the quorum has it")
	require.Len(t, nodes[0].srv.hints.Debts(), 1)
	require.Empty(t, nodes[1].srv.store.Losses())

	nodes[2].start(t)
	require.Eventually(t, func() bool { return len(nodes[0].srv.hints.Debts()) == 0 }, eventually, 10*time.Millisecond)
	losses := nodes[2].srv.store.Losses()
	require.Len(t, losses, 1)
	require.Equal(t, "hints were lost by node-0: write_error", losses[0].Reason)
	require.Less(t, losses[0].MinTime, before.Add(-2*time.Hour).UnixMilli())
	require.Greater(t, losses[0].MaxTime, before.UnixMilli())
}
